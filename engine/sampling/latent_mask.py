"""Inpainting's pinned part: outside the mask every evaluation sees, and ends in, the picture that was there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.gpu.capabilities import Features
from engine.sampling.step import Denoise

GENERATOR_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Blend:
    """What is pinned: `latent` `[1, channels, h, w]` in VAE space where `mask` `[1, 1, h, w]` is 0; 1 is repainted.

    `swap_latent` takes its place after a swap to a refiner with a VAE of its own, in that VAE's space.
    """

    latent: Tensor
    mask: Tensor
    swap_latent: Tensor | None = None


class Blended:
    """`denoise` under a blend, for one sampler call: `latent` in model space and `mask` lie where the state does.

    The pinned part is given fresh noise at each evaluation, drawn on the CPU from `seed` + 1.
    """

    def __init__(self, denoise: Denoise, latent: Tensor, mask: Tensor, seed: int) -> None:
        self.denoise, self.latent, self.mask = denoise, latent, mask
        self.generator = torch.Generator().manual_seed((seed + 1) % GENERATOR_SEEDS)

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent: the model's inside the mask, the pinned one outside."""
        kept = 1 - self.mask
        x = x * self.mask + (self.latent + self._noise(x) * sigma) * kept
        return self.denoise(x, sigma) * self.mask + self.latent * kept

    def _noise(self, x: Tensor) -> Tensor:
        # From pinned memory the copy waits for nothing.
        pinned = Features.for_device(x.device).pinning
        noise = torch.randn(x.shape, dtype=x.dtype, generator=self.generator, pin_memory=pinned)
        return noise.to(x.device, non_blocking=True)
