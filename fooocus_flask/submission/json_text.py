"""JSON from clients: what it costs is known before any of it is built."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, NoReturn

MOST_NODES = 100_000
"""Values in a text: a request has some 200, and as many commas as people write into prompts."""

DEEPEST = 32
"""Lists and objects in one another: a request has four."""
TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


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
        value = json.loads(text, parse_constant=refuse_constant)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if is_deeper(value, DEEPEST):
        raise ValueError(TOO_DEEP)
    return value


def is_deeper(value: Any, most: int) -> bool:
    """Whether lists and objects lie in one another more than so many deep."""
    level = [value]
    for _ in range(most):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = list(chain.from_iterable(within))
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def most_nodes(text: bytes | str) -> int:
    """At most so many values does a text hold: one more than its commas and its opening brackets."""
    if isinstance(text, bytes):
        return 1 + sum(map(text.count, (b",", b"[", b"{")))
    return 1 + sum(map(text.count, (",", "[", "{")))


def refuse_constant(word: str) -> NoReturn:
    """Python reads NaN and Infinity, JSON has neither."""
    raise ValueError(f"{word} is not JSON")
