"""Vary and Upscale: what a request's method means for size and strength, and the picture they start from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from engine.images.codecs import Pixels
from engine.images.resize import resample, shape_ceil, with_shape_ceil

SIDE, MOST_VARIED = 1024, 2048
"""`shape_ceil` of what is drawn: at least, and for Vary at most."""
SUBTLE, STRONG, UPSCALE_STRENGTH = 0.5, 0.85, 0.382
MOST_REDRAWN = 2800
"""A picture whose `shape_ceil` is above it is too large to be drawn again."""
LEAST_FACTOR, MOST_FACTOR = 1.0, 5.0


@dataclass(frozen=True)
class Upscaled:
    """An enlarged picture; a `finished` one is not drawn over."""

    image: Pixels
    factor: float
    finished: bool


def vary_strength(method: str, overwrite: float = -1.0) -> float:
    """How much of the picture Vary repaints, from 0 to 1; `overwrite` above 0 takes its place.

    Raises:
        ValueError: the method is no kind of Vary.
    """
    if overwrite > 0:
        return overwrite
    strengths = {"subtle": SUBTLE, "strong": STRONG}
    for word, strength in strengths.items():
        if word in method.casefold():
            return strength
    raise ValueError(f"{method} is neither Vary (Subtle) nor Vary (Strong)")


def upscale_strength(overwrite: float = -1.0) -> float:
    """How much of an enlarged picture is repainted, from 0 to 1; `overwrite` above 0 takes its place."""
    return overwrite if overwrite > 0 else UPSCALE_STRENGTH


def varied(image: Pixels) -> Pixels:
    """The picture in the size that Vary draws at."""
    side = min(max(shape_ceil(*image.shape[:2]), SIDE), MOST_VARIED)
    return with_shape_ceil(image, side)


def upscale_factor(method: str, multiple: float = 1.0) -> float:
    """How many times larger both sides become: the number in the method's name, or `multiple` where it has none.

    From 1 to 5. Fooocus's own test for a fixed name also takes every multiple that ends in 2 for 2; that is not kept.
    """
    named = re.search(r"(?<!\d)(\d+(?:\.\d+)?)x", method.casefold())
    return min(max(float(named[1]) if named else multiple, LEAST_FACTOR), MOST_FACTOR)


def upscaled(image: Pixels, method: str, multiple: float, upscale: Callable[[Pixels], Pixels]) -> Upscaled:
    """The picture, enlarged by `upscale` (by whatever that does) and brought to the size the method asks for.

    One that would be smaller than 1024² becomes as large as that. It is finished if the method is a fast one or the
    result is too large to be drawn again.
    """
    factor = upscale_factor(method, multiple)
    height, width = image.shape[0] * factor, image.shape[1] * factor
    side = shape_ceil(height, width)
    larger = upscale(image)
    sized = with_shape_ceil(larger, SIDE) if side < SIDE else resample(larger, width, height)
    return Upscaled(sized, factor, finished="fast" in method.casefold() or side > MOST_REDRAWN)
