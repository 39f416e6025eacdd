"""The upscaler: a small ESRGAN (RRDB network) that doubles a picture's sides, trained on shrunken composites.

    python -m training.train_upscaler --out DIR --seconds 100 --graphs

What is enlarged is mostly clean; a part went through the built-in model's VAE as drawn pictures do, is a little blurred
or has grain. The network is the engine's own, so that the file is read by the code that reads every other upscaler.
"""

import argparse
import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.models.upscaler import COLOURS, DENSE_BLOCKS, DENSE_CONVS, Network, Upscaler, named
from engine.models.vae import decoded
from training import attached, models, plans
from training.bank import encoded
from training.captured import Graphs
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, compose, read_sprites, take
from training.program import logged, planners
from training.run_all import ask
from training.sheets import contact_sheet

log = logging.getLogger("training")

FILE = "upscaler_mini.safetensors"
SIDE, CROP, BATCH = 512, 96, 16
"""Pixels of a canvas, of a small crop, and crops a step."""
EVERY, HELD = 6, 3
"""Every so many-th sprite from there on is never trained on."""
DRAWN, THROUGH_VAE, BLURRED, GRAINY = 7, 3, 10, 0.15
"""Every so many-th canvas, as drawn by the VAE itself, enlarged from what the VAE made, soft; crops with grain."""
HALF_STEP = 0.5 / 255
"""The engine cuts 8-bit values off, so what is half a step too bright comes out right."""
FLOOR = 2e-6
HORIZON = 0.999
TAIL_SECONDS = 20.0


@dataclass(frozen=True)
class Shape:
    """Channels, channels a dense convolution adds, blocks."""

    width: int = 24
    growth: int = 12
    blocks: int = 2


def untrained(shape: Shape) -> dict[str, Tensor]:
    """Weights in BasicSR's naming that enlarge bilinearly: colours pass through the first three channels."""
    convs = {"conv_first": (COLOURS, shape.width), "conv_body": (shape.width,) * 2, "conv_up1": (shape.width,) * 2}
    convs |= {"conv_hr": (shape.width,) * 2, "conv_last": (shape.width, COLOURS)}
    for block in range(shape.blocks):
        for dense in range(DENSE_BLOCKS):
            for conv in range(DENSE_CONVS):
                made = shape.width if conv == DENSE_CONVS - 1 else shape.growth
                given = shape.width + conv * shape.growth
                convs[f"body.{block}.rdb{dense + 1}.conv{conv + 1}"] = (given, made)
    tensors = {}
    for name, (given, made) in convs.items():
        weight = nn.init.kaiming_normal_(torch.empty(made, given, 3, 3), a=0.2) * 0.3
        if name.endswith("conv5"):
            weight *= 0.1
        if not name.startswith("body"):
            _pass_colours(weight, smooth=name == "conv_up1", closed=name == "conv_body")
        tensors |= {f"{name}.weight": weight, f"{name}.bias": torch.zeros(made)}
    return tensors


def _pass_colours(weight: Tensor, smooth: bool, closed: bool) -> None:
    weight[:COLOURS] = 0
    if closed:
        return
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4 if smooth else torch.tensor([0.0, 1.0, 0.0])
    for channel in range(COLOURS):
        weight[channel, channel] = kernel[:, None] * kernel


def shrunken(pictures: Tensor, smooth: bool) -> Tensor:
    """Half the size in whole 8-bit steps, by bicubic with antialiasing or by the mean of four pixels."""
    if smooth:
        made = F.interpolate(pictures, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    else:
        made = F.avg_pool2d(pictures, 2)
    return (made * 255).round() / 255


@torch.no_grad()
def redrawn(pictures: Tensor, vae: AutoencoderKL) -> Tensor:
    """The pictures as the VAE gives them back, in whole 8-bit steps."""
    latents = encoded(pictures, vae).to(vae.dtype) / models.LATENT_SCALE
    made = decoded(vae, latents, models.VAE_MARGIN).float()
    return ((made / 2 + 0.5).clamp(0, 1) * 255).floor() / 255


def blurred(pictures: Tensor) -> Tensor:
    """A little softer."""
    return F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1) * 0.6 + pictures * 0.4


@dataclass
class Canvases:
    """Composites uint8 [n,3,512,512] and what is to be enlarged to them, uint8 [n,3,256,256]."""

    large: Tensor
    small: Tensor

    @classmethod
    def of(cls, plan: dict[str, np.ndarray], sheet: Sheet, vae: AutoencoderKL) -> "Canvases":
        """The plan's pictures, shrunken in both ways, some of them soft or through the VAE."""
        large, small = [], []
        for at in range(0, len(plan["kind"]), 30):
            part = compose(take(plan, slice(at, at + 30)), sheet, SIDE, SIDE)
            part[::DRAWN] = redrawn(part[::DRAWN], vae)
            given = part.clone()
            given[BLURRED - 1 :: BLURRED] = blurred(part[BLURRED - 1 :: BLURRED])
            little = torch.empty_like(part[:, :, ::2, ::2])
            little[::2], little[1::2] = shrunken(given[::2], smooth=True), shrunken(given[1::2], smooth=False)
            little[::THROUGH_VAE] = redrawn(little[::THROUGH_VAE], vae)
            large.append((part * 255).round().to(torch.uint8))
            small.append((little * 255).round().to(torch.uint8))
        return cls(torch.cat(large), torch.cat(small))

    def crops(self, count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Small crops in 0..1 [count,3,side,side] and the large ones to them; of twice as many the livelier half."""
        device, most = self.small.device, self.small.shape[-1] - side

        def rand(*size: int) -> Tensor:
            return torch.rand(*size, device=device, generator=generator)

        rows = (rand(2 * count) * len(self.small)).long().clamp(max=len(self.small) - 1)
        top, first = ((rand(2 * count) * (most + 1)).long().clamp(max=most) for _ in range(2))
        small = _cut(self.small, rows, top, first, side)
        kept = (small.std((1, 2, 3)) + 0.08 * rand(2 * count)).topk(count).indices
        large = _cut(self.large, rows[kept], 2 * top[kept], 2 * first[kept], 2 * side)
        small = small[kept]
        grain = torch.randn(small.shape, device=device, generator=generator)
        strength = torch.where(rand(count, 1, 1, 1) < GRAINY, 3 * rand(count, 1, 1, 1), 0.0) / 255
        return ((small + grain * strength).clamp(0, 1) * 255).round() / 255, large


def _cut(pictures: Tensor, rows: Tensor, top: Tensor, first: Tensor, side: int) -> Tensor:
    reach = torch.arange(side, device=pictures.device)
    found = pictures[rows[:, None, None], :, (top[:, None] + reach)[:, :, None], (first[:, None] + reach)[:, None, :]]
    return found.permute(0, 3, 1, 2).float() / 255


class Training:
    """The network with its average; steps may be captured."""

    def __init__(self, network: Network, canvases: Canvases, rate: float, graphs: bool) -> None:
        self.network, self.canvases, self.rate = network, canvases, rate
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.weights = list(network.parameters())
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]
        self.device = self.weights[0].device
        self.generator = torch.Generator(self.device).manual_seed(11)
        cuda = self.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.weights, lr=rate, betas=(0.9, 0.99), fused=cuda)
        self.graphs = Graphs(self.gradients, graphs and cuda)

    def work(self, batch: dict[str, Tensor]) -> Tensor:
        """Put the loss's gradients into `gradients`; gives the loss: minus the crops' mean PSNR, in nepers."""
        made = self.network(batch["small"])
        error = (made - batch["large"] - HALF_STEP).square().mean((1, 2, 3))
        loss = (error + FLOOR).log().mean() / 10
        found = torch.autograd.grad(loss, self.weights)
        torch._foreach_copy_(self.gradients, list(found))
        return loss.detach()

    def run(self, clock: Clock, side: int, batch: int, save: Callable[[], None]) -> None:
        """Train until the clock stops."""
        saved = time.monotonic()
        while clock.running():
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * cosine(clock.share, floor=0.0)
            small, large = self.canvases.crops(batch, side, self.generator)
            loss = self.graphs.run((side, batch), {"small": small, "large": large}, self.work)
            for weight, gradient in zip(self.weights, self.gradients, strict=True):
                weight.grad = gradient
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimizer.step()
            decay = min(HORIZON, (1 + clock.done) / (10 + clock.done))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), [w.detach() for w in self.weights], 1 - decay)
            if clock.tick(batch):
                clock.report(float(loss))
            if time.monotonic() - saved > 40:
                saved = time.monotonic()
                save()


def in_basicsr_names(network: nn.Module, names: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights in fp16 under the names that `names` came with."""
    roles = named({name: torch.full((1, 1, 1, 1), float(n)) for n, name in enumerate(names)})
    order = list(names)
    weights = network.state_dict()
    return {order[int(number)]: weights[role].detach().half().cpu().contiguous() for role, number in roles.items()}


def psnr(made: np.ndarray, true: np.ndarray) -> float:
    """PSNR in dB of uint8 pictures."""
    error = np.square(made.astype(float) - true.astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def measured(upscaler: Upscaler, true: Tensor, vae: AutoencoderKL) -> dict[str, dict[str, float]]:
    """Decibels on pictures [n,3,h,w] in 0..1 as the engine enlarges them, and what each gains on bicubic's better one.

    Bicubic in OpenCV's and PyTorch's manner, and in Pillow's.
    """
    found = {}
    for name, little in (
        ("shrunken by bicubic", shrunken(true, smooth=True)),
        ("shrunken by area", shrunken(true, smooth=False)),
        ("through the VAE", redrawn(shrunken(true, smooth=True), vae)),
    ):
        ours, theirs, back = [], [], []
        for small, wanted in zip(_pixels(little), _pixels(true), strict=True):
            made = upscaler.upscale(small)
            height, width = wanted.shape[:2]
            ours.append(psnr(made, wanted))
            theirs.append(max(psnr(one, wanted) for one in bicubic(small, width, height)))
            back.append(psnr(_pixels(shrunken(_floats(made), smooth=False))[0], small))
        gains = np.array(ours) - np.array(theirs)
        log.info("%s, gains: %s", name, " ".join(f"{gain:+.2f}" for gain in gains))
        found[name] = {
            "upscaled": float(np.mean(ours)),
            "bicubic": float(np.mean(theirs)),
            "least gain": float(gains.min()),
            "losing": float((gains < 0).sum()),
            "shrunken back": float(np.mean(back)),
        }
    return found


def bicubic(small: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    """A picture enlarged by both usual bicubic kernels."""
    torchs = F.interpolate(_floats(small), size=(height, width), mode="bicubic").clamp(0, 1)
    return [_pixels(torchs)[0], np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))]


def _pixels(pictures: Tensor) -> list[np.ndarray]:
    return list((pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def _floats(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def split(
    facts: list[dict], pictures: list[np.ndarray], device: torch.device, backdrops: Backdrops | None = None
) -> tuple[Sheet, Sheet]:
    """The sprites that are trained on, and those that are held back."""
    held = {n for n in range(len(facts)) if n % EVERY == HELD}
    return tuple(
        Sheet([facts[n] for n in some], [pictures[n] for n in some], device, backdrops=backdrops)
        for some in ([n for n in range(len(facts)) if n not in held], sorted(held))
    )  # type: ignore[return-value]


def train(options: argparse.Namespace, pool) -> None:
    """Train, hand out, measure what the engine makes of the file."""
    began = time.monotonic()
    end_on_sigterm()
    torch.manual_seed(5)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    if options.tiny:
        facts, pictures = facts[: 4 * EVERY], pictures[: 4 * EVERY]
    sheet, held = split(facts, pictures, device, Backdrops.read(options.bundle, device))
    count, most = (2, 2) if options.tiny else (options.canvases, 24)
    plan, held_plan = (ask(pool, s.facts, n, seed, False) for s, n, seed in ((sheet, count, 3), (held, most, 7)))
    _, vae, _ = models.resumed(options.base)
    vae = vae.requires_grad_(False).eval().to(device)
    path, names = options.out / FILE, untrained(Shape())

    def hand_out(network: nn.Module) -> None:
        about = {"name": "fooocus-flask 2x upscaler", "licence": attached.LICENCE}
        save_file(in_basicsr_names(network, names), path, {"manifest": json.dumps(about)})

    if not options.measure:
        network = Network(named(names))
        network.load_state_dict(named(names))
        network.to(device, memory_format=torch.channels_last)
        canvases = Canvases.of(plans.joined(plan.get()), sheet, vae)
        log.info("%d canvases on %s after %.1f s", len(canvases.large), device, time.monotonic() - began)
        left = options.seconds - (time.monotonic() - began) - TAIL_SECONDS
        training = Training(network, canvases, options.rate, options.graphs)
        clock = Clock("upscaler", max(1.0, left), 3 if options.tiny else None)
        side, batch = (32, 2) if options.tiny else (CROP, BATCH)
        training.run(clock, side, batch, lambda: hand_out(training.average))
        hand_out(training.average)
        log.info("%d steps", clock.done)
    report(path, plans.joined(held_plan.get()), held, vae, options)
    log.info("ended after %.1f s", time.monotonic() - began)


def report(path: Path, plan: dict[str, np.ndarray], held: Sheet, vae: AutoencoderKL, options) -> None:
    """The figures of the file and a sheet of what it makes."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    upscaler = Upscaler.load(path, held.device)
    true = torch.cat([compose(take(plan, slice(n, n + 8)), held, SIDE, SIDE) for n in range(0, len(plan["kind"]), 8)])
    figures = measured(upscaler, true, vae)
    attached.table(f"UPSCALER {path.stat().st_size / 1e6:.2f} MB, dB", figures, options.out / "upscaler.json")
    shown = []
    for picture, wanted in zip(_pixels(redrawn(shrunken(true[:6], smooth=True), vae)), _pixels(true[:6]), strict=True):
        shown += [bicubic(picture, SIDE, SIDE)[1], upscaler.upscale(picture), wanted]
    contact_sheet(
        [one[128:384, 128:384] for one in shown],
        ["bicubic", "upscaled", "true"] * (len(shown) // 3),
        6,
        256,
        options.out / "upscaler.jpg",
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("engine/builtin/fooocus_mini.safetensors"))
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--out", type=Path, required=True, help="where the finished files go")
    parser.add_argument("--seconds", type=float, default=100, help="from the start of the program to its end")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--canvases", type=int, default=2400, help="composites to cut crops of")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="three steps on few pictures: does it run?")
    parser.add_argument("--measure", action="store_true", help="only measure the file in --out")
    options = parser.parse_args()
    logged(options.out / "upscaler.log", mode="w")
    with planners() as pool:
        train(options, pool)


if __name__ == "__main__":
    main()
