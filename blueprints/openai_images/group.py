"""The group of endpoints: how its requests are read, and that its errors have OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from flask import Flask, Request
from flask.blueprints import BlueprintSetupState
from marshmallow import Schema, fields
from werkzeug.datastructures import FileStorage

from blueprints.openai_images.errors import send_images_error
from fooocus_flask import errors
from fooocus_flask.submission import forms, unknown_names
from fooocus_flask.submission.parsing import ArgumentsParser, Blueprint
from schemas.other_apis.openai_images import Pictures

PREFIXES = ("/v1/images", "/v1/models")
OTHER_NAMES = {"images": "image", "file": "image", "files": "image"}
"""What clients call the parts that hold pictures, besides their names."""
MOST_FILES = 16
"""Files that are read of a form; one more than are taken already is refused."""


class ImagesParser(ArgumentsParser):
    """Reads forms as OpenAI's clients write them: `image`, or `image[]` several times."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The members of a body."""
        if not (forms.is_form(req) and req.files):
            return super().load_json(req, schema)
        found: dict[str, Any] = {}
        for name in req.form:
            found[plain_name(name)] = forms.texts(schema, plain_name(name), req.form.getlist(name))
        for name, file in files(req):
            found[name] = [*listed(found.get(name)), forms.upload(file)]
        members = {name: one_or_all(schema, name, value) for name, value in found.items()}
        unknown_names.check_body(schema, members)
        return members


class ImagesBlueprint(Blueprint):
    """A group whose arguments are read so."""

    ARGUMENTS_PARSER = ImagesParser()


def files(request: Request) -> Iterator[tuple[str, FileStorage]]:
    """The files of a form that were chosen, with the members that they are."""
    there = [(name, file) for name, file in request.files.items(multi=True) if forms.is_there(file)]
    for name, file in there[:MOST_FILES]:
        name = plain_name(name)
        yield OTHER_NAMES.get(name, name), file


def plain_name(part: str) -> str:
    """The member that a part of a form is: without the brackets that say which of several it is."""
    return part.partition("[")[0]


def listed(value: Any) -> list[Any]:
    """What parts of this name held so far, be it text or files; of an empty text nothing."""
    return value if isinstance(value, list) else [value] if value else []


def one_or_all(schema: Schema, name: str, value: Any) -> Any:
    """A single file by itself, but for the member that takes several."""
    several = isinstance(schema.fields.get(name), (Pictures, fields.List))
    return value[0] if isinstance(value, list) and len(value) == 1 and not several else value


blueprint = ImagesBlueprint("openai_images", __name__, url_prefix="/v1", description="OpenAI's Images API.")


@blueprint.record_once
def take_errors(state: BlueprintSetupState) -> None:
    """Have all errors below these paths leave in OpenAI's shape."""
    shapes = errors.shapes.of(cast(Flask, state.app))
    shapes.update(dict.fromkeys(PREFIXES, send_images_error))
