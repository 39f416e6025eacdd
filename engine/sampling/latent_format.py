"""The two scales of a latent: the VAE's own, and the one a UNet was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.sampling.conditioning import Kind


@dataclass(frozen=True)
class LatentFormat:
    """model space = (VAE space − mean) · scale / std, channel by channel."""

    scale: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def to_model(self, latent: Tensor) -> Tensor:
        """A latent `[batch, channels, h, w]` of the VAE as the UNet knows it, fp32.

        An empty one (all zero) stays empty, although a format with a mean has another middle.
        """
        latent = latent.float()
        if any(self.mean) and not bool(latent.any()):
            return latent
        return (latent - _channels(self.mean, latent)) * self.scale / _channels(self.std, latent)

    def to_vae(self, latent: Tensor) -> Tensor:
        """A latent of the UNet as the VAE knows it, fp32."""
        return latent.float() * _channels(self.std, latent) / self.scale + _channels(self.mean, latent)


SDXL = LatentFormat(0.13025)
SD15 = LatentFormat(0.18215)
PLAYGROUND = LatentFormat(0.5, mean=(-1.6574, 1.886, -1.383, 2.5155), std=(8.4927, 5.9022, 6.5498, 5.2299))


def latent_format(kind: Kind, scheduler: str) -> LatentFormat:
    """The format of a UNet of this kind under a scheduler; `edm_playground_v2.5` brings its own, whatever the UNet."""
    if scheduler == "edm_playground_v2.5":
        return PLAYGROUND
    return SD15 if kind == "sd15" else SDXL


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]
