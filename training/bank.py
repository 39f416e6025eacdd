"""Banks: latents of composites with their captions' token rows, kept on the device."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from engine.models.vae import posterior
from training.clock import Clock
from training.compose import Sheet, compose, take
from training.models import LATENT_SCALE, VAE_MARGIN

log = logging.getLogger("training")


@dataclass
class Bank:
    """One bucket: latents fp16 [n,4,h,w] in model space and token rows [n,4,77]."""

    latents: Tensor
    rows: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Latent height and width."""
        return self.latents.shape[-2], self.latents.shape[-1]


@torch.no_grad()
def encoded(pictures: Tensor, vae: AutoencoderKL) -> Tensor:
    """Latents fp16 [n,4,h/8,w/8] in model space of pictures [n,3,h,w] in 0..1."""
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=vae.dtype == torch.float32):
        pixels = (pictures * 2 - 1).to(vae.dtype, memory_format=torch.channels_last)
        return (posterior(vae, pixels, VAE_MARGIN).mean.float() * LATENT_SCALE).half()


@torch.no_grad()
def composed(
    plan: dict[str, np.ndarray],
    sheet: Sheet,
    height: int,
    width: int,
    seconds: float,
    generator: torch.Generator | None = None,
    pixels: int = 24_000_000,
) -> Iterator[Tensor]:
    """The plan's pictures, batch by batch of so many `pixels`, until done or out of time."""
    began, count = time.monotonic(), len(plan["kind"])
    batch = max(1, min(count, pixels // (height * width)))
    for at in range(0, count, batch):
        yield compose(take(plan, slice(at, at + batch)), sheet, height, width, generator)
        if time.monotonic() - began > seconds or Clock.stopping:
            break
        if sheet.device.type == "cuda" and (at // batch) % 8 == 7:
            torch.cuda.synchronize()


def encode_bank(
    plan: dict[str, np.ndarray],
    sheet: Sheet,
    vae: AutoencoderKL,
    height: int,
    width: int,
    seconds: float,
    generator: torch.Generator | None = None,
) -> Bank:
    """Compose and encode the plan's pictures at [height, width] pixels until done or out of time."""
    began, count = time.monotonic(), len(plan["kind"])
    latents = torch.cat([encoded(part, vae) for part in composed(plan, sheet, height, width, seconds, generator)])
    log.info("bank %dx%d: %d of %d in %.1f s", height, width, len(latents), count, time.monotonic() - began)
    return Bank(latents, rows_of(plan, len(latents), sheet.device))


def rows_of(plan: dict[str, np.ndarray], count: int, device: torch.device) -> Tensor:
    """The token rows of the plan's first pictures."""
    return torch.from_numpy(plan["rows"][:count].astype(np.int32)).to(device)
