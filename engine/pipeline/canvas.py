"""Canvases: the size of pictures, the latent that their sampling starts from, and how they are finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.images.codecs import Pixels
from engine.images.resize import resample
from engine.models.vae import DOWNSCALE
from engine.plan import Steps
from engine.sampling.attachments import Attachment
from engine.sampling.latent_mask import Blend
from engine.sampling.native_size import Size, enlarged, sampled_size

Finish = Callable[[Pixels], Pixels]
"""Turns a decoded picture into the finished one."""


def unchanged(pixels: Pixels) -> Pixels:
    """The picture as it is."""
    return pixels


@dataclass(frozen=True)
class Canvas:
    """What pictures are drawn on.

    `size` is a picture's in pixels, `sampled` that of its latent; where the two differ, the decoded picture is
    enlarged, since an enlarged latent gives a softer one.
    """

    size: Size
    sampled: Size
    steps: Steps
    latent: Tensor | None = None
    """The start, in VAE space and `sampled` large; None: noise alone."""
    denoise: float = 1.0
    blend: Blend | None = None
    attachments: Sequence[Attachment] = ()
    tiled: bool = False
    """Whether the VAE decodes in tiles."""
    finish: Finish = unchanged

    @property
    def resized(self) -> bool:
        """Whether pictures are sampled at another size than their own."""
        return self.sampled != self.size

    def finished(self, pixels: Pixels) -> Pixels:
        """A decoded picture, in its own size and finished."""
        return self.finish(resample(pixels, *self.size) if self.resized else pixels)

    def at_full_size(self, latent: Tensor) -> Tensor:
        """A latent under way enlarged to the size of the picture, to be looked at."""
        width, height = self.size
        return enlarged(latent, height // DOWNSCALE, width // DOWNSCALE)


def blank_canvas(size: Size, most_pixels: int | None, steps: Steps) -> Canvas:
    """An empty canvas of nearly `size`, sampled at no more than the pixels that a model was trained for."""
    width, height = size
    size = width // DOWNSCALE * DOWNSCALE, height // DOWNSCALE * DOWNSCALE
    return Canvas(size, sampled_size(size, most_pixels), steps)


def size_notes(canvas: Canvas) -> list[str]:
    """Remarks for the client on a size that the model was not trained for."""
    if not canvas.resized:
        return []
    (width, height), (full_width, full_height) = canvas.sampled, canvas.size
    return [
        f"Sampled at {width}×{height}, which this model was trained for, and enlarged to {full_width}×{full_height}"
    ]
