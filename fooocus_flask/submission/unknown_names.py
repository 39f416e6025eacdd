"""Names in a request that its shape does not have: remarked on, or refused where nothing else was sent."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from flask import Request
from marshmallow import Schema

from fooocus_flask.errors import InvalidRequest
from fooocus_flask.submission import request_notes
from schemas.faults import Fault
from schemas.spelling import MOST_TOLD, SpellChecked, UnknownMember, has_known, told_example, unknown_members

KINDS = {"body": "member", "query": "parameter"}
MOST_COUNTED = 1000


def unknown_in(schema: Schema, sent: Mapping[str, Any]) -> list[UnknownMember]:
    """What was sent that the shape does not have, as far as anyone counts."""
    return [*islice(unknown_members(schema, sent), MOST_COUNTED)]


def check_body(schema: Schema, body: Mapping[str, Any]) -> None:
    """Remark on the members of a body that its shape does not have.

    Raises:
        InvalidRequest: it has no others.
    """
    found = unknown_in(schema, body)
    if found and isinstance(schema, SpellChecked) and not has_known(schema, body):
        works = f"Not one known member was sent. A body that works: {told_example(schema)}"
        raise InvalidRequest(fault(unknown, "body", works) for unknown in found[:MOST_TOLD])
    remark(found)


def check_query(schema: Schema, request: Request) -> None:
    """Remark on the parameters of a query that its shape does not have; those that begin with `_` only break caches.

    Raises:
        InvalidRequest: something would be deleted, which a parameter may have been meant to narrow; or there are no
            others, and there is one like it.
    """
    sent = {name: value for name, value in request.args.items() if not name.startswith("_")}
    found = unknown_in(schema, sent)
    deletes = request.method == "DELETE" or bool(sent.get("action"))
    if found and (deletes or not has_known(schema, sent)):
        refused = [unknown for unknown in found if deletes or unknown.near]
        if refused:
            raise InvalidRequest(fault(unknown, "query", "") for unknown in refused[:MOST_TOLD])
    remark(found, "query")


def check_misplaced(schema: Schema, request: Request) -> None:
    """Remark on members of the body that were sent in the query, where nothing reads them."""
    if isinstance(schema, SpellChecked):
        for name in islice((name for name in schema.fields if name in request.args), MOST_TOLD):
            request_notes.add(f"The query's {name} is left out: send it as a member of the body")


def remark(found: list[UnknownMember], place: str = "body") -> None:
    """Note what is unknown."""
    request_notes.add(*(sentence(unknown, place) for unknown in found[:MOST_TOLD]))
    if (rest := len(found) - MOST_TOLD) > 0:
        request_notes.add(f"{rest} more {KINDS[place]}s are left out that there are not")


def sentence(unknown: UnknownMember, place: str) -> str:
    """What is said of an unknown name."""
    return f"There is no {KINDS[place]} {unknown.name}, and it is left out; {unknown.advice}"


def fault(unknown: UnknownMember, place: str, works: str) -> Fault:
    """The refusal of an unknown name."""
    text = f"There is no {KINDS[place]} {unknown.name}; {unknown.advice}"
    return Fault("unknown", f"{text}. {works}" if works else text, unknown.value, loc=(place, *unknown.place))
