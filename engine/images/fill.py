"""The first content of a masked area, before it is repainted: the surroundings' colours, spread inwards."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from engine.images.codecs import Mask, Pixels
from engine.images.masks import PAINTED

BLURS = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))
"""Radii of box blurs, from coarse to fine, and how often each is applied."""


def filled(image: Pixels, mask: Mask) -> Pixels:
    """The picture with its masked area blurred ever more finely; what is outside is put back after every blur."""
    kept = mask < PAINTED
    current = image
    for radius, repeats in BLURS:
        blur = ImageFilter.BoxBlur(radius)
        for _ in range(repeats):
            current = np.array(Image.fromarray(current).filter(blur))
            current[kept] = image[kept]
    return current
