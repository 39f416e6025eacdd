"""The first content of a masked area, before it is repainted: the surroundings' colours, spread inwards."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from engine.images.codecs import Mask, Pixels
from engine.images.masks import PAINTED

BLURS = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))
"""Radii of box blurs, from coarse to fine, and how often each is applied."""


def filled(image: Pixels, mask: Mask) -> Pixels:
    """The picture with its masked area blurred ever more finely, and what is outside as it was.

    Only what the area's new colours depend on is blurred: sixty blurs of a whole picture take seconds.
    """
    area = Image.fromarray(np.where(mask < PAINTED, 0, 255).astype(np.uint8))
    box, current = area.getbbox(), Image.fromarray(image)
    if box is None:
        return image.copy()
    left, top, right, bottom = box
    inside = area.crop(box)
    for radius, repeats in BLURS:
        reach = radius + 1  # a whole radius has a weight of rounding beyond it
        first, above = max(0, left - reach), max(0, top - reach)
        around = first, above, min(current.width, right + reach), min(current.height, bottom + reach)
        here = left - first, top - above, right - first, bottom - above
        for _ in range(repeats):
            blurred = current.crop(around).filter(ImageFilter.BoxBlur(radius))
            current.paste(blurred.crop(here), box, inside)
    return np.array(current)
