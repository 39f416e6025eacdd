"""Pictures between our folders and the program: arrays that it is given, files and arrays that it gives."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import Any

from engine.files.whole_file import link_whole, whole_file

PILLOW_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
QUALITY = 95
"""Of JPEG and WebP, as Fooocus saves them."""
ORIENTATION = 0x0112
"""EXIF's tag of how a picture is to be turned."""


class UnusablePicture(ValueError):
    """A picture that this Fooocus's Pillow cannot read; the text says so."""


class GivenPictures:
    """The pictures of requests, by the references that parameters have, as Fooocus's page would hand them on."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.seconds = 0.0
        """What reading them has taken, which Fooocus's page does before its task too."""

    def array(self, reference: str) -> Any:
        """The picture as uint8 `[height, width, 3]`, upright, colours under transparency as they are.

        Raises:
            FileNotFoundError: it is gone.
            UnusablePicture: it cannot be read.
        """
        path = self.folder / PurePosixPath(reference).name
        if not path.is_file():
            raise FileNotFoundError(f"the input picture {path.name} is gone")
        begun = time.perf_counter()
        pixels = decoded(path.read_bytes())
        self.seconds += time.perf_counter() - begun
        return pixels


def decoded(data: bytes) -> Any:
    """The picture of a file as uint8 `[height, width, 3]`.

    Raises:
        UnusablePicture: it cannot be read.
    """
    import numpy
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            # Both steps would copy a picture that needs neither.
            upright = ImageOps.exif_transpose(image) if ORIENTATION in image.getexif() else image
            return numpy.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        text = "A picture cannot be read by the Pillow that this Fooocus runs with; send it as PNG or JPEG"
        raise UnusablePicture(text) from error


def encoded(pixels: Any, ending: str = ".png", *, fast: bool = False) -> bytes:
    """The file of an array, uint8 `[height, width]` or `[height, width, 3]`; `fast`: large, and soon made."""
    from PIL import Image

    file = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 1} if fast else {} if ending == ".png" else {"quality": QUALITY}
    Image.fromarray(pixels).save(file, PILLOW_FORMATS[ending.lower()], **options)
    return file.getvalue()


def store(source: Path | bytes, path: Path) -> None:
    """Put a file's content under its name, whole or not at all; the source stays.

    A file is linked where that can be: a copy of 2 MB would take 3 ms.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    if isinstance(source, Path) and link_whole(source, path):
        return
    with whole_file(path) as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with source.open("rb") as original:
                shutil.copyfileobj(original, file, 1 << 20)
