"""Banks: latents of composites with their captions' token rows, kept on the device."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.clock import Clock
from training.compose import Sheet, compose, take
from training.models import LATENT_SCALE

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
    began, latents, count = time.monotonic(), [], len(plan["kind"])
    batch = max(1, min(count, 24_000_000 // (height * width)))
    for at in range(0, count, batch):
        pictures = compose(take(plan, slice(at, at + batch)), sheet, height, width, generator)
        with torch.autocast(sheet.device.type, torch.bfloat16, enabled=vae.dtype == torch.float32):
            pixels = (pictures * 2 - 1).to(vae.dtype, memory_format=torch.channels_last)
            latents.append((vae.encode(pixels).latent_dist.mean.float() * LATENT_SCALE).half())
        if time.monotonic() - began > seconds or Clock.stopping:
            break
        if sheet.device.type == "cuda" and (at // batch) % 8 == 7:
            torch.cuda.synchronize()
    bank = Bank(torch.cat(latents), torch.from_numpy(plan["rows"].astype(np.int32)).to(sheet.device))
    bank.rows = bank.rows[: len(bank.latents)]
    log.info("bank %dx%d: %d of %d in %.1f s", height, width, len(bank.latents), count, time.monotonic() - began)
    return bank
