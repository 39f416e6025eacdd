"""JSON from clients: what it costs is known before any of it is built."""

from __future__ import annotations

import json
from typing import Any, NoReturn

MOST_NODES = 100_000
"""Values in a text: a request has some 200, and as many commas as people write into prompts."""


class TooManyNodes(ValueError):
    """The text may hold more values than any request has."""


def read(text: bytes | str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON (NaN and Infinity are none), has too many values, or is nested too deeply.
    """
    if most_nodes(text) > MOST_NODES:
        raise TooManyNodes(f"it has more than {MOST_NODES} commas and brackets")
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def most_nodes(text: bytes | str) -> int:
    """At most so many values does a text hold: one more than its commas and its opening brackets."""
    if isinstance(text, bytes):
        return 1 + sum(map(text.count, (b",", b"[", b"{")))
    return 1 + sum(map(text.count, (",", "[", "{")))


def refuse_constant(word: str) -> NoReturn:
    """Python reads NaN and Infinity, JSON has neither."""
    raise ValueError(f"{word} is not JSON")
