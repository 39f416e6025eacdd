"""A bundle of a few drawn sprites, in the layout that the training reads."""

import io
import json
import zipfile

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "gold")


def bundle(folder):
    """The folder with 24 sprites: discs and boxes of four colours in three sources."""
    facts = []
    with zipfile.ZipFile(folder / "sprites.zip", "w") as archive:
        for number in range(24):
            colour, source = COLOURS[number % 4], ("3d", "noto", "flat")[number // 8]
            facts.append(
                {
                    "names": [f"{colour} thing"], "tags": ["thing"], "weight": 1.0, "group": "object", "label": "thing",
                    "source": source, "hue": 90.0 * (number % 4), "sat": 0.8, "val": 0.8, "share": 0.7,
                }
            )  # fmt: skip
            file = io.BytesIO()
            drawing(colour, number).save(file, "webp", lossless=True)
            archive.writestr(f"{number:04}.webp", file.getvalue())
        archive.writestr("sprites.json", json.dumps(facts))
    return folder


def drawing(colour, number):
    """A sprite of 64 pixels."""
    picture = Image.fromarray(np.zeros((64, 64, 4), np.uint8))
    pen = ImageDraw.Draw(picture)
    (pen.ellipse if number % 2 else pen.rectangle)((8, 8, 56, 50 + number % 8), fill=colour, outline="black", width=3)
    return picture
