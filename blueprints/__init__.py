"""Endpoints: one module or package per group, found by place; other packages add theirs by entry point."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules

from flask import Blueprint

ENTRY_POINTS = "fooocus_flask.blueprints"


def discover(off: Collection[str] = ()) -> Iterator[Blueprint]:
    """Each module's `blueprint`, by name, then those that entry points name, but for those that are `off`.

    Raises:
        ValueError: there is none of a name that is `off`.
        TypeError: an entry point names something else.
    """
    names = sorted(module.name for module in iter_modules(__path__))
    points = plugins()
    known = [*names, *(point.name for point in points)]
    if unknown := sorted(set(off).difference(known)):
        raise ValueError(f"There is no blueprint {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        if name not in off:
            yield import_module(f"{__name__}.{name}").blueprint
    for point in points:
        if point.name not in off:
            yield loaded(point)


@cache
def plugins() -> list[EntryPoint]:
    """The entry points of other packages, by name; the descriptions of all that are installed are read once."""
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def loaded(point: EntryPoint) -> Blueprint:
    """What an entry point names.

    Raises:
        TypeError: it is no blueprint.
    """
    blueprint = point.load()
    if not isinstance(blueprint, Blueprint):
        raise TypeError(f"The entry point {point.name} = {point.value} is {blueprint!r}, which is no Blueprint")
    return blueprint
