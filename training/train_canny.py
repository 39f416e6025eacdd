"""The control branch of the built-in model: outlines (PyraCanny) and grey structure (CPDS) steer what it draws.

    python -m training.train_canny --out DIR --seconds 200 --graphs

A ControlNet in diffusers' layout: the base's own way down, a middle of one resnet, a reader of hints. The base stays.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.controlnet import ControlNet, softened
from engine.adapters.controlnet_files import ControlFile
from engine.models import eight_bit
from training import attached, hints, sampling
from training.bank import Bank, composed, encoded, rows_of
from training.compose import compose, take
from training.sheets import contact_sheet

log = logging.getLogger("training")

FILE = "canny_mini.safetensors"
HINT_WIDTHS = (8, 16, 48, 96)
STRUCTURES, BLANK, WEAKER = 0.22, 0.08, 0.5
"""Shares of structure pictures, of blank hints, and of samples in which the branch counts for less."""
LEAST, SOFTNESS = 0.5, 0.25
"""The least strength in training; the API's default softness."""
USUAL, RANDOM_LOW = (64.0, 128.0), (24.0, 120.0)
TAIL_SECONDS = 22.0
NEAR, BRIGHT = 2, 96
"""Outlines are the same within so many pixels, and count from this brightness on."""


@dataclass
class HintBank(Bank):
    """A bank with a control image for each picture, uint8 [n,8h,8w]."""

    hints: Tensor


def hints_of(pictures: Tensor, generator: torch.Generator | None, structures: float = STRUCTURES) -> Tensor:
    """A control image for each picture [n,3,h,w]: outlines, mostly at the usual thresholds, or its structure."""
    count, device = len(pictures), pictures.device

    def rand() -> Tensor:
        return torch.rand(count, device=device, generator=generator)

    low = torch.where(rand() < 0.6, USUAL[0], RANDOM_LOW[0] + (RANDOM_LOW[1] - RANDOM_LOW[0]) * rand()).round()
    made = hints.pyra_canny(pictures, low, (low * USUAL[1] / USUAL[0]).clamp(max=255))
    grey = hints.structure(pictures, hints.some_weights(count, device, generator))
    return torch.where((rand() < structures)[:, None, None], grey, made)


class Guided(nn.Module):
    """The frozen UNet with the branch on it."""

    def __init__(self, unet: nn.Module, net: ControlNet) -> None:
        super().__init__()
        self.unet, self.net = unet, net

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, pooled: Tensor, sizes: Tensor, hint: Tensor, strength: Tensor
    ) -> Tensor:
        """The UNet's eps for hints uint8 [n,8h,8w] and a factor for each residual, [n,residuals]."""
        read = self.net.read(hint[:, None].expand(-1, 3, -1, -1).to(x.dtype) / 255)
        made = self.net(x, t, context, pooled, sizes, read)
        factors = strength.to(x.dtype)[:, :, None, None, None].unbind(1)
        skips = tuple(skip * factor for skip, factor in zip(made.skips, factors[:-1], strict=True))
        return self.unet(
            x,
            t,
            context,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
            down_block_additional_residuals=skips,
            mid_block_additional_residual=made.middle * factors[-1],
            return_dict=False,
        )[0]


def new_branch(unet: nn.Module) -> ControlNet:
    """A branch that begins as the UNet's way down and adds nothing."""
    net = ControlNet(dict(unet.config) | {"mid_block_type": "UNetMidBlock2D"}, HINT_WIDTHS, 3)
    own, theirs = net.state_dict(), unet.state_dict()
    net.load_state_dict({name: theirs.get(name, tensor) for name, tensor in own.items()})
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    # The library has this one at nothing, too; with both, the branch would take long to begin.
    nn.init.kaiming_normal_(net.controlnet_cond_embedding.conv_out.weight)
    return net.to(next(unet.parameters()).device, memory_format=torch.channels_last).requires_grad_(True)


class BranchTrainer(attached.AttachedTrainer):
    """Trains the branch."""

    untold = 0.3

    def strengths(self, count: int) -> Tensor:
        """Factors [count, residuals]: full, or weaker as requests have it, some of them with softness."""
        residuals = len(self.copy[0].net.controlnet_down_blocks) + 1
        share = torch.where(self.rand(count) < WEAKER, LEAST + (1 - LEAST) * self.rand(count), 1.0)
        soft = torch.tensor(softened(residuals, SOFTNESS), device=self.device)
        return share[:, None] * torch.where(self.rand(count, 1) < 0.5, soft, torch.ones_like(soft))

    @torch.no_grad()
    def drawn(self, bank: HintBank, batch: int, k: int) -> dict[str, Tensor]:
        """A batch with hints, some of them blank."""
        rows = self.chosen(bank, batch)
        blank = self.rand(batch, 1, 1) < BLANK
        hint = bank.hints[rows].masked_fill(blank, 0)
        return self.noisy(bank, rows, k) | {"hint": hint, "strength": self.strengths(batch)}

    def error(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """The eps error of the UNet with the branch."""
        guided, conditioner = self.copy
        context, pooled = conditioner(batch["rows"], skip)
        made = guided(batch["noisy"], batch["time"], context, pooled, batch["sizes"], batch["hint"], batch["strength"])
        return made.float() - batch["noise"]


class Steered(nn.Module):
    """The UNet with a branch and fixed hints, called as a UNet: what a sampler needs."""

    def __init__(self, unet: nn.Module, net: ControlNet, hint: Tensor, weight: float, stop: float, softness: float):
        super().__init__()
        self.guided, self.hint, self.last = Guided(unet, net), hint, (1 - stop) * 999
        factors = softened(len(net.controlnet_down_blocks) + 1, softness)
        self.register_buffer("strength", weight * torch.tensor(factors, device=hint.device))

    def forward(self, x: Tensor, t: Tensor, context: Tensor, added_cond_kwargs: dict, return_dict: bool) -> tuple:
        """As the UNet's; after the branch's last step it is the UNet alone."""
        told = added_cond_kwargs["text_embeds"], added_cond_kwargs["time_ids"]
        strength = (self.strength * (float(t) >= self.last)).expand(len(x), -1)
        return (self.guided(x, t, context, *told, self.hint, strength),)


def overlap(made: Tensor, wanted: Tensor) -> float:
    """How well outlines [n,h,w] cover wanted ones, 0 to 1: the mean of found and of right ones (F1), a little apart."""
    scores = []
    for one, other in zip(made, wanted, strict=True):
        a, b = ((lines >= BRIGHT).float()[None, None] for lines in (one, other))
        near_a, near_b = (F.max_pool2d(lines, 2 * NEAR + 1, 1, NEAR) for lines in (a, b))
        found, right = (b * near_a).sum() / b.sum().clamp_min(1), (a * near_b).sum() / a.sum().clamp_min(1)
        scores.append(float(2 * found * right / (found + right).clamp_min(1e-6)))
    return float(np.mean(scores))


def usual_outlines(pictures: Tensor) -> Tensor:
    """PyraCanny of pictures 0..1 [n,3,h,w] at the API's thresholds."""
    low, high = (torch.full((len(pictures),), limit, device=pictures.device) for limit in USUAL)
    return hints.pyra_canny(pictures, low, high)


@torch.no_grad()
def measured(base: attached.Base, file: Path, side: int, steps: int, count: int) -> dict[str, dict[str, float]]:
    """How far outlines of what is drawn agree with the hints', without and with the branch in `file`."""
    plan = take(base.held, slice(0, count))
    true = torch.cat([compose(take(plan, slice(n, n + 8)), base.sheet, side, side) for n in range(0, count, 8)])
    rows = torch.from_numpy(plan["rows"][:, :1].astype(np.int32)).to(base.device)
    nothing = torch.from_numpy(np.stack([attached.row("")[None]] * count)).to(base.device)
    sides = [base.conditioner(part) for part in (nothing, rows)]
    net = ControlFile.load(file, base.device).on(base.unet)
    lines = usual_outlines(true)
    grey = hints.structure(true, torch.tensor([hints.LUMINANCE], device=base.device).expand(count, -1))
    ways = {
        "without": base.unet,
        "canny, weight 1": Steered(base.unet, net, lines, 1.0, 1.0, 0.0),
        "canny, as requests are": Steered(base.unet, net, lines, 0.6, 0.6, 0.25),
        "cpds, weight 1": Steered(base.unet, net, grey, 1.0, 1.0, 0.0),
        "blank hint": Steered(base.unet, net, torch.zeros_like(lines), 1.0, 1.0, 0.0),
    }
    noise = torch.randn(count, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(5)).to(base.device)
    found, sheet = {}, list(as_pictures(true))
    for name, way in ways.items():
        pictures = sampling.pictures(base.vae, sampling.denoise(way, sides, noise, side, side, steps, 4.0))
        made = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(base.device).float() / 255
        error = float((made - true).square().mean())
        found[name] = {"overlap": overlap(usual_outlines(made), lines), "psnr": -10 * np.log10(error)}
        sheet += list(pictures)
    captions = [f"{way} {n}" for way in ("true", *ways) for n in range(count)]
    contact_sheet(sheet, captions, count, 160, file.parent / "canny.jpg")
    return found


def as_pictures(pictures: Tensor) -> np.ndarray:
    """uint8 [n,h,w,3] of pictures 0..1."""
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def train(base: attached.Base, options: argparse.Namespace) -> None:
    """The branch, from its start to its figures."""
    branch = new_branch(base.unet)
    if options.resume:
        branch.load_state_dict({name: tensor.float() for name, tensor in eight_bit.unpack(options.resume).items()})
    trainer = BranchTrainer(
        Guided(base.unet, branch),
        base.conditioner,
        base.negatives,
        rate=options.rate,
        graphs=options.graphs,
        texts=attached.TEXTS,
        horizon=0.998,
    )
    log.info("the branch has %.2f M weights", sum(weight.numel() for weight in trainer.weights) / 1e6)

    def bank_of(plan: dict[str, np.ndarray], height: int, width: int, seconds: float) -> HintBank:
        latents, lines = [], []
        for part in composed(plan, base.sheet, height, width, seconds, trainer.generator, 16_000_000):
            latents.append(encoded(part, base.encoder))
            lines.append(hints_of(part, trainer.generator))
        count = sum(map(len, latents))
        log.info("bank %dx%d: %d of %d", height, width, count, len(plan["kind"]))
        return HintBank(torch.cat(latents), rows_of(plan, count, base.device), torch.cat(lines))

    def hand_out() -> None:
        net = trainer.average[0].net
        eight_bit.pack(net.state_dict(), options.out / f"{FILE}.part", attached.about("canny_mini", options.base))
        (options.out / f"{FILE}.part").rename(options.out / FILE)

    attached.trained(trainer, base, options, bank_of, 0.0 if options.tiny else TAIL_SECONDS, hand_out)
    log.info("%d steps", trainer.steps)
    side, steps, count = (128, 2, 3) if options.tiny else (512, 20, 24)
    path = options.out / FILE
    figures = measured(base, path, side, steps, count)
    attached.table(f"CANNY {path.stat().st_size / 1e6:.2f} MB", figures, options.out / "canny.json")


def main() -> None:
    """Train, hand out, measure."""
    parser = attached.arguments(__doc__, 200, 1e-3)
    parser.add_argument("--resume", type=Path, help="a former run's file to go on from")
    options = parser.parse_args()
    attached.run(options, "canny", train, held=3 if options.tiny else 24)


if __name__ == "__main__":
    main()
