"""Sizes that SDXL was not made for: drawn larger in the same shape, and shrunk on the way out."""

from __future__ import annotations

import math
from pathlib import Path

from engine.files import detect
from fooocus_flask.pictures.inputs import in_thread
from schemas.generate import MOST_SIDE, SIDE_STEP

Size = tuple[int, int]
TOO_SMALL = 600_000
"""Pixels below which SDXL draws something else than it was asked for."""
NATIVE = 1024 * 1024


def drawn_size(asked: Size, checkpoint: Path | None) -> Size:
    """The size at which to draw a picture of the size asked for; None is the built-in model, which draws any."""
    if asked[0] * asked[1] >= TOO_SMALL or checkpoint is None or not in_thread(is_sdxl, checkpoint):
        return asked
    factor = min(math.sqrt(NATIVE / (asked[0] * asked[1])), MOST_SIDE / max(asked))
    width, height = (SIDE_STEP * round(side * factor / SIDE_STEP) for side in asked)
    return width, height


def is_sdxl(checkpoint: Path) -> bool:
    """Whether the file is an SDXL checkpoint; takes its time."""
    return checkpoint.is_file() and detect.kind_of(detect.shapes(checkpoint)) == detect.SDXL


def spelt(size: Size) -> str:
    """The size as their clients write it."""
    return f"{size[0]}x{size[1]}"
