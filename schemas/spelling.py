"""Members that a shape does not have: each is told with the nearest that it has.

Finding the nearest compares pairs of letters, whose sets are made once for the names there are, so a name costs as much
as it is long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar

from marshmallow import Schema, fields

from schemas.faults import echo
from schemas.fields import Items

MOST_TOLD = 8
"""Unknown members that are told; of more, how many they are."""
LONGEST_TOLD = 64
"""Characters of a name that are told and compared."""
ALIKE = 0.5
"""How much of both names' pairs of letters must be the same ones."""
MOST_SEARCHED, MOST_INSIDE = 1000, 8
"""Members inside an unknown one that are looked at, and those told."""

Place = tuple[str | int, ...]


class SpellChecked(Schema):
    """A shape whose unknown members are named to the client.

    `synonyms` are names that other programs have for its members; `example` is a request that works.
    """

    synonyms: ClassVar[Mapping[str, str]] = {}
    example: ClassVar[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class UnknownMember:
    """A member that a shape does not have, and where it stands."""

    schema: SpellChecked
    place: Place
    value: Any

    @property
    def name(self) -> str:
        """Its place as people write it, such as `'loras[0].name'`."""
        first, *rest = self.place
        return repr(str(first) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest))

    @property
    def near(self) -> str | None:
        """The member that may be meant."""
        return nearest(self.schema, str(self.place[-1]))

    @property
    def advice(self) -> str:
        """What to send in its place."""
        keys = islice(self.value, MOST_SEARCHED) if isinstance(self.value, Mapping) else ()
        if inside := [key for key in keys if key in self.schema.fields]:
            return (
                f"it holds {', '.join(inside[:MOST_INSIDE])}: send what it holds by itself, not inside another member"
            )
        return f"the nearest is {self.near}" if self.near else "/docs lists those there are"


def has_known(schema: Schema, sent: Mapping[str, Any]) -> bool:
    """Whether something was sent that the shape has."""
    return not schema.fields.keys().isdisjoint(sent)


def unknown_members(schema: Schema, sent: Mapping[str, Any], place: Place = ()) -> Iterator[UnknownMember]:
    """The members that the shape, and the shapes in its lists, do not have."""
    for name, value in sent.items():
        field = schema.fields.get(name)
        if field is None and isinstance(schema, SpellChecked):
            yield UnknownMember(schema, (*place, echo(name[:LONGEST_TOLD])), value)
        elif isinstance(field, Items) and isinstance(field.inner, fields.Nested) and isinstance(value, list):
            for number, item in enumerate(value[: field.longest]):
                if isinstance(item, Mapping):
                    yield from unknown_members(field.inner.schema, item, (*place, name, number))


def nearest(schema: SpellChecked, name: str) -> str | None:
    """The member whose name is most like this one; None where none is much like it."""
    plain = letters(name[:LONGEST_TOLD])
    for other, member in schema.synonyms.items():
        if letters(other) == plain and member in schema.fields:
            return member
    own = pairs(plain)
    alike = {member: 2 * len(own & its) / (len(own) + len(its) or 1) for member, its in known_pairs(*schema.fields)}
    best = max(alike, key=alike.__getitem__, default=None)
    return best if best is not None and alike[best] >= ALIKE else None


def letters(name: str) -> str:
    """The name without what joins its words: `negativePrompt` is `negative_prompt`."""
    return "".join(filter(str.isalnum, name)).lower()


def pairs(plain: str) -> frozenset[str]:
    """The pairs of neighbouring letters, and the first one and the last one by themselves."""
    framed = f" {plain} "
    return frozenset(framed[place : place + 2] for place in range(len(framed) - 1))


@lru_cache(64)
def known_pairs(*names: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """The pairs of letters of each name that a shape has."""
    return tuple((name, pairs(letters(name))) for name in names)


def told_example(schema: SpellChecked) -> str:
    """A request that works, as JSON."""
    return json.dumps(schema.example)
