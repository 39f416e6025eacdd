"""Pictures in another format than they are kept in, made as far as there is room for them in the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import request

from engine.images import codecs
from fooocus_flask.access import limits
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.inputs import in_thread

COPIES = 3
"""Of a picture's pixels that a conversion has at once: as decoded, upright or in sRGB, in the other mode."""


def converted(convert: Callable[[Path, str], bytes], path: Path, output_format: str) -> bytes:
    """The picture in another format, made by `convert` in a thread, once there is room for its pixels.

    Raises:
        KeyError: no such format.
        OSError, UnreadablePicture: the file is no picture that can be decoded.
    """
    client = limits.whose() if request else ""
    with room.of(COPIES * in_thread(codecs.decoded_bytes, path), client):
        return in_thread(convert, path, output_format)
