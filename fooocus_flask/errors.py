"""Failures a client can act on, and the one JSON shape all of them leave in: `{"detail": …}`.

Below a path of another API they leave in that one's shape, as `shapes` says.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from marshmallow import ValidationError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge, default_exceptions
from werkzeug.exceptions import NotFound as WrongPath

from engine.errors import is_disk_full
from fooocus_flask.extension import Extension
from schemas.faults import Fault, few, flat
from schemas.submission import MULTIPART

log = logging.getLogger(__name__)

FULL_DISK = (
    "The disk of this server is full, and nothing was kept of the request: free some space, for instance with "
    "DELETE /tasks, then send it again"
)
POSTGRESQL_FULL = "53100"
"""PostgreSQL's code for it."""
LONGEST_HEAD = 16 * 1024
"""Bytes of the head of a form's part, its name included."""
PLACES = {
    **dict.fromkeys(("json", "form", "files", "json_or_form"), "body"),
    **dict.fromkeys(("query", "querystring"), "query"),
    **dict.fromkeys(("path", "view_args"), "path"),
    "headers": "header",
    "cookies": "cookie",
}
"""The wire's word for each place arguments come from."""


class StartError(Exception):
    """The server cannot start as things are; the text says why and what would work."""


class FooocusError(Exception):
    """A failure the client can act on; `detail` is what the client reads."""

    status = 500

    def __init__(self, detail: Any = None, *, status: int | None = None, headers: Mapping[str, str] | None = None):
        self.detail = detail if detail is not None else default_exceptions[status or self.status]().name
        self.status = status or self.status
        self.headers = dict(headers or {})
        super().__init__(str(self.detail))


class Forbidden(FooocusError):
    """The key or token is missing or wrong, or may not do this."""

    status = 403


class NotFound(FooocusError):
    """There is nothing under this address."""

    status = 404


class TaskNotFound(NotFound):
    """No task has this id."""

    def __init__(self, task_id: str):
        super().__init__(f"No task has the id {task_id!r}")


class QueueFull(FooocusError):
    """More tasks wait than the operator allows; `retry_after` is a guess in seconds."""

    status = 429

    def __init__(self, waiting: int, retry_after: int):
        text = f"{waiting} tasks are waiting, which is the limit; try again later"
        super().__init__(text, headers={"Retry-After": str(retry_after)})


class KeyQueueFull(FooocusError):
    """More of a key's tasks wait than it may have; `retry_after` is a guess in seconds."""

    status = 429

    def __init__(self, name: str, most: int, retry_after: int):
        text = f"The key {name} may have {most} tasks waiting, and has them; try again later"
        super().__init__(text, headers={"Retry-After": str(retry_after)})


class InvalidRequest(FooocusError):
    """The request does not fit its shape; `detail` lists all faults at once, or the first of many."""

    status = 422

    def __init__(self, faults: Iterable[Fault]):
        self.faults = list(faults)
        super().__init__([fault.to_dict() for fault in few(self.faults)])

    @classmethod
    def from_messages(cls, messages: Any, place: str = "body") -> InvalidRequest:
        """The same for marshmallow's messages about the `body` or the `query`."""
        return cls(flat(messages, (place,)))

    @classmethod
    def from_webargs(cls, messages: Mapping[str, Any]) -> InvalidRequest:
        """The same for messages that webargs collected under the name of a location."""
        return cls(fault for location, below in messages.items() for fault in flat(below, (PLACES[location],)))


def init_app(app: Flask) -> None:
    """Answer every failure of this application as JSON."""
    app.register_error_handler(FooocusError, send_error)
    app.register_error_handler(ValidationError, send_validation_error)
    app.register_error_handler(HTTPException, send_http_error)
    app.register_error_handler(OperationalError, send_database_error)
    app.register_error_handler(OSError, send_disk_error)


@dataclass(frozen=True)
class Refusal:
    """What an error's answer tells, and what was raised."""

    status: int
    detail: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None


Shape = Callable[[Refusal], Response]


def _ours_alone(app: Flask) -> dict[str, Shape]:
    return {}


shapes = Extension("fooocus-error-shapes", _ours_alone)
"""How errors leave below the paths of other APIs; a blueprint registers its own as it is registered itself."""


def reply(
    status: int, detail: Any, headers: Mapping[str, str] | None = None, error: Exception | None = None
) -> Response:
    """An error's answer, in the shape of the path that was asked for."""
    refusal, path = Refusal(status, detail, headers or {}, error), request.path
    for prefix, shape in shapes.current().items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return shape(refusal)
    return own_shape(refusal)


def own_shape(refusal: Refusal) -> Response:
    """An error's answer as our own API has it."""
    response = jsonify(detail=refusal.detail)
    response.status_code = refusal.status
    response.headers.update(refusal.headers)
    return response


def send_error(error: FooocusError) -> Response:
    """The answer of one of our own failures."""
    return reply(error.status, error.detail, error.headers, error)


def send_validation_error(error: ValidationError) -> Response:
    """The answer of a body that a view itself found not to fit."""
    return send_error(InvalidRequest.from_messages(error.normalized_messages()))


def send_disk_error(error: OSError) -> Response:
    """The disk is full: nothing was kept of the request. Any other error of the system is a bug, or somebody's else."""
    if not is_disk_full(error):
        raise error
    log.error("The disk is full: %s", error)
    return reply(507, FULL_DISK, error=error)


def send_database_error(error: OperationalError) -> Response:
    """The database is locked, full or away: nothing was kept of the request, which may come again."""
    log.error("The database does not serve a request: %s", error.orig)
    if is_database_full(error.orig):
        return reply(507, FULL_DISK, error=error)
    return reply(503, "The database cannot be used now; try again in a few seconds", {"Retry-After": "5"}, error)


def is_database_full(error: BaseException | None) -> bool:
    """Whether a driver says that the database's disk is full."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", None) == POSTGRESQL_FULL


def send_http_error(error: HTTPException) -> Response:
    """Werkzeug's own errors; their names, unless whoever raised them said more."""
    if isinstance(error, WrongPath) and (methods := other_slash_form_allows()):
        error = MethodNotAllowed(methods)
    cause = getattr(error, "exc", None)
    if isinstance(cause, ValidationError):
        return send_error(InvalidRequest.from_webargs(cause.normalized_messages()))
    plain = error.description == type(error).description
    detail = error.name if plain else error.description
    if isinstance(error, RequestEntityTooLarge):
        detail = too_large()
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return reply(error.code or 500, detail, headers, error)


def too_large() -> str:
    """What of the request at hand is too large: its body, or something in its form."""
    if (request.content_length or 0) > (request.max_content_length or 0) or request.mimetype != MULTIPART:
        return f"The request body is larger than {request.max_content_length} bytes"
    parts, size = request.max_form_parts, request.max_form_memory_size
    return f"A form may have {parts} parts, with {LONGEST_HEAD} bytes in a head and {size} in one that is no file"


def other_slash_form_allows() -> list[str]:
    """The methods of the same path with or without its last slash: werkzeug calls a wrong method there a wrong path."""
    path = request.path.removesuffix("/") if request.path.endswith("/") else request.path + "/"
    return sorted(current_app.url_map.bind("").allowed_methods(path))
