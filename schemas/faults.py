"""What is wrong with a request, in the wire's words: a list of type, place, message and the value found there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from marshmallow import ValidationError
from marshmallow.exceptions import SCHEMA

LONGEST_ECHO = 500
MOST_ITEMS, MOST_ITEMS_WITHIN = 40, 4
"""Items of a list or an object that are told back, and of those inside it."""
DEPTH = 4
MOST_FAULTS = 20
"""Faults that an answer tells; of more, how many they are."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one member; `loc` leads to it, from `body` or `query` down."""

    type: str
    msg: str
    input: Any = None
    ctx: dict[str, Any] = field(default_factory=dict)
    loc: tuple[str | int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fault as the client reads it; the value is shortened where it is long."""
        told = {"type": self.type, "loc": list(self.loc), "msg": self.msg, "input": echo(self.input)}
        if self.ctx:
            told["ctx"] = self.ctx
        return told


def fault(type: str, msg: str, input: Any = None, **ctx: Any) -> ValidationError:
    """The error a field raises for one fault; its place is known further up."""
    return ValidationError([Fault(type, msg, input, ctx)])


def flat(messages: Any, loc: tuple[str | int, ...]) -> Iterator[Fault]:
    """All faults in marshmallow's tree of messages, each with its place below `loc`."""
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            yield from flat(below, loc if key == SCHEMA else (*loc, key))
    elif isinstance(messages, (list, tuple)):
        for message in messages:
            yield from flat(message, loc)
    elif isinstance(messages, Fault):
        yield Fault(messages.type, messages.msg, messages.input, messages.ctx, (*loc, *messages.loc))
    else:
        yield Fault("value_error", str(messages), loc=loc)


def few(faults: Sequence[Fault]) -> list[Fault]:
    """The first faults, and how many more there are."""
    rest = len(faults) - MOST_FAULTS
    if rest <= 0:
        return list(faults)
    return [*faults[:MOST_FAULTS], Fault("more", f"and {rest} more", loc=faults[MOST_FAULTS].loc[:1])]


def echo(value: Any, depth: int = DEPTH) -> Any:
    """A value as it can be told back: valid JSON, valid UTF-8, and not long."""
    if isinstance(value, str):
        text = value if len(value) <= LONGEST_ECHO else value[:LONGEST_ECHO] + "…"
        return text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {echo(str(key)): echo(item, depth - 1) for key, item in islice(value.items(), most_items(depth))}
    if isinstance(value, Sequence):
        return [echo(item, depth - 1) for item in value[: most_items(depth)]]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return echo(str(value))


def most_items(depth: int) -> int:
    """How many items are told back where so many levels may still follow."""
    if depth == DEPTH:
        return MOST_ITEMS
    return MOST_ITEMS_WITHIN if depth else 0
