"""All pictures of a task in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.images.codecs import Pixels


def grid(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures `[h, w, 3]` of one size in rows as long as there are rows or one more, on black."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width, channels = pictures[0].shape
    sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet
