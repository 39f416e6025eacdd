"""Sizes a model was not trained for: sampled at one it knows, the picture enlarged to what was asked."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import interpolate

GRID = 64
"""Pixels that sampled sizes are multiples of: eight latent pixels, which three halvings of a UNet leave whole."""

Size = tuple[int, int]
"""Width and height in pixels."""


def sampled_size(size: Size, most_pixels: int | None) -> Size:
    """The size to sample a picture of `size` at: itself, or one of about `most_pixels` in nearly its shape."""
    width, height = size
    if most_pixels is None or width * height <= most_pixels:
        return size
    factor = math.sqrt(most_pixels / (width * height))
    return _on_grid(width * factor), _on_grid(height * factor)


def enlarged(latent: Tensor, height: int, width: int) -> Tensor:
    """A latent to be looked at, `[1, channels, h, w]`, at `height`×`width` latent pixels, by bicubic interpolation."""
    if latent.shape[-2:] == (height, width):
        return latent
    return interpolate(latent, size=(height, width), mode="bicubic", align_corners=False)


def _on_grid(side: float) -> int:
    return max(GRID, GRID * round(side / GRID))
