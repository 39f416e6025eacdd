"""What kind of picture a client asks for by its Accept header, weights and all."""

from __future__ import annotations

from flask import request
from werkzeug.datastructures import MIMEAccept

from schemas.answers import PICTURE_TYPES

FORMATS = {kind: kind.removeprefix("image/") for kind in PICTURE_TYPES}


def ranges() -> MIMEAccept:
    """The Accept header of this request, without parameters; `image/jpg` is a common slip for JPEG."""
    plain = ((value.partition(";")[0].strip().lower(), weight) for value, weight in request.accept_mimetypes)
    return MIMEAccept([("image/jpeg" if kind == "image/jpg" else kind, weight) for kind, weight in plain])


def picture() -> str | None:
    """The media type of the picture that a client wants as its answer; None if its best range is no image."""
    accepted = [(kind, weight) for kind, weight in ranges() if weight > 0]
    if not accepted:
        return None
    best = max(weight for _, weight in accepted)
    kinds = [kind for kind, weight in accepted if weight == best]
    if not kinds[0].startswith("image/"):
        return None
    return next((kind for kind in kinds if kind in FORMATS), "image/png")


def converted(own: str) -> str:
    """The media type to send a picture of type `own` as: its own unless the client prefers another."""
    accepted = ranges()
    wanted = max([own, *FORMATS], key=lambda kind: accepted.quality(kind))
    return wanted if accepted else own
