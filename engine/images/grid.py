"""All pictures of a task in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.images.codecs import Pixels


def grid(pictures: Sequence[Pixels]) -> Pixels | None:
    """Pictures `[h, w, 3]` in rows as long as there are rows or one more, on black; None unless two or more are alike
    in size."""
    if len(pictures) < 2 or len({picture.shape for picture in pictures}) > 1:
        return None
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width, channels = pictures[0].shape
    sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet
