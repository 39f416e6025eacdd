"""The part of a picture that is inpainted: cut out, brought to a size that draws well, and put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.images.codecs import Mask, Pixels
from engine.images.fill import filled
from engine.images.masks import binary, soft
from engine.images.region import Box, region
from engine.images.resize import resample, shape_ceil, with_shape_ceil

SIDE = 1024
"""`shape_ceil` of what is drawn."""
FILLS_ABOVE = 0.99
"""From this strength on nothing of the masked area is to remain, so that it is filled first."""

Upscale = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class InpaintRegion:
    """One area to inpaint.

    `original` is the whole picture, `soft_mask` says how much of the drawn counts in it; `crop`, `crop_mask` (0 or
    255) and `fill` are what is drawn at, all of one size; `box` is where they come from.
    """

    original: Pixels
    soft_mask: Mask
    box: Box
    crop: Pixels
    crop_mask: Mask
    fill: Pixels

    def paste(self, drawn: Pixels) -> Pixels:
        """The whole picture with what was drawn in place, blended at the mask's soft edge; values are cut off."""
        box = self.box
        changed = self.original.copy()
        changed[box.top : box.bottom, box.left : box.right] = resample(drawn, box.width, box.height)
        weight = self.soft_mask[:, :, None].astype(np.float32) / 255
        blended = changed.astype(np.float32) * weight + self.original.astype(np.float32) * (1 - weight)
        return blended.clip(0, 255).astype(np.uint8)

    def resized(self, width: int, height: int) -> InpaintRegion:
        """The same area, drawn at another size."""
        crop_mask = binary(resample(self.crop_mask, width, height))
        crop, fill = (resample(picture, width, height) for picture in (self.crop, self.fill))
        return replace(self, crop=crop, crop_mask=crop_mask, fill=fill)


def inpaint_region(image: Pixels, mask: Mask, *, field: float, strength: float, upscale: Upscale) -> InpaintRegion:
    """The area of a mask, which has the picture's size, ready to be drawn.

    `field` (0 to 1) says how much of the picture is looked at; a small area is enlarged by `upscale` first.

    Raises:
        EmptyMask: the mask is 0 everywhere.
    """
    box = region(mask, field)
    crop = box.cut(image)
    if shape_ceil(*crop.shape[:2]) < SIDE:
        crop = upscale(np.ascontiguousarray(crop))
    crop = with_shape_ceil(crop, SIDE)
    height, width = crop.shape[:2]
    crop_mask = binary(resample(box.cut(mask), width, height))
    fill = filled(crop, crop_mask) if strength > FILLS_ABOVE else crop.copy()
    return InpaintRegion(image, soft(mask), box, crop, crop_mask, fill)
