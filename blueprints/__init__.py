"""Endpoints: one module per group, found by place; other packages add theirs by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from flask import Blueprint

ENTRY_POINTS = "fooocus_flask.blueprints"


def discover() -> Iterator[Blueprint]:
    """Each module's `blueprint`, by name, then those that entry points name; one that is none fails the start."""
    for name in sorted(module.name for module in iter_modules(__path__)):
        yield import_module(f"{__name__}.{name}").blueprint
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        blueprint = point.load()
        if not isinstance(blueprint, Blueprint):
            raise TypeError(f"The entry point {point.name} = {point.value} is {blueprint!r}, which is no Blueprint")
        yield blueprint
