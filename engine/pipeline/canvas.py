"""What pictures are drawn on: their size, where their sampling starts, and what is done with them once decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.images.codecs import Pixels
from engine.models.vae import DOWNSCALE
from engine.plan import Steps
from engine.sampling.attachments import Attachment
from engine.sampling.latent_mask import Blend
from engine.sampling.native_size import Size, enlarged, sampled_size

Finish = Callable[[Pixels], Pixels]
"""What is done with a decoded picture."""


def unchanged(pixels: Pixels) -> Pixels:
    """The picture as it is."""
    return pixels


@dataclass(frozen=True)
class Canvas:
    """`size` is a picture's in pixels, `sampled` that of its latent, which is enlarged where they differ."""

    size: Size
    sampled: Size
    steps: Steps
    latent: Tensor | None = None
    """In VAE space, `sampled` large; None: from noise alone."""
    denoise: float = 1.0
    blend: Blend | None = None
    attachments: Sequence[Attachment] = ()
    tiled: bool = False
    """Whether the VAE decodes in tiles."""
    finish: Finish = unchanged

    def at_full_size(self, latent: Tensor) -> Tensor:
        """A sampled latent as large as the picture."""
        width, height = self.size
        return enlarged(latent, height // DOWNSCALE, width // DOWNSCALE)


def blank(size: Size, most_pixels: int | None, steps: Steps) -> Canvas:
    """A canvas with nothing on it, of nearly `size`, sampled at no more than the pixels a model was trained for."""
    width, height = size
    size = width // DOWNSCALE * DOWNSCALE, height // DOWNSCALE * DOWNSCALE
    return Canvas(size, sampled_size(size, most_pixels), steps)


def resampled(canvas: Canvas) -> list[str]:
    """What to tell of a size that the model was not trained for."""
    if canvas.sampled == canvas.size:
        return []
    (width, height), (full_width, full_height) = canvas.sampled, canvas.size
    return [
        f"Sampled at {width}×{height}, which this model was trained for, and enlarged to {full_width}×{full_height}"
    ]
