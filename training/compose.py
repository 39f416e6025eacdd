"""Plans to pixels on the device: plain backgrounds and backdrops, sprites with shadows, recolouring, effects."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from training import plans, scenes
from training.backdrops import places

MIPS = (512, 256, 128)


def read_sprites(path: Path) -> tuple[list[dict], list[np.ndarray]]:
    """The facts and RGBA uint8 pictures of sprites.zip."""
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("sprites.json"))
        files = [archive.read(f"{n:04}.webp") for n in range(len(facts))]
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")), files))
    return facts, pictures


def enlarged(picture: torch.Tensor) -> torch.Tensor:
    """[n,4,h,w] premultiplied floats at 512 px: bicubic, then alpha and colour sharpened by the zoom factor."""
    zoom = 512 / picture.shape[-1]
    big = F.interpolate(picture, size=(512, 512), mode="bicubic", align_corners=False).clamp(0, 1)
    colour, alpha = big[:, :3] / big[:, 3:].clamp_min(1e-3), big[:, 3:]
    soft = F.avg_pool2d(F.pad(colour, (2, 2, 2, 2), mode="replicate"), 5, 1)
    colour = (colour + 0.7 * (zoom - 1) * (colour - soft)).clamp(0, 1)
    alpha = ((alpha - 0.5) * (1 + 0.6 * (zoom - 1)) + 0.5).clamp(0, 1)
    return torch.cat([colour * alpha, alpha], 1)


class Backdrops:
    """Backdrops by number: those of a file on the device, or each drawn when it is first asked for."""

    def __init__(self, props: places.Props, device: torch.device) -> None:
        self.props, self.device = props, device
        self.all: torch.Tensor | None = None
        self.some: dict[int, torch.Tensor] = {}

    @classmethod
    def read(cls, bundle: Path, device: torch.device) -> "Backdrops | None":
        """Those that `training.backdrops.draw` wrote into a bundle; None if it did not."""
        if not (path := bundle / places.FILE).exists():
            return None
        found = cls({}, device)
        found.all = torch.from_numpy(np.load(path)).to(device)
        return found

    def of(self, numbers: torch.Tensor) -> torch.Tensor:
        """uint8 [n,height,width,3]."""
        if self.all is not None:
            return self.all[numbers]
        for number in set(numbers.tolist()) - set(self.some):
            self.some[number] = torch.from_numpy(places.drawn(number, self.props)).to(self.device)
        return torch.stack([self.some[number] for number in numbers.tolist()])


class Sheet:
    """All sprites on the device as uint8 premultiplied mips, with what recolouring must know of each."""

    def __init__(
        self,
        facts: list[dict],
        pictures: list[np.ndarray],
        device: torch.device,
        largest: int = 512,
        backdrops: Backdrops | None = None,
    ) -> None:
        self.facts, self.device = facts, device
        self.mips = {
            side: torch.empty(len(facts), 4, side, side, dtype=torch.uint8, device=device)
            for side in MIPS
            if side <= largest
        }
        for n, picture in enumerate(pictures):
            one = torch.from_numpy(picture.copy()).to(device).permute(2, 0, 1)[None].float() / 255
            one[:, :3] *= one[:, 3:]
            one = enlarged(one)
            for side in self.mips:
                small = one if side == 512 else F.interpolate(one, size=(side, side), mode="area")
                self.mips[side][n] = (small[0] * 255 + 0.5).to(torch.uint8)
        self.body = torch.tensor([[f["hue"], f["sat"], f["val"]] for f in facts], device=device)
        self.backdrops = backdrops or Backdrops(places.props_of(facts, pictures), device)


def hsv(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[n,3,h,w] to hue in degrees, saturation, value, each [n,h,w]."""
    top, low = rgb.amax(1), rgb.amin(1)
    spread = (top - low).clamp_min(1e-5)
    r, g, b = rgb.unbind(1)
    hue = (
        torch.where(top == r, ((g - b) / spread) % 6, torch.where(top == g, (b - r) / spread + 2, (r - g) / spread + 4))
        * 60
    )
    return hue, (top - low) / top.clamp_min(1e-5), top


def rgb_of(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The inverse of `hsv`."""
    channels = []
    for n in (5, 3, 1):
        k = (n + hue / 60) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def recoloured(sprite: torch.Tensor, body: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """Premultiplied sprites [n,4,s,s] whose body (hue, sat, val) [n,3] is painted in the goal (hue, sat, val) [n,3]."""
    alpha = sprite[:, 3:].clamp_min(1e-3)
    hue, saturation, value = hsv((sprite[:, :3] / alpha).clamp(0, 1))
    own, wanted = body[:, :, None, None], goal[:, :, None, None]
    distance = ((hue - own[:, 0] + 180) % 360 - 180).abs()
    vivid = ((65 - distance) / 25).clamp(0, 1) * ((saturation - 0.12) / 0.15).clamp(0, 1)
    dull = ((0.42 - saturation) / 0.12).clamp(0, 1) * ((value - 0.25) / 0.2).clamp(0, 1)
    weight = torch.where(own[:, 0] < 0, dull, vivid)
    relative = (value / own[:, 2].clamp_min(0.2)).clamp(0, 1.6)
    shade = wanted[:, 2] * relative
    glare = (relative - 1).clamp(0, 1) * 0.6 + (shade - 1).clamp(0, 1)
    drained = torch.where(
        own[:, 0] < 0, torch.ones_like(saturation), (saturation / own[:, 1].clamp_min(0.2)).clamp(0.3, 1.15)
    )
    painted = rgb_of(
        wanted[:, 0].expand_as(hue),
        (wanted[:, 1] * drained - glare * 0.5).clamp(0, 1),
        (shade + 0.1 * glare).clamp(0, 1),
    )
    mixed = (sprite[:, :3] / alpha) * (1 - weight[:, None]) + painted * weight[:, None]
    return torch.cat([mixed.clamp(0, 1) * sprite[:, 3:], sprite[:, 3:]], 1)


def placed(plan: dict[str, torch.Tensor], sheet: Sheet, height: int, width: int) -> torch.Tensor:
    """Backdrops cut to the picture's shape (a wider one stretches them), turned, brightened and tinted."""
    p = plan["numbers"]
    found = sheet.backdrops.of(p[:, 0].long()).permute(0, 3, 1, 2).float() / 255
    tall, wide = found.shape[-2:]
    kept = min(wide, round(tall * width / height))
    if kept < wide:
        starts = (p[:, 1] * (wide - kept)).long()
        columns = starts[:, None] + torch.arange(kept, device=p.device)
        found = found.gather(3, columns[:, None, None].expand(-1, 3, tall, -1))
    found = torch.where((p[:, 2] > 0.5)[:, None, None, None], found.flip(3), found)
    found = F.interpolate(found, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return (found * p[:, 3, None, None, None] * p[:, 4:7, None, None]).clamp(0, 1)


def plain(plan: dict[str, torch.Tensor], height: int, width: int) -> torch.Tensor:
    """Flat, gradient, studio and bokeh backgrounds, [n,3,height,width]."""
    colours, p, kind = plan["colours"], plan["numbers"], plan["kind"][:, None, None, None]
    device, aspect = p.device, width / height
    y = torch.linspace(0, 1, height, device=device)[None, None, :, None]
    x = torch.linspace(0, 1, width, device=device)[None, None, None, :]
    at = [p[:, i, None, None, None] for i in range(16)]
    one, two = colours[:, 0, :, None, None], colours[:, 1, :, None, None]
    far = (((x - at[1]) * aspect) ** 2 + (y - at[2]) ** 2).sqrt()
    light = 1 + at[3] * (0.45 - far) * 0.8
    direction = torch.where(at[4] < 0.6, y, (x * 0.6 + y * 0.4))
    horizon = ((y - at[0]) * height / (1 + 14 * (at[5] > 0.5)) + 0.5).clamp(0, 1)
    floor = torch.lerp(one * light, two * (1 - 0.12 * (y - at[0]).clamp(0, 1)), horizon)
    picture = torch.where(
        kind == scenes.GRADIENT, torch.lerp(one, two, direction), torch.where(kind == scenes.STUDIO, floor, one * light)
    )
    picture = picture.expand(len(p), 3, height, width).clone()
    blurred = torch.where(kind == scenes.BOKEH, 1.0, 0.0)
    for n in range(10):
        seed = at[15] * (n + 1)
        cx, cy = torch.sin(seed * 1.7) % 1, torch.sin(seed * 2.3 + n) % 1
        radius = 0.05 + 0.09 * (torch.sin(seed * 0.7) % 1)
        disc = ((radius - (((x - cx) * aspect) ** 2 + (y - cy) ** 2).sqrt()) * 60).clamp(0, 1)
        picture = torch.lerp(picture, torch.lerp(two, torch.ones_like(two), 0.4), disc * blurred * 0.32)
    return picture.clamp(0, 1)


def transform(layer: torch.Tensor, height: int, width: int, shift: float = 0.0, grow: float = 1.0) -> torch.Tensor:
    """affine_grid matrices [n,2,3] that place a unit sprite: layer rows hold centre x, y, size, angle, flip."""
    short = min(height, width)
    _, cx, cy, size, angle, flip = layer[:, :6].unbind(1)
    size = size * grow
    cx, cy = cx * 2 - 1 + shift * size * short / width, cy * 2 - 1 + 2 * shift * size * short / height
    radians = angle * torch.pi / 180
    cos, sin = torch.cos(radians), torch.sin(radians)
    sx, sy = width / (size * short), height / (size * short)
    mirror = 1 - 2 * flip
    a, b, d, e = cos * sx * mirror, sin * sy * mirror, -sin * sx, cos * sy
    return torch.stack([torch.stack([a, b, -(a * cx + b * cy)], 1), torch.stack([d, e, -(d * cx + e * cy)], 1)], 1)


def paste(
    picture: torch.Tensor, sheet: Sheet, layer: torch.Tensor, goal: torch.Tensor, side: int, painted: bool, soft: bool
) -> torch.Tensor:
    """One layer of sprites (all of one mip) over [n,3,h,w], with their shadows."""
    n, _, height, width = picture.shape
    number = layer[:, 0].long()
    sprite = sheet.mips[side][number].float() / 255
    if painted:
        sprite = torch.where(
            (goal[:, 0] >= 0)[:, None, None, None], recoloured(sprite, sheet.body[number], goal), sprite
        )
    shadow = layer[:, 6, None, None, None]
    if soft:
        blurred = F.avg_pool2d(F.pad(sheet.mips[128][number, 3:].float() / 255, (16, 16, 16, 16)), 4)
        blurred = F.avg_pool2d(F.avg_pool2d(blurred, 5, 1, 2), 5, 1, 2)
        grid = F.affine_grid(transform(layer, height, width, 0.07, 1.25), [n, 1, height, width], align_corners=False)
        picture = picture * (
            1 - 0.33 * (shadow == 1) * F.grid_sample(blurred, grid, mode="bilinear", align_corners=False)
        )
    short = min(height, width)
    y = torch.arange(height, device=picture.device)[None, None, :, None] / short
    x = torch.arange(width, device=picture.device)[None, None, None, :] / short
    cx, cy, size = (layer[:, i, None, None, None] for i in (1, 2, 3))
    base = cy * height / short + size * 0.485
    oval = torch.exp(-((((x - cx * width / short) / (0.40 * size)) ** 2) ** 1.5) - ((y - base) / (0.055 * size)) ** 2)
    picture = picture * (1 - 0.42 * (shadow == 2) * oval)
    grid = F.affine_grid(transform(layer, height, width), [n, 4, height, width], align_corners=False)
    over = F.grid_sample(sprite, grid, mode="bilinear", align_corners=False)
    colour = (over[:, :3] * layer[:, 7, None, None, None]).clamp(0, 1)
    return (colour + picture * (1 - over[:, 3:].clamp(0, 1))).clamp(0, 1)


def effects(picture: torch.Tensor, effect: torch.Tensor) -> torch.Tensor:
    """The visible looks of plans.EFFECT_WORDS."""
    kind, (height, width) = effect[:, None, None, None], picture.shape[-2:]
    gray = (picture * torch.tensor([0.3, 0.59, 0.11], device=picture.device)[None, :, None, None]).sum(1, keepdim=True)
    contrast = ((gray - 0.5) * 1.15 + 0.5).clamp(0, 1).expand_as(picture)
    sepia = gray * torch.tensor([1.0, 0.84, 0.62], device=picture.device)[None, :, None, None] + 0.03
    block = max(1, min(height, width) // 48)
    small = F.interpolate(picture, size=(height // block, width // block), mode="area")
    blocks = F.interpolate((small * 10).round() / 10, size=(height, width), mode="nearest")
    faded = torch.lerp(gray.expand_as(picture), picture, 0.6) * 0.78 + 0.17
    wide = F.avg_pool2d(F.pad(gray, (2, 2, 2, 2), mode="replicate"), 5, 1)
    lines = (1 - ((wide - gray).abs() * 9).clamp(0, 1)) * (0.75 + 0.25 * gray)
    moody = (picture * 0.62) ** 1.35
    for number, look in ((1, contrast), (2, sepia), (3, blocks), (4, faded), (5, lines.expand_as(picture)), (6, moody)):
        picture = torch.where(kind == number, look, picture)
    return picture.clamp(0, 1)


@torch.no_grad()
def compose(
    plan: dict[str, np.ndarray], sheet: Sheet, height: int, width: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Pictures of all rows of a plan, float [n,3,height,width] in 0..1."""
    device, short = sheet.device, min(height, width)
    on = {
        k: torch.from_numpy(np.ascontiguousarray(plan[k])).to(device)
        for k in ("kind", "colours", "numbers", "layers", "recolour", "effect")
    }
    picture = torch.empty(len(plan["kind"]), 3, height, width, device=device)
    somewhere = plan["kind"] == scenes.PLACE
    for chosen in (somewhere, ~somewhere):
        if not chosen.any():
            continue
        rows = torch.from_numpy(np.flatnonzero(chosen)).to(device)
        part = {k: v[rows] for k, v in on.items()}
        if chosen is somewhere:
            picture[rows] = placed(part, sheet, height, width)
            continue
        # plain backgrounds are smooth: from 700 pixels on, half the size looks the same at a quarter of the work
        low = (height // 2, width // 2) if short > 700 else (height, width)
        back = plain(part, *low)
        if short > 700:
            back = F.interpolate(back, size=(height, width), mode="bilinear", align_corners=False)
        picture[rows] = back
    largest = max(sheet.mips)
    for slot in range(plans.LAYERS):
        used, size = plan["layers"][:, slot, 0] >= 0, plan["layers"][:, slot, 3] * short
        if not used.any():
            continue
        level = np.where(size > 230, 512, np.where(size > 115, 256, 128))
        for side in MIPS:
            chosen = np.flatnonzero(used & (level == side))
            if len(chosen):
                rows = torch.from_numpy(chosen).to(device)
                painted, soft = (
                    bool((plan["recolour"][chosen, slot, 0] >= 0).any()),
                    bool((plan["layers"][chosen, slot, 6] == 1).any()),
                )
                picture[rows] = paste(
                    picture[rows],
                    sheet,
                    on["layers"][rows, slot],
                    on["recolour"][rows, slot],
                    min(side, largest),
                    painted,
                    soft,
                )
    if (plan["effect"] > 0).any():
        rows = torch.from_numpy(np.flatnonzero(plan["effect"])).to(device)
        picture[rows] = effects(picture[rows], on["effect"][rows])
    return picture


def take(plan: dict[str, np.ndarray], rows: np.ndarray | slice) -> dict[str, np.ndarray]:
    """Some rows of a plan."""
    return {k: v[rows] for k, v in plan.items()}
