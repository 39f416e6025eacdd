"""The pictures and the mask that parity cases start from: drawn from formulas, the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def scene(width: int, height: int, seed: int) -> Pixels:
    """Overlapping discs of plain colours on a slanting gradient, with a fine grid and grain: edges, flats, detail."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    slant = (x / width + y / height) / 2
    picture = np.stack([slant * 200, 220 - slant * 160, 90 + 80 * (x / width)], axis=-1)
    for _ in range(14):
        centre, radius = generator.random(2) * (height, width), (0.06 + 0.16 * generator.random()) * min(width, height)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        picture[inside] = generator.random(3) * 255
    picture[(y.astype(int) % 32 == 0) | (x.astype(int) % 48 == 0)] *= 0.7
    picture += generator.integers(-6, 7, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def mask(width: int, height: int) -> Pixels:
    """White where the picture is repainted: an ellipse and a bar beside it."""
    y, x = np.mgrid[0:height, 0:width]
    ellipse = ((x - 0.55 * width) / (0.18 * width)) ** 2 + ((y - 0.45 * height) / (0.22 * height)) ** 2 < 1
    bar = (abs(x - 0.25 * width) < 0.04 * width) & (abs(y - 0.6 * height) < 0.15 * height)
    return np.where(ellipse | bar, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=-1)


PICTURES: dict[str, Callable[[], Pixels]] = {
    "scene": lambda: scene(1152, 896, 1),
    "small": lambda: scene(704, 576, 2),
    "guide": lambda: scene(1000, 900, 3),
    "mask": lambda: mask(1152, 896),
}
"""By the names that cases call them."""


def write_pictures(folder: Path) -> None:
    """Write every picture as `<name>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        Image.fromarray(draw()).save(folder / f"{name}.png")
