"""Contact sheets: pictures in a grid with their captions, as one file."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def contact_sheet(pictures: list[np.ndarray], captions: list[str], columns: int, width: int, path: Path) -> None:
    """Write a grid of uint8 pictures scaled to `width`, captions below each."""
    height = width * pictures[0].shape[0] // pictures[0].shape[1]
    lines, rows = 14, -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + lines)), "white")
    draw = ImageDraw.Draw(sheet)
    for n, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = n % columns * width, n // columns * (height + lines)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS), (x, y))
        draw.text((x + 2, y + height + 1), caption[: width // 6], fill="black")
    sheet.save(path, optimize=True, **({"quality": 88} if path.suffix == ".jpg" else {}))
