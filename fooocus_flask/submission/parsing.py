"""How a request's body and query become arguments: the wire's rules for JSON, and its words for what does not fit.

Blueprints take their `Blueprint` from here; it is flask-smorest's with these rules.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

import flask_smorest
from flask import Request
from marshmallow import Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser

from fooocus_flask.errors import FooocusError, InvalidRequest
from fooocus_flask.submission import json_text, unknown_names
from fooocus_flask.submission.forms import form_body, is_form
from schemas.faults import Fault
from schemas.fields import Image

FORM = "application/x-www-form-urlencoded"
MOST_WITHOUT_PICTURES = 8 * 1024 * 1024


class ArgumentsParser(FlaskParser):
    """Reads arguments; what does not fit is raised as `InvalidRequest`, all faults at once."""

    DEFAULT_UNKNOWN_BY_LOCATION = dict.fromkeys(FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION)

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body as JSON, whatever Content-Type it has or lacks, unless it is a form with parts."""
        body = form_body(req, schema) if is_form(req) else json_body(req, schema)
        unknown_names.check_body(schema, body)
        unknown_names.check_misplaced(schema, req)
        return body

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """The query's parameters."""
        unknown_names.check_query(schema, req)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> NoReturn:
        """Tell all faults."""
        raise InvalidRequest.from_webargs(error.normalized_messages()) from error


class Blueprint(flask_smorest.Blueprint):
    """A group of endpoints whose arguments follow the wire's rules."""

    ARGUMENTS_PARSER = ArgumentsParser()

    def arguments(self, schema: Schema | type[Schema], **kwargs: Any) -> Any:
        """Have a view given what the schema loads, which is made once, here: making one copies all its fields."""
        return super().arguments(schema if isinstance(schema, Schema) else schema(), **kwargs)


def json_body(request: Request, schema: Schema | None = None) -> dict[str, Any]:
    """The request's JSON object; the schema tells which of its members may be pictures, and so be large.

    Raises:
        InvalidRequest: there is no body, it is not JSON, or it is not an object.
        FooocusError: it is large for another reason than its pictures.
    """
    data = request.get_data(cache=True)
    if not data.strip():
        raise InvalidRequest([Fault("missing", "Field required", loc=("body",))])
    names = picture_names(schema) if schema and len(data) > MOST_WITHOUT_PICTURES else frozenset()
    if len(data) > MOST_WITHOUT_PICTURES and not any(f'"{name}"'.encode() in data for name in names):
        raise too_large_without_pictures()
    try:
        body = json_text.read(data)
    except ValueError as error:
        if request.mimetype and not request.is_json:
            raise not_an_object(data.decode("utf-8", "replace")) from error
        raise InvalidRequest([broken_json(error)]) from error
    if body is None:
        raise InvalidRequest([Fault("missing", "Field required", loc=("body",))])
    if not isinstance(body, dict):
        raise not_an_object(body)
    if names and len(data) > MOST_WITHOUT_PICTURES + sum(map(len, picture_texts(body, names))):
        raise too_large_without_pictures()
    return body


def picture_names(schema: Schema) -> frozenset[str]:
    """The names of the members that may be pictures, those inside lists and objects too."""
    names: frozenset[str] = frozenset()
    for name, field in schema.fields.items():
        kind = field.inner if isinstance(field, fields.List) else field
        if isinstance(kind, Image):
            names |= {name}
        elif isinstance(kind, fields.Nested):
            names |= picture_names(kind.schema)
    return names


def picture_texts(body: Mapping[str, Any], names: Collection[str]) -> Iterator[str]:
    """The texts in a request that may be pictures: members of these names, and those in lists of objects."""
    for name, value in body.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from (text for key, text in part.items() if key in names and isinstance(text, str))
            elif name in names and isinstance(part, str):
                yield part


def too_large_without_pictures() -> FooocusError:
    """The refusal of a body that is large for another reason than its pictures."""
    text = f"Apart from pictures in base64 the request body may have {MOST_WITHOUT_PICTURES} bytes"
    return FooocusError(text, status=413)


def broken_json(error: Exception) -> Fault:
    """Where the JSON breaks, and how."""
    position = error.pos if isinstance(error, json.JSONDecodeError) else 0
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return Fault("json_invalid", "JSON decode error", {}, {"error": reason}, ("body", position))


def not_an_object(body: Any) -> InvalidRequest:
    """The refusal of a body that is something else than a JSON object."""
    return InvalidRequest([Fault("model_attributes_type", "Input should be a JSON object", body, loc=("body",))])
