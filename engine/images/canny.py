"""PyraCanny: outlines found at nine sizes, the finer ones on top of the coarser."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.images.codecs import Pixels
from engine.images.contrast import stretched
from engine.images.resize import rgb

TENTHS = range(2, 11)
"""Sizes in tenths of the picture's."""
KEPT, ADDED = 0.75, 0.25
PERCENT = 1


def pyra_canny(image: Pixels, low: int = 64, high: int = 128) -> Pixels:
    """The picture's outlines, white on black, in its size; `low` and `high` (1 to 255) are Canny's thresholds."""
    height, width = image.shape[:2]
    sum_of_sizes: NDArray[np.float32] | None = None
    for tenths in TENTHS:
        # A picture of a few pixels has no smaller sizes.
        size = (max(1, width * tenths // 10), max(1, height * tenths // 10))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        found = outlines(small, low, high)
        if sum_of_sizes is None:
            sum_of_sizes = found
        else:
            sum_of_sizes = cv2.resize(sum_of_sizes, size, interpolation=cv2.INTER_LINEAR) * KEPT + found * ADDED
    assert sum_of_sizes is not None
    return rgb(stretched(sum_of_sizes.sum(axis=2), PERCENT))


def outlines(image: NDArray[np.uint8], low: int, high: int) -> NDArray[np.float32]:
    """Canny's outlines of each channel, 0 or 1, `[h, w, 3]`."""
    edges = [cv2.Canny(np.ascontiguousarray(image[:, :, channel]), low, high) for channel in range(image.shape[2])]
    return np.stack(edges, axis=2).astype(np.float32) / np.float32(255)
