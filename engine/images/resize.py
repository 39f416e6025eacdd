"""Sizes of pictures: Lanczos resampling, filling a frame, and the measure by which Fooocus chooses what to draw at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.images.codecs import Pixels

STEP = 64
"""Pixels that drawn sides are multiples of."""
MOST_ROUNDS = 256


def rgb(image: NDArray[np.uint8]) -> Pixels:
    """Any uint8 picture `[h, w]` or `[h, w, 1 | 3 | 4]` as RGB; transparency is laid on white, values cut off.

    Raises:
        ValueError: it has another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"a picture is uint8 [h, w] or [h, w, channels], not {image.dtype} {list(image.shape)}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if channels == 3:
        return image
    if channels != 4:
        raise ValueError(f"a picture has 1, 3 or 4 channels, not {channels}")
    colour, alpha = image[:, :, :3].astype(np.float32), image[:, :, 3:].astype(np.float32) / 255
    return (colour * alpha + 255 * (1 - alpha)).clip(0, 255).astype(np.uint8)


def resample(image: NDArray[np.uint8], width: float, height: float) -> NDArray[np.uint8]:
    """A picture or mask stretched to whole `width`×`height` pixels (fractions are cut off), by Lanczos."""
    return np.array(Image.fromarray(image).resize((int(width), int(height)), Image.Resampling.LANCZOS))


def cover(image: Pixels, width: int, height: int) -> Pixels:
    """The picture's middle in a frame: scaled until it fills the frame, in its own proportions."""
    own_height, own_width = image.shape[:2]
    ratio, own_ratio = width / height, own_width / own_height
    scaled_width = width if ratio > own_ratio else own_width * height // own_height
    scaled_height = height if ratio <= own_ratio else own_height * width // own_width
    frame = Image.new("RGB", (width, height))
    scaled = Image.fromarray(resample(image, scaled_width, scaled_height))
    frame.paste(scaled, (width // 2 - scaled_width // 2, height // 2 - scaled_height // 2))
    return np.array(frame)


def shape_ceil(height: float, width: float) -> float:
    """The side of a square as large as the picture, rounded up to a multiple of 64."""
    return math.ceil(math.sqrt(height * width) / STEP) * float(STEP)


def with_shape_ceil(image: Pixels, side: float) -> Pixels:
    """The picture with `shape_ceil` equal to `side`, both sides multiples of 64.

    One that has it already stays as it is, whatever its sides are.
    """
    height, width = image.shape[:2]
    fitted_height, fitted_width = fitted_size(height, width, side)
    if (fitted_height, fitted_width) == (height, width):
        return image
    return resample(image, fitted_width, fitted_height)


def fitted_size(height: int, width: int, side: float) -> tuple[int, int]:
    """Height and width scaled, and rounded to multiples of 64, until their `shape_ceil` is `side`.

    Some shapes never get there: after 256 rounds the last size counts.
    """
    for _ in range(MOST_ROUNDS):
        now = shape_ceil(height, width)
        if abs(now - side) < 0.1:
            break
        height, width = (max(STEP, int(round(length * (side / now) / STEP) * STEP)) for length in (height, width))
    return height, width
