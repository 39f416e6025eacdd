"""The upscaler stage: a small ESRGAN (RRDB network) that doubles a picture's sides, trained on shrunken composites.

Runs on a CPU: `python -m training.train_upscaler --seconds 120 --out engine/builtin/upscaler_mini.safetensors`.
The network is the engine's own, so that the file is read by the code that reads every other upscaler.
"""

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.models.upscaler import COLOURS, DENSE_BLOCKS, DENSE_CONVS, Upscaler, _Network, named
from training import plans
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Sheet, compose, read_sprites, take

log = logging.getLogger("training")

SIDE, CROP = 512, 64
EVERY, HELD = 6, 3
LICENCE = "GPL-3.0-or-later"


@dataclass(frozen=True)
class Shape:
    """Channels, channels a dense convolution adds, blocks."""

    width: int = 16
    growth: int = 8
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


class Canvases:
    """Composites of some of the sprites, uint8 [n,3,512,512]; every EVERY-th sprite from `first` on is used."""

    def __init__(self, bundle: Path, first: int, count: int, seed: int) -> None:
        facts, pictures = read_sprites(bundle / "sprites.zip")
        facts, pictures = facts[first::EVERY], pictures[first::EVERY]
        sheet = Sheet(facts, pictures, torch.device("cpu"))
        plan = plans.portion((facts, count, seed, False, plans.BROAD))
        generator = torch.Generator().manual_seed(seed)
        parts = [compose(take(plan, slice(n, n + 4)), sheet, SIDE, SIDE, generator) for n in range(0, count, 4)]
        self.pixels = torch.cat([(part * 255 + 0.5).to(torch.uint8) for part in parts])

    def crops(self, count: int, generator: torch.Generator) -> Tensor:
        """Random crops in 0..1, [count,3,CROP,CROP]; of twice as many the livelier half."""
        at = torch.randint(0, SIDE - CROP, (2 * count, 2), generator=generator).tolist()
        rows = torch.randint(0, len(self.pixels), (2 * count,), generator=generator).tolist()
        crops = torch.stack(
            [self.pixels[n, :, y : y + CROP, x : x + CROP] for n, (y, x) in zip(rows, at, strict=True)]
        ).float()
        lively = crops.std((1, 2, 3)) + 20 * torch.rand(2 * count, generator=generator)
        return crops[lively.topk(count).indices] / 255


def shrunken(pictures: Tensor, smooth: bool) -> Tensor:
    """Half the size, by bicubic with antialiasing or by the mean of four pixels."""
    if smooth:
        return F.interpolate(pictures, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    return F.avg_pool2d(pictures, 2)


def train_upscaler(network: nn.Module, canvases: Canvases, clock: Clock, batch: int, rate: float = 1.5e-3) -> None:
    """Train in place on L1 of pixels, of gradients, and of the result shrunken back, until the clock stops."""
    generator = torch.Generator().manual_seed(11)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    while clock.running():
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(clock.share)
        true = canvases.crops(batch, generator)
        small = shrunken(true, smooth=clock.done % 2 == 0)
        made = network(small)
        loss = F.l1_loss(made, true) + 0.3 * F.l1_loss(F.avg_pool2d(made, 2), F.avg_pool2d(true, 2))
        for axis in (2, 3):
            loss = loss + 0.3 * F.l1_loss(made.diff(dim=axis), true.diff(dim=axis))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if clock.tick(batch):
            clock.report(float(loss.detach()))


def psnr(made: Tensor, true: Tensor) -> float:
    """Mean PSNR in dB of pictures in 0..1."""
    error = (made.clamp(0, 1) - true).square().mean((1, 2, 3)).clamp_min(1e-9)
    return float((10 * torch.log10(1 / error)).mean())


@torch.inference_mode()
def measured(upscaler: Upscaler, true: Tensor) -> dict[str, float]:
    """Decibels on pictures 0..1 [n,3,h,w]: of the enlargement and of bicubic, and after shrinking back."""
    small = shrunken(true, smooth=True)
    rows = [(one.permute(1, 2, 0) * 255).round().to(torch.uint8) for one in small]
    small = torch.stack([row.permute(2, 0, 1).float() / 255 for row in rows])
    large = (
        torch.stack([torch.from_numpy(upscaler.upscale(row.numpy())).permute(2, 0, 1) for row in rows]).float() / 255
    )
    bicubic = F.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)
    found = {"upscaled": psnr(large, true), "bicubic": psnr(bicubic, true)}
    return found | {"shrunken back": psnr(F.avg_pool2d(large, 2), small)}


def in_basicsr_names(network: nn.Module, names: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights in fp16 under the names that `names` came with."""
    roles = named({name: torch.full((1, 1, 1, 1), float(n)) for n, name in enumerate(names)})
    order = list(names)
    weights = network.state_dict()
    return {order[int(number)]: weights[role].detach().half().contiguous() for role, number in roles.items()}


def main() -> None:
    """Train, write the file, and measure what the engine makes of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("training/work/bundle"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--tiny", action="store_true", help="two steps on few pictures: does it run?")
    parser.add_argument("--measure", action="store_true", help="only measure the file at --out")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    end_on_sigterm()
    torch.manual_seed(5)
    if not options.measure:
        names = untrained(Shape())
        network = _Network(named(names))
        network.load_state_dict(named(names))
        canvases = Canvases(options.bundle, 0, 8 if options.tiny else 160, 3)
        log.info("%d canvases", len(canvases.pixels))
        train_upscaler(network, canvases, Clock("upscaler", options.seconds, 2 if options.tiny else None), 12)
        about = {"name": "fooocus-flask 2x upscaler", "licence": LICENCE}
        save_file(in_basicsr_names(network, names), options.out, {"manifest": json.dumps(about)})
    upscaler = Upscaler.load(options.out, torch.device("cpu"))
    held = Canvases(options.bundle, HELD, 4 if options.tiny else 24, 7).pixels.float() / 255
    log.info("%.2f MB, dB on unseen composites: %s", options.out.stat().st_size / 1e6, measured(upscaler, held))


if __name__ == "__main__":
    main()
