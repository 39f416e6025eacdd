"""Requests as forms (`multipart/form-data`): files under the names of their members, the rest as text or JSON.

`controlnet_image.0.cn_img` and `controlnet_image[0][cn_img]` lead into lists and objects. A list is sent as JSON, or
as its name several times. A part named `json` holds any number of members at once; other parts go before it.
"""

from __future__ import annotations

from typing import Any

import gevent
from flask import Request
from marshmallow import Schema, fields
from werkzeug.datastructures import FileStorage

from engine.images.reading import MOST_BYTES
from fooocus_flask.errors import FooocusError, InvalidRequest
from fooocus_flask.submission import json_text
from schemas.faults import Fault
from schemas.fields import LONGEST_NAME, Upload
from schemas.submission import JSON_PART, MULTIPART

LONGEST_LIST = 64
DEEPEST = 3
"""Places that a part's name leads through: a list, a place in it, a member."""


def is_form(request: Request) -> bool:
    """Whether the request's body is a form with parts; without a boundary nothing could tell them apart."""
    return request.mimetype == MULTIPART and bool(request.mimetype_params.get("boundary"))


def form_body(request: Request, schema: Schema) -> dict[str, Any]:
    """The members that a form holds, as JSON would have them; files are `Upload`s.

    Raises:
        InvalidRequest: a part is not what its name says, or there is none.
    """
    if not request.form and not request.files:
        text = "The body has no parts with the boundary that its Content-Type names; send JSON as application/json"
        raise InvalidRequest([Fault("missing", text, loc=("body",))])
    body, faults = whole(request), []
    # a part without a name is an unknown member
    sent = [(name or "", texts(schema, name, request.form.getlist(name))) for name in request.form if name != JSON_PART]
    sent += [(name or "", upload(file)) for name, file in request.files.items() if name != JSON_PART and is_there(file)]
    for name, value in sent:
        try:
            put(body, steps(name), value)
        except ValueError as error:
            faults.append(Fault("value_error", str(error), value, loc=("body", name[:LONGEST_NAME])))
    if faults:
        raise InvalidRequest(faults)
    return body


def whole(request: Request) -> dict[str, Any]:
    """The members in the part of JSON; none without it."""
    file = request.files.get(JSON_PART)
    text = request.form.get(JSON_PART) if file is None else json_file(request, file)
    if not text:
        return {}
    try:
        members = json_text.read(text)
    except ValueError as error:
        fault = Fault("json_invalid", "JSON decode error", text, {"error": str(error)}, ("body", JSON_PART))
        raise InvalidRequest([fault]) from error
    if not isinstance(members, dict):
        fault = Fault("model_attributes_type", "Input should be a JSON object", members, loc=("body", JSON_PART))
        raise InvalidRequest([fault])
    return members


def json_file(request: Request, file: FileStorage) -> str:
    """The text of the part of JSON that came as a file, which may be as long as one that did not.

    Raises:
        FooocusError: it is longer.
    """
    most = request.max_form_memory_size or MOST_BYTES
    data: bytes = gevent.get_hub().threadpool.apply(file.read, (most + 1,))
    if len(data) > most:
        raise FooocusError(f"The part {JSON_PART} of a form may have {most} bytes", status=413)
    return data.decode("utf-8", "replace")


def texts(schema: Schema, name: str, values: list[str]) -> Any:
    """A text member's value: a list where the member is one, else the last text."""
    if not isinstance(schema.fields.get(name), fields.List):
        return values[-1]
    if len(values) == 1 and values[0].lstrip().startswith("["):
        try:
            return json_text.read(values[0])
        except ValueError:
            return values[0]  # no list, as the member will say
    return [value for value in values if value]


def is_there(file: FileStorage) -> bool:
    """Whether a file was chosen: browsers send a part with an empty name where none was."""
    return bool(file.filename)


def upload(file: FileStorage) -> Upload:
    """The file's content, as far as a picture may be long."""
    return Upload(gevent.get_hub().threadpool.apply(file.read, (MOST_BYTES + 1,)))


def steps(name: str) -> list[str]:
    """What a part's name leads through.

    Raises:
        ValueError: it is longer or deeper than any member's.
    """
    if len(name) > LONGEST_NAME:
        raise ValueError(f"A part's name should have at most {LONGEST_NAME} characters, not {len(name)}")
    found = name.replace("]", "").replace("[", ".").split(".")
    if len(found) > DEEPEST:
        raise ValueError(f"A part's name should lead through at most {DEEPEST} places, not {len(found)}")
    return found


def put(body: dict[str, Any], steps: list[str], value: Any) -> None:
    """Set what the steps lead to; lists and objects on the way are made.

    Raises:
        ValueError: the steps lead nowhere.
    """
    here: Any = body
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        key: Any = step
        if isinstance(here, list):
            if not (step.isdecimal() and step.isascii() and len(step) < 4 and int(step) < LONGEST_LIST):
                raise ValueError(f"{step!r} is no place in a list; places count from 0 to {LONGEST_LIST - 1}")
            key = int(step)
            here.extend({} for _ in range(key + 1 - len(here)))
        elif not isinstance(here, dict):
            raise ValueError("the name leads into a member that is neither a list nor an object")
        if after is None:
            here[key] = value
        elif isinstance(here, list) or key in here:
            here = here[key]
        else:
            here[key] = [] if after.isdecimal() else {}
            here = here[key]
