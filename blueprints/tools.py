"""Masks and descriptions of pictures: their shapes are checked, their work comes in a later version."""

from __future__ import annotations

import base64
from typing import Any

from flask import request

from engine import names
from fooocus_flask import inputs, recollection
from fooocus_flask.arguments import Blueprint, json_body
from fooocus_flask.errors import NotBuilt
from fooocus_flask.prepare import catalogue
from schemas.tools import (
    DescribeQuerySchema,
    DescribeSchema,
    DescriptionSchema,
    MaskSchema,
    MetadataSchema,
    ReadMetadataSchema,
)

blueprint = Blueprint("tools", __name__, url_prefix="/v1/tools", description="Masks and descriptions of pictures.")

DESCRIBE_BODIES = {
    "application/json": {"schema": DescribeSchema},
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "string", "format": "binary", "description": "The picture's file."},
                "image_type": {
                    "type": "string",
                    "enum": list(names.DESCRIBE_TYPES),
                    "description": "Photo gives a sentence, Anime a list of tags.",
                },
            },
        }
    },
}

METADATA_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "string", "format": "binary", "description": "The picture's file."}},
        }
    }
}


@blueprint.post("/generate_mask")
@blueprint.arguments(MaskSchema)
@blueprint.alt_response(501, description="Not built in this version.")
def generate_mask(arguments: dict[str, Any]) -> None:
    """Find something in a picture: a mask, white where it is."""
    raise NotBuilt("Masks are not available yet; this version only checks the request")


@blueprint.post("/describe-image")
@blueprint.arguments(DescribeQuerySchema, location="query")
@blueprint.doc(requestBody={"required": True, "content": DESCRIBE_BODIES})
@blueprint.response(200, DescriptionSchema)
@blueprint.alt_response(501, description="Not built in this version.")
def describe_image(query: dict[str, Any]) -> None:
    """Describe a picture: JSON with the picture as a text, or a form with a file part named image."""
    DescribeSchema().load(query | picture())
    raise NotBuilt("Descriptions are not available yet; this version only checks the request")


@blueprint.post("/read-metadata")
@blueprint.arguments(ReadMetadataSchema)
@blueprint.doc(requestBody={"content": METADATA_FORM})
@blueprint.response(200, MetadataSchema)
def read_metadata(arguments: dict[str, Any]) -> dict[str, Any]:
    """Read the parameters out of a picture: a PNG, JPEG or WebP that Fooocus or a web UI wrote."""
    data = inputs.given(arguments["image"], "image")
    return inputs.in_thread(recollection.of_picture, data, catalogue())


def picture() -> dict[str, Any]:
    """The body's picture and what is said about it; a file becomes base64, as JSON would have it."""
    if request.mimetype != "multipart/form-data":
        return json_body(request)
    file = request.files.get("image")
    parts = {} if file is None else {"image": base64.b64encode(file.read()).decode()}
    return request.form.to_dict() | parts
