"""Masks and descriptions of pictures, the parameters they carry, and the length of prompts."""

from __future__ import annotations

import base64
from typing import Any

from flask import Response, jsonify, request

from engine import choices
from engine.images import reading
from engine.prompt.prompt_size import ROOM, prompt_size
from engine.required_files import mask_needs
from fooocus_flask.access import limits, scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.model_files.folders import folders, style_names
from fooocus_flask.pictures import inputs, sent_pictures
from fooocus_flask.pictures.blocking import in_thread
from fooocus_flask.pictures.decoding import room
from fooocus_flask.runner import picture_requests
from fooocus_flask.submission import from_metadata, unknown_names
from fooocus_flask.submission.forms import form_body, is_form
from fooocus_flask.submission.parsing import Blueprint, json_body
from fooocus_flask.submission.prepare import catalogue
from schemas.submission import MULTIPART
from schemas.tools import (
    CountTokensSchema,
    DescribeQuerySchema,
    DescribeSchema,
    DescriptionSchema,
    MaskSchema,
    MetadataSchema,
    PromptSizeSchema,
    ReadMetadataSchema,
)

blueprint = Blueprint(
    "tools", __name__, url_prefix="/v1/tools", description="Masks and descriptions of pictures; the length of prompts."
)

MASK_OPTIONS = {
    "mask_model": "model",
    "cloth_category": "cloth_category",
    "dino_prompt_text": "dino_prompt",
    "sam_model": "sam_model",
    "box_threshold": "box_threshold",
    "sam_max_detections": "max_detections",
    "dino_erode_or_dilate": "dino_erode_or_dilate",
    "dino_debug": "dino_debug",
}
"""The request's members and what `MaskOptions` calls them; `text_threshold` changes no mask."""

DESCRIBE_BODIES = {
    "application/json": {"schema": DescribeSchema},
    MULTIPART: {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "string", "format": "binary", "description": "The picture's file."},
                "image_type": {
                    "type": "string",
                    "enum": list(choices.DESCRIBE_TYPES),
                    "description": "Photo gives a sentence, Anime a list of tags.",
                },
            },
        }
    },
}

DESCRIBE_HEADERS = {
    "X-Described-By": {"description": "File of the model whose words these are.", "schema": {"type": "string"}}
}

METADATA_FORM = {
    MULTIPART: {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "string", "format": "binary", "description": "The picture's file."}},
        }
    }
}


@blueprint.post("/generate_mask")
@blueprint.arguments(MaskSchema)
@blueprint.response(200, {"type": "string"}, description="A PNG of the picture's size in base64.")
@scopes.needs(DRAW)
def generate_mask(arguments: dict[str, Any]) -> Response:
    """Find something in a picture: a mask, white where it is."""
    needs = mask_needs(arguments["mask_model"], arguments["sam_model"])
    options = {option: arguments[member] for member, option in MASK_OPTIONS.items()}
    seen = picture_requests.inspect("mask", options, arguments, needs)
    return jsonify(base64.b64encode(seen.picture).decode())


@blueprint.post("/describe-image")
@blueprint.arguments(DescribeQuerySchema, location="query")
@blueprint.doc(requestBody={"required": True, "content": DESCRIBE_BODIES})
@blueprint.response(200, DescriptionSchema, headers=DESCRIBE_HEADERS)
@scopes.needs(DRAW)
def describe_image(query: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Describe a picture: JSON with the picture as a text, or a form with a file part named image.

    Without the model files for it, the built-in set's own tags are answered, in the same form.
    """
    arguments = DescribeSchema().load(query | picture())
    seen = picture_requests.describe(arguments, arguments["image_type"])
    return {"describe": seen.text}, {"X-Described-By": seen.model}


@blueprint.post("/read-metadata")
@blueprint.arguments(ReadMetadataSchema)
@blueprint.doc(requestBody={"content": METADATA_FORM})
@blueprint.response(200, MetadataSchema)
@scopes.needs(DRAW)
def read_metadata(arguments: dict[str, Any]) -> dict[str, Any]:
    """Read the parameters out of a picture: a PNG, JPEG or WebP of Fooocus, a web UI or another program."""
    data = sent_pictures.given(arguments["image"], "image")
    with room.of(inputs.in_thread(reading.decoded_bytes, data), limits.whose()):
        return inputs.in_thread(from_metadata.from_picture, data, catalogue(), style_names())


@blueprint.post("/count-tokens")
@blueprint.arguments(CountTokensSchema)
@blueprint.response(200, PromptSizeSchema)
@scopes.needs(DRAW)
def count_tokens(arguments: dict[str, Any]) -> dict[str, int]:
    """Count a prompt's tokens, and the chunks of 75 that the text encoders read one after the other.

    Counted is what the first picture's prompt comes to: without the tags of LoRAs, with the first item of each array
    and the vectors of embeddings. Styles and the words of wildcards are not counted.
    """
    size = in_thread(prompt_size, arguments["prompt"], folders.current()["embeddings"])
    return {"tokens": size.tokens, "chunks": size.chunks, "room": ROOM}


def picture() -> dict[str, Any]:
    """The body's picture and what is said about it; an `Upload` where it came as a file."""
    schema = DescribeSchema()
    body = form_body(request, schema) if is_form(request) else json_body(request, schema)
    unknown_names.check_body(schema, body)
    return body
