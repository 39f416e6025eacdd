"""An inpaint region in latents: what stays, what is drawn over, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from engine.images.inpaint import InpaintRegion
from engine.models.vae import DOWNSCALE, Vae


@dataclass(frozen=True)
class InpaintLatents:
    """Latents `[1, channels, h, w]` in VAE space, fp32.

    `grey` has the masked part grey, for the inpaint head, if there is one; `fill` is the filled crop, which is pinned
    outside the mask and may be where sampling starts; `swap` is the same of a refiner's own VAE, if it has one. `mask`
    `[1, 1, h, w]` is 1 where any pixel is repainted.
    """

    grey: Tensor | None
    fill: Tensor
    swap: Tensor | None
    mask: Tensor


def inpaint_latents(
    region: InpaintRegion,
    vae: Vae,
    generator: torch.Generator,
    swap_vae: Vae | None = None,
    *,
    with_grey: bool = True,
) -> InpaintLatents:
    """The region's latents; `generator` is a CPU's, and is drawn from in Fooocus's order, `with_grey` or without."""
    grey = None
    if with_grey:
        grey = vae.encode_inpaint(region.crop, region.crop_mask, generator)
    else:
        vae.skip_noise(region.crop, generator)
    swap = swap_vae.encode(region.fill, generator) if swap_vae is not None else None
    fill = vae.encode(region.fill, generator)
    height, width = fill.shape[-2:]
    return InpaintLatents(grey, fill, swap, latent_mask(region.crop_mask, height, width).to(fill.device))


def latent_mask(mask: np.ndarray, height: int, width: int) -> Tensor:
    """A mask `[h, w]`, uint8, as `[1, 1, height, width]`: 1 where any of a latent pixel's pixels is above 127."""
    pixels = torch.from_numpy(mask).float()[None, None] / 255
    size = (height * DOWNSCALE, width * DOWNSCALE)
    return max_pool2d(interpolate(pixels, size=size, mode="bilinear").round(), DOWNSCALE).round()
