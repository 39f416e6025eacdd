"""What is trained beside a frozen base: the start, sprites and stages that control branch and inpaint head share."""

import argparse
import copy
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from engine.gpu.capabilities import Precision
from engine.models import eight_bit, weight_names
from engine.models.unet import load_unet, unet_config
from training import models, plans, tokens
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, read_sprites
from training.focus import focused
from training.program import logged, planners
from training.run_all import ask
from training.train_unet import Bucket, Trainer

log = logging.getLogger("training")

LICENCE = "GPL-3.0-or-later"
RARELY = 0.15
"""Weight of a sprite that the base was not trained on last, beside 1."""
TEXTS = (0.85, 0.15, 0.0)
"""Shares of one, two and three texts a sample."""
LATENTS = (32, 32)
LARGE = {(64, 64): 2_000, (72, 96): 1_200, (80, 80): 800, (96, 72): 400}
"""Of the sizes that the engine samples at, the largest area (450,000 pixels) among them."""
FIRST_SHARE, SMALL_SHARE = 0.3, 0.1
"""The part of the run that is spent on small pictures alone; how often they are drawn later."""
WARM = 6
"""Steps before a kind of step is captured: there are many kinds for so short a run."""
TINY = {"small": 24, "large": {(16, 24): 12}}


def arguments(doc: str, seconds: float, rate: float) -> argparse.ArgumentParser:
    """The command line that the programs share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("engine/builtin/fooocus_mini.safetensors"))
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--out", type=Path, required=True, help="where the finished files go")
    parser.add_argument("--seconds", type=float, default=seconds, help="from the start of the program to its end")
    parser.add_argument("--rate", type=float, default=rate, help="highest learning rate")
    parser.add_argument("--small", type=int, default=6_000, help="pictures of 256 pixels")
    parser.add_argument("--batch-pixels", type=int, default=256 * 1024, help="latent pixels of a step")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 3), help="processes that plan")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="six steps a stage on small pictures, for a CPU")
    return parser


def known_and_rare(facts: list[dict]) -> list[dict]:
    """All sprites; those the base was trained on last under its names for them, the others rarely."""
    numbers, renamed = focused(facts)
    known = dict(zip(numbers, renamed, strict=True))
    return [known.get(n, fact | {"weight": RARELY}) for n, fact in enumerate(facts)]


@dataclass
class Base:
    """The frozen base and what goes with a run; `encoder` is the VAE in the format that banks are made in."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: AutoencoderKL
    conditioner: models.Conditioner
    negatives: Tensor
    sheet: Sheet
    waiting: dict[tuple[int, int], object]
    held: dict[str, np.ndarray]
    """Plans that no bank has, to measure with."""
    began: float

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.sheet.device


Use = Callable[[Base, argparse.Namespace], None]


def run(options: argparse.Namespace, name: str, use: Use, held: int) -> None:
    """Load everything, let `use` train and hand out, and end the worker processes."""
    began = time.monotonic()
    logged(options.out / f"{name}.log", mode="w")
    with planners(options.workers) as pool:
        use(_loaded(options, pool, held, began), options)
    log.info("ended after %.1f s", time.monotonic() - began)


def _loaded(options: argparse.Namespace, pool, held: int, began: float) -> Base:
    end_on_sigterm()
    torch.manual_seed(3)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    facts = known_and_rare(facts)
    if options.tiny:
        facts, pictures = facts[::24], pictures[::24]
    counts = {LATENTS: TINY["small"]} | TINY["large"] if options.tiny else {LATENTS: options.small} | LARGE
    measured = ask(pool, facts, held, 77_000, True, plans.FOCUSED)
    waiting = {
        hw: ask(pool, facts, count, 9000 + hw[0] * 7 + hw[1], True, plans.FOCUSED) for hw, count in counts.items()
    }
    sheet = Sheet(
        facts, pictures, device, largest=128 if options.tiny else 512, backdrops=Backdrops.read(options.bundle, device)
    )
    _, vae, conditioner = models.resumed(options.base)
    vae, conditioner = (net.requires_grad_(False).eval().to(device) for net in (vae, conditioner))
    unet, vae = engines_unet(options.base, device), vae.to(memory_format=torch.channels_last)
    encoder = copy.deepcopy(vae).to(torch.bfloat16 if device.type == "cuda" else torch.float32)
    negatives = torch.from_numpy(plans.negative_rows(1000, 5).astype(np.int32)).to(device)
    log.info("base %s on %s after %.1f s", options.base.name, device, time.monotonic() - began)
    return Base(unet, vae, encoder, conditioner, negatives, sheet, waiting, plans.joined(measured.get()), began)


def engines_unet(path: Path, device: torch.device) -> UNet2DConditionModel:
    """The UNet as the engine builds it, whose settings its loaders of other files go by; fp32.

    It is built on the CPU as one that computes elsewhere: the engine rewrites the layers of one that draws there, as it
    does on a GPU, and those can't be trained.
    """
    tensors = {
        name: tensor.float() for name, tensor in weight_names.part_of(eight_bit.unpack(path), weight_names.UNET).items()
    }
    processor, config = torch.device("cpu"), unet_config(tensors, models.WIDTH_G)
    unet = load_unet(tensors, config, processor, Precision.for_device(processor), carried=True)
    return unet.to(device, memory_format=torch.channels_last)


class AttachedTrainer(Trainer):
    """A trainer of what hangs on a frozen base; a part of the texts is left out, so that it learns to stand alone."""

    untold = 0.0
    skips = (1.0, 0.0, 0.0)
    """What is rarely asked would mostly run without a graph, at ten times the cost."""

    def texts(self, rows: Tensor, k: int) -> Tensor:
        """k wordings of each sample, or nothing."""
        chosen = super().texts(rows, k)
        return torch.where(self.rand(len(rows), 1, 1) < self.untold, self.empty, chosen)


def trained(
    trainer: Trainer,
    base: Base,
    options: argparse.Namespace,
    bank_of: Callable[[dict[str, np.ndarray], int, int, float], object],
    tail: float,
    save: Callable[[], None],
) -> None:
    """Both stages: small pictures, then large ones; `tail` seconds are left for what comes after."""
    trainer.graphs.warm = WARM
    started = time.monotonic()
    deadline = base.began + options.seconds - tail

    def share() -> float:
        return min(1.0, (time.monotonic() - started) / max(1.0, deadline - started))

    def bucket(size: tuple[int, int], weight: float) -> Bucket:
        height, width = size
        plan = plans.joined(base.waiting[size].get(timeout=120))  # type: ignore[attr-defined]
        bank = bank_of(plan, height * 8, width * 8, 0.12 * options.seconds)
        pixels = 2048 if options.tiny else options.batch_pixels
        return Bucket(bank, weight, max(2, pixels // (height * width) // 8 * 8))  # type: ignore[arg-type]

    keep: list[Bucket] = []
    sizes = [size for size in base.waiting if size != LATENTS]
    for name, ends, wanted in (("small", FIRST_SHARE, [LATENTS]), ("large", 1.0, sizes)):
        weights = {size: LARGE.get(size, 1) for size in wanted}
        fresh = [bucket(size, weights[size] / sum(weights.values())) for size in wanted]
        for old in keep:
            old.weight = SMALL_SHARE
        keep += fresh
        seconds = started + ends * (deadline - started) - time.monotonic()
        clock = Clock(name, max(1.0, seconds), 6 if options.tiny else None)
        log.info("== %s: %.0f s, %s", name, clock.seconds, [(b.bank.size, b.batch) for b in keep])
        trainer.stage(keep, clock, lambda _: cosine(share(), 0.0), save)
        save()


def row(text: str) -> np.ndarray:
    """Token ids of a text, for the conditioner."""
    return tokens.row(text).astype(np.int32)


def about(name: str, base: Path) -> dict:
    """The manifest of a file that goes with the built-in model."""
    return {"name": name, "licence": LICENCE, "goes with": base.name, "training": "training/README.md"}


def table(title: str, rows: dict[str, dict[str, float]], path: Path) -> None:
    """Print a table of figures, and write them as JSON."""
    print(title, flush=True)
    for name, figures in rows.items():
        print(f"  {name:26}", "  ".join(f"{what} {value:.3f}" for what, value in figures.items()), flush=True)
    path.write_text(json.dumps(rows, indent=1))
