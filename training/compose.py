"""Plans to pixels on the device: procedural backgrounds, sprites with shadows, recolouring, effects."""

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


class Sheet:
    """All sprites on the device as uint8 premultiplied mips, with what recolouring must know of each."""

    def __init__(self, facts: list[dict], pictures: list[np.ndarray], device: torch.device, largest: int = 512) -> None:
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


def noise(
    count: int, height: int, width: int, cells: int, device: torch.device, generator: torch.Generator | None
) -> torch.Tensor:
    """Smooth noise in 0..1, [count,1,height,width], with three octaves from `cells` across the short side."""
    short, total = min(height, width), torch.zeros(count, 1, height, width, device=device)
    for octave, share in ((1, 0.55), (2, 0.28), (4, 0.17)):
        size = (max(2, cells * octave * height // short), max(2, cells * octave * width // short))
        grain = torch.rand(count, 1, *size, device=device, generator=generator)
        total += share * F.interpolate(grain, size=(height, width), mode="bicubic", align_corners=False)
    return total.clamp(0, 1)


def ridge(x: torch.Tensor, shape: torch.Tensor, seed: torch.Tensor, layer: int) -> torch.Tensor:
    """Height 0..1 of a skyline at x [n,w], of the shapes scenes.py lists; seed and shape are [n,1]."""
    phase = seed * (layer + 1.37)
    waves = (
        sum(
            torch.sin(x * f + phase * (1.3 + f * 0.11)) * a
            for f, a in ((2.3, 0.5), (5.1, 0.3), (11.7, 0.17), (23.0, 0.08))
        )
        * 0.5
        + 0.5
    )
    tent = sum(
        (1 - 2 * ((x * f + torch.sin(phase * (2 + f)) * 5) % 1 - 0.5).abs()) * a
        for f, a in ((1.7, 0.5), (3.9, 0.28), (8.3, 0.14), (19.0, 0.08))
    )
    block = torch.floor(x * (9 + 3 * layer) + phase)
    city = (torch.sin(block * 12.9898 + phase) * 43758.5453) % 1
    tree = torch.floor(x * (11 + 3 * layer) + phase)
    top = 0.55 + 0.45 * ((torch.sin(tree * 78.233 + phase) * 43758.5453) % 1)
    trees = top * (1 - 2 * ((x * (11 + 3 * layer) + phase) % 1 - 0.5).abs())
    return torch.where(shape < 0.5, tent, torch.where(shape < 1.9, city, torch.where(shape < 2.5, trees, waves)))


def scene(plan: dict[str, torch.Tensor], height: int, width: int, generator: torch.Generator | None) -> torch.Tensor:
    """Sky, sun, stars, clouds, three ridges and ground, [n,3,height,width]."""
    colours, p, device = plan["colours"], plan["numbers"], plan["numbers"].device
    n, aspect = len(p), width / height
    y = torch.linspace(0, 1, height, device=device)[None, None, :, None]
    x = torch.linspace(0, 1, width, device=device)[None, None, None, :]
    at = [p[:, i, None, None, None] for i in range(16)]
    tone = [colours[:, i, :, None, None] for i in range(8)]
    picture = tone[0] + (tone[1] - tone[0]) * (y / at[0].clamp_max(1.0)).clamp(0, 1)
    picture = picture.expand(n, 3, height, width).clone()
    stars = torch.rand(n, 1, height // 4 + 1, width // 4 + 1, device=device, generator=generator)
    stars = ((stars - 0.975) / 0.025).clamp_min(0) ** 2
    bright = F.interpolate(stars, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)
    picture += bright * at[4] * (picture.mean(1, keepdim=True) < 0.55)
    far = (((x - at[1]) * aspect) ** 2 + (y - at[2]) ** 2).sqrt()
    lit = (at[3] > 0.025).float()
    picture = torch.lerp(picture, tone[7], lit * torch.exp(-((far / (at[3] * 2.6 + 1e-3)) ** 2)) * 0.45)
    picture = torch.lerp(picture, tone[7], lit * ((at[3] - far) * height / 2 + 0.5).clamp(0, 1))
    clouds = ((noise(n, height, width, 4, device, generator) - 0.62 + 0.2 * at[5]) * 4.5).clamp(0, 1) * (1 - y * 0.6)
    picture = torch.lerp(
        picture,
        torch.lerp(tone[1], torch.ones_like(tone[1]), 0.65 * (picture.mean((1, 2, 3), keepdim=True) > 0.45)),
        clouds * 0.75 * at[5],
    )
    across = (x[:, 0, 0] * aspect).expand(n, width)
    for layer in range(3):
        line = (
            at[0]
            - at[9 + layer]
            - at[6 + layer] * (ridge(across, p[:, 12, None], p[:, 15, None], layer)[:, None, None, :] - 0.3)
        )
        mask = ((y - line) * height + 0.5).clamp(0, 1)
        haze = torch.lerp(tone[2 + layer], tone[1], ((y - line) * (0.9 - 0.25 * layer)).clamp(0, 0.35))
        city = (at[12] > 0.9) & (at[12] < 1.9)
        lamp = (
            (torch.sin(torch.floor(x * aspect * 90) * 12.9 + torch.floor(y * 60) * 78.2 + at[15]) * 43758.5 % 1 > 0.55)
            & ((x * aspect * 90 % 1) > 0.4)
            & ((y * 60 % 1) > 0.5)
        )
        glow = torch.where(
            at[12] > 1.2, torch.tensor([1.0, 0.82, 0.45], device=device)[None, :, None, None], haze * 0.86
        )
        picture = torch.lerp(picture, torch.where(city & lamp, glow, haze), mask)
    depth = ((y - at[0]) / (1 - at[0]).clamp_min(0.05)).clamp(0, 1)
    grain = noise(n, height, width, 10, device, generator) - 0.5
    ground = torch.lerp(tone[5], tone[6], depth) * (1 + grain * at[13] * 0.45)
    ripple = torch.sin(y * 130 / (depth + 0.35) + grain * 22) * 0.5 + 0.5
    ground = ground + (ripple**6) * at[14] * 0.16 * (at[14] > 0.5)
    return torch.lerp(picture, ground, ((y - at[0]) * height + 0.5).clamp(0, 1)).clamp(0, 1)


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
    for chosen, paint in ((plan["kind"] == scenes.SCENE, scene), (plan["kind"] != scenes.SCENE, plain)):
        if chosen.any():
            rows = torch.from_numpy(np.flatnonzero(chosen)).to(device)
            part = {k: v[rows] for k, v in on.items()}
            # backgrounds are smooth: from 700 pixels on, half the size looks the same at a quarter of the work
            low = (height // 2, width // 2) if short > 700 else (height, width)
            back = scene(part, *low, generator) if paint is scene else plain(part, *low)
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
