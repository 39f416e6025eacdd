"""Outpainting: a picture with room around it that is to be drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from engine.images.codecs import Mask, Pixels

SHARE = 0.3
"""The part of a side that is added where no distance is given."""
DIRECTIONS = ("left", "top", "right", "bottom")
"""In the order of a request's distances."""


def outpainted(
    image: Pixels, mask: Mask, directions: Collection[str], distances: Sequence[int] = (0, 0, 0, 0)
) -> tuple[Pixels, Mask]:
    """Picture and mask (of one size) with more room in the `directions`, in any case of letters.

    `distances` are pixels left, top, right, bottom; without one (0) it is 0.3 of the side that grows. The picture's
    edge is continued, and the mask paints all that is new.

    Raises:
        ValueError: an unknown direction.
    """
    height, width = image.shape[:2]
    added = room(width, height, directions, distances)
    rows, columns = (added["top"], added["bottom"]), (added["left"], added["right"])
    wider = np.pad(image, (rows, columns, (0, 0)), mode="edge")
    return wider, np.pad(mask, (rows, columns), constant_values=255)


def room(width: int, height: int, directions: Collection[str], distances: Sequence[int]) -> dict[str, int]:
    """The pixels that are added in each direction; see `outpainted`.

    Raises:
        ValueError: an unknown direction.
    """
    chosen = {direction.lower() for direction in directions}
    if strange := chosen - set(DIRECTIONS):
        raise ValueError(f"unknown direction {min(strange)}; there are {', '.join(DIRECTIONS)}")
    usual = {"left": int(SHARE * width), "right": int(SHARE * width)}
    usual |= {"top": int(SHARE * height), "bottom": int(SHARE * height)}
    return {
        direction: (distance if distance > 0 else usual[direction]) if direction in chosen else 0
        for direction, distance in zip(DIRECTIONS, distances, strict=True)
    }
