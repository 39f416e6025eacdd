"""JSON from clients: what it costs is known before any of it is built."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, NoReturn

import msgspec

MOST_MARKS = 100_000
"""Commas and opening brackets in a text, those of prompts among them: no more values than that are ever built."""
FEW = 500
"""Marks of a kind that a usual request has at most."""
MOST_NODES = 20_000
"""Values in a text: a request has some 200, and what is done with each takes its time."""
DEEPEST = 32
"""Lists and objects in one another: a request has four."""
CONTAINERS = (dict, list)
TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


class TooManyNodes(ValueError):
    """The text may hold more values than any request has."""


def read(text: bytes | str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON (NaN and Infinity are none), has too many values, or is nested too deeply.
    """
    if most_nodes(text) > MOST_MARKS:
        raise TooManyNodes(f"it has more than {MOST_MARKS} commas and brackets")
    try:
        value = _decoded(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    check(value)
    return value


def _decoded(text: bytes | str) -> Any:
    """What a JSON text holds, as the standard library has it.

    msgspec reads a picture in base64 in half of the time. What it refuses, the standard library reads (other encodings
    than UTF-8, half of a surrogate pair, numbers beyond a float), or refuses in its own words.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return json.loads(text, parse_constant=refuse_constant)


def check(value: Any) -> None:
    """Go through the value, level by level, as far as the bounds reach.

    Raises:
        ValueError: it has too many values, or is nested too deeply.
    """
    level, count = [value], 1
    for _ in range(DEEPEST + 1):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, CONTAINERS)]
        if not within:
            return
        count += sum(map(len, within))
        if count > MOST_NODES:
            raise TooManyNodes(f"it has more than {MOST_NODES} values")
        level = list(chain.from_iterable(within))
    raise ValueError(TOO_DEEP)


def most_nodes(text: bytes | str) -> int:
    """At most so many values does a text hold: one more than its commas and its opening brackets."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return 1 + sum(_count(data, mark) for mark in (b",", b"[", b"{"))


def _count(data: bytes, mark: bytes) -> int:
    """How often the mark is there: a picture in base64 is leapt over, where `count` looks at each character."""
    position, found = data.find(mark), 0
    while position >= 0 and found < FEW:
        position, found = data.find(mark, position + 1), found + 1
    return found if position < 0 else found + data.count(mark, position)


def refuse_constant(word: str) -> NoReturn:
    """Python reads NaN and Infinity, JSON has neither."""
    raise ValueError(f"{word} is not JSON")
