"""What a picture tells: its parameters, and what it shows."""

from __future__ import annotations

from typing import Any

from blueprints.sdapi import names
from blueprints.sdapi.group import blueprint
from engine.images import a1111, metadata_reading, reading
from fooocus_flask.access import limits, scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.pictures import inputs, sent_pictures
from fooocus_flask.pictures.decoding import room
from fooocus_flask.runner import picture_requests
from schemas.other_apis.sdapi import INTERROGATORS, CaptionSchema, InterrogateSchema, PngInfoAnswerSchema, PngInfoSchema


@blueprint.post("/png-info")
@blueprint.arguments(PngInfoSchema)
@blueprint.response(200, PngInfoAnswerSchema)
@scopes.needs(DRAW)
def png_info(sent: dict[str, Any]) -> dict[str, Any]:
    """Read the parameters out of a picture."""
    data = sent_pictures.given(sent["image"], "image")
    with room.of(inputs.in_thread(reading.decoded_bytes, data), limits.whose()):
        return inputs.in_thread(carried, data)


@blueprint.post("/interrogate")
@blueprint.arguments(InterrogateSchema)
@blueprint.response(200, CaptionSchema)
@scopes.needs(DRAW)
def interrogate(sent: dict[str, Any]) -> dict[str, str]:
    """Describe a picture."""
    kind = INTERROGATORS.get(model := sent.get("model", "clip"))
    if kind is None:
        raise InvalidRequest([names.unknown("model", "interrogator", model, list(INTERROGATORS))])
    return {"caption": picture_requests.describe(sent, kind).text}


def carried(data: bytes) -> dict[str, Any]:
    """The texts that a picture's file carries, and its parameters; takes its time."""
    try:
        items = metadata_reading.texts_of(data)
    except ValueError:  # a kind of picture that carries none
        items = {}
    text = metadata_reading.parameter_text(items)
    positive, negative, pairs = a1111.parsed(text)
    prompts = {"Prompt": positive, "Negative prompt": negative} if pairs else {}
    return {
        "info": text,
        "items": {name: value for name, value in items.items() if value},
        "parameters": prompts | pairs,
    }
