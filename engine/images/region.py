"""Which part of a picture inpainting looks at: a box around the mask, grown to a share of the picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.images.codecs import Mask, Pixels

MARGIN = 1.15
"""Half a side of the first box, over half the mask's longer side."""


class EmptyMask(ValueError):
    """The mask marks nothing: there is nothing to inpaint."""


class Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows of it."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns of it."""
        return self.right - self.left

    def clamped(self, height: int, width: int) -> Box:
        """What of it is inside a picture."""
        (top, bottom), (left, right) = (
            np.clip(ends, 0, side).tolist() for ends, side in ((self[:2], height), (self[2:], width))
        )
        return Box(top, bottom, left, right)

    def cut(self, image: Pixels | Mask) -> Pixels | Mask:
        """The box's part of a picture or mask, as a view."""
        return image[self.top : self.bottom, self.left : self.right]


def region(mask: Mask, field: float) -> Box:
    """The box to look at for a mask; greys count. `field` 0 is only the mask's surroundings, 1 the whole picture.

    Raises:
        EmptyMask: the mask is 0 everywhere.
    """
    height, width = mask.shape
    box = around(mask)
    if field == 1.0:
        return Box(0, height, 0, width)
    while box.height < height * field or box.width < width * field:
        taller = box.height < box.width
        wider = not taller
        # A side that cannot grow leaves it to the other one.
        taller, wider = taller or box.width == width, wider or box.height == height
        top, bottom, left, right = box
        box = Box(top - taller, bottom + taller, left - wider, right + wider).clamped(height, width)
    return box


def around(mask: Mask) -> Box:
    """A square around all that is marked, with a margin, cut off at the picture's edges.

    Raises:
        EmptyMask: the mask is 0 everywhere.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise EmptyMask("the mask is empty: it marks no pixel to inpaint")
    (top, bottom), (left, right) = ((int(places[0]), int(places[-1])) for places in (rows, columns))
    y, x = (top + bottom) // 2, (left + right) // 2
    reach = int(max((bottom - top) // 2, (right - left) // 2) * MARGIN)
    return Box(y - reach, y + reach + 1, x - reach, x + reach + 1).clamped(*mask.shape)
