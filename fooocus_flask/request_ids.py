"""A name for each request, the client's own or a new one: in its answer and in every line logged for it.

What is done for it later, when its answer may be long gone, carries the name on: drawing its task, sending webhooks.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flask import Flask, Response, g, has_request_context, request

HEADER = "X-Request-Id"
SANE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
NONE = "-"
_later: ContextVar[str | None] = ContextVar("later", default=None)


def init_app(app: Flask) -> None:
    """Name requests before anything else is done with them."""
    app.before_request(name)
    app.after_request(add_header)


def name() -> None:
    """Take the client's name where it is sane; a proxy's counts as one."""
    sent = request.headers.get(HEADER, "")
    g.request_id = sent if SANE.fullmatch(sent) else uuid.uuid4().hex


def current() -> str:
    """The name of the request at hand, or of the one that something is done for; else `-`."""
    if (name := _later.get()) is not None:
        return name
    return g.get("request_id", NONE) if has_request_context() else NONE


@contextmanager
def after(name: str | None) -> Iterator[None]:
    """What is done inside comes after a request of this name."""
    token = _later.set(name or NONE)
    try:
        yield
    finally:
        _later.reset(token)


def add_header(response: Response) -> Response:
    """Put the name into the answer."""
    response.headers[HEADER] = current()
    return response


class RequestIdFilter(logging.Filter):
    """Gives log records the name of their request, as `request`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass."""
        record.request = current()
        return True
