"""Masks: OpenAI's are transparent where the picture is to be redrawn, ours are light there."""

from __future__ import annotations

import numpy as np

from engine.images import codecs, reading
from fooocus_flask.access import limits
from fooocus_flask.pictures import sent_pictures
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.inputs import in_thread
from schemas.fields import Upload

SEE_THROUGH = 128
"""Below this alpha a pixel is redrawn."""
LIGHT_MEANS_REDRAW = "The mask has no transparent parts: it was read as redrawing what is light in it"


def ours(sent: str | Upload) -> tuple[Upload, list[str]]:
    """The mask as our own requests have it, and notes.

    Raises:
        InvalidRequest: it is no picture.
    """
    data = sent_pictures.given(sent, "mask")
    with room.of(in_thread(reading.decoded_bytes, data), limits.whose()):
        mask = in_thread(of_alpha, data)
    return (Upload(data), [LIGHT_MEANS_REDRAW]) if mask is None else (Upload(mask), [])


def of_alpha(data: bytes) -> bytes | None:
    """The file of a mask that is white where the picture is transparent; None where it is nowhere.

    It takes its time.
    """
    pixels = reading.read(data)
    if pixels.shape[2] < 4:
        return None
    clear = pixels[:, :, 3] < SEE_THROUGH
    return codecs.encode_mask(np.where(clear, 255, 0).astype(np.uint8)) if clear.any() else None
