"""Forms of the predecessor: lists with commas, objects as JSON, and empty texts for what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Request
from marshmallow import Schema

from fooocus_flask.submission import forms, json_text, parsing

LISTED = ("style_selections", "outpaint_selections")
"""Members that a form may write as one text with commas."""
ADVANCED = "advanced_params"


def is_form(request: Request) -> bool:
    """Whether the body is a form. Programs that post JSON by curl's -d call it one too."""
    if request.mimetype != parsing.FORM:
        return forms.is_form(request)
    return not request.get_data(cache=True).lstrip().startswith(b"{") and bool(request.form)


def body(request: Request, schema: Schema) -> dict[str, Any]:
    """The members of a form, as JSON would have them; a picture's file is an `Upload`.

    Raises:
        InvalidRequest: a part is not what its name says, or there is none.
    """
    members = {name: value for name, value in forms.form_body(request, schema).items() if value != ""}
    for name in LISTED:
        if isinstance(members.get(name), list):
            members[name] = list(split(members[name]))
    if isinstance(members.get(ADVANCED), str):
        members[ADVANCED] = parsed(members[ADVANCED])
    return members


def split(texts: list[Any]) -> Iterator[Any]:
    """The names in a list of texts with commas; what is no text stays as it is."""
    for text in texts:
        if isinstance(text, str):
            yield from filter(None, map(str.strip, text.split(",")))
        else:
            yield text


def parsed(text: str) -> dict[str, Any] | None:
    """The object that a text holds; None where it holds none, which counts as no text at all."""
    try:
        found = json_text.read(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
