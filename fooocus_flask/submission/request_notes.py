"""Remarks on the request at hand, such as members that are not known: in its task's notes, and in a header.

The header is for answers that have no place for notes: a picture, a mask, a list of tasks.
"""

from __future__ import annotations

from flask import Flask, Response, g

HEADER = "X-Notes"
LONGEST = 2048
"""Characters of the header; proxies take heads of some 4,000."""


def init_app(app: Flask) -> None:
    """Tell the remarks with each answer."""
    app.after_request(add_header)


def add(*remarks: str) -> None:
    """Remark something on the request at hand."""
    g.request_notes = (*current(), *remarks)


def current() -> tuple[str, ...]:
    """The remarks on the request at hand."""
    return tuple(g.get("request_notes", ()))


def add_header(response: Response) -> Response:
    """Put the remarks into the answer, in ASCII."""
    if remarks := current():
        text = "; ".join(remarks).encode("ascii", "backslashreplace").decode()
        response.headers[HEADER] = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return response
