"""The built-in set's tags said as a sentence or as a list. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

SURE = 0.5
"""A tag with less of its group's probability is left out."""
SURE_OF_OBJECT = 0.3
"""There are hundreds of objects: less says more of them."""
GROUND = " background"
NO_EFFECT = "no effect"
NUMBERS = {"two things": "two", "three things": "three"}
NOTHING = "nothing"


class Tagged(Protocol):
    """A tag and how sure it is, 0 to 1."""

    @property
    def tag(self) -> str: ...

    @property
    def share(self) -> float: ...


Tags = Mapping[str, Tagged]


def sentence(tags: Tags, coloured: Collection[str]) -> str:
    """One about what is shown, in what manner and where: "a 3d render of a red apple on a blue background"."""
    what, look, effect = _what(tags, coloured), _sure(tags, "look"), _effect(tags)
    words = [with_article(look), "of", what] if look and what else [what or "a landscape"]
    return ", ".join(filter(None, (" ".join(filter(None, (*words, _where(tags)))), effect)))


def tag_list(tags: Tags, coloured: Collection[str]) -> str:
    """The tags with commas between them, the object first."""
    count = _sure(tags, "count")
    what = None if count == NOTHING else _sure(tags, "object", SURE_OF_OBJECT)
    several = count if count in NUMBERS else None
    place = _where(tags)
    ground = place.removeprefix("on ").removeprefix("a ").removeprefix("an ") if place and GROUND in place else place
    found = (what, several, _colour(tags, coloured), ground, _sure(tags, "look"), _effect(tags))
    return ", ".join(dict.fromkeys(filter(None, found)))


def with_article(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(name: str) -> str:
    """The plural of the last word of a thing's name, of the head where something belongs to it ("cup of coffee")."""
    head, joint, rest = next(
        ((first, mark, last) for mark in (" of ", " with ") for first, found, last in [name.partition(mark)] if found),
        (name, "", ""),
    )
    if head.endswith("man"):
        head = f"{head[:-3]}men"
    elif head.endswith(("ch", "sh", "x", "ss", "us")):
        head = f"{head}es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = f"{head[:-1]}ies"
    elif not head.endswith("s"):
        head = f"{head}s"
    return head + joint + rest


def _what(tags: Tags, coloured: Collection[str]) -> str | None:
    """The thing or things shown, with their colour; None where there is nothing but a place."""
    count = _sure(tags, "count")
    if count == NOTHING:
        return None
    name = _sure(tags, "object", SURE_OF_OBJECT)
    if name is None:
        return f"{NUMBERS[count]} things" if count in NUMBERS else "something"
    colour = _colour(tags, coloured)
    if count in NUMBERS:
        return " ".join(filter(None, (NUMBERS[count], colour, plural(name))))
    full = f"{colour} {name}" if colour else name
    return full if name.endswith("s") and " of " not in name and not name.endswith(("ss", "us")) else with_article(full)


def _colour(tags: Tags, coloured: Collection[str]) -> str | None:
    """The colour of what is shown, where its kind has one that its name does not say."""
    name, colour = _sure(tags, "object", SURE_OF_OBJECT), _sure(tags, "colour")
    return colour if name in coloured and colour and colour not in str(name) else None


def _where(tags: Tags) -> str | None:
    place, ground = _sure(tags, "place"), _sure(tags, "ground")
    if place is None or not place.endswith(GROUND):
        return place
    kind = place.removesuffix(GROUND).removeprefix("plain")
    return f"on {with_article(' '.join(filter(None, (ground, kind, 'background'))))}" if ground or kind else None


def _effect(tags: Tags) -> str | None:
    effect = _sure(tags, "effect")
    return None if effect == NO_EFFECT else effect


def _sure(tags: Tags, group: str, least: float = SURE) -> str | None:
    """The group's tag if there is enough for it."""
    found = tags.get(group)
    return found.tag if found and found.share >= least else None
