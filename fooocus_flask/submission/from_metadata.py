"""From a picture back to the request that draws it: what it carries, made fit to be posted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.images import metadata_reading, other_programs
from engine.images.metadata_request import ModelNames, is_known, to_request
from schemas.faults import flat
from schemas.generate import GenerateSchema

NOTHING: dict[str, Any] = {"metadata_scheme": None, "parameters": {}, "raw": None}
MOST_NAMED = 20


def from_picture(data: bytes, models: ModelNames, styles: Sequence[str]) -> dict[str, Any]:
    """The scheme, the request, the metadata as read, and notes, for a picture's bytes; takes its time.

    `styles` are those that a request may name. A picture without metadata is no fault: its scheme is None and its
    request empty.
    """
    try:
        found = metadata_reading.read(data)
    except ValueError:  # a kind of picture that carries none
        found = None
    raw = None if found is None else clean(found)
    if not raw:
        return NOTHING | {"notes": ["The picture carries no parameters"]}
    parameters, notes = to_request(raw, models)
    if not any(is_known(key) for key in raw):
        members = ", ".join(list(raw)[:MOST_NAMED])
        return NOTHING | {"raw": raw, "notes": [f"The picture carries members of no program known here: {members}"]}
    scheme = raw.get("metadata_scheme")
    scheme = scheme if scheme == "a1111" or scheme in other_programs.NAMES else "fooocus"
    return {"metadata_scheme": scheme, "parameters": fitting(parameters, notes, styles), "raw": raw, "notes": notes}


def fitting(parameters: dict[str, Any], notes: list[str], styles: Sequence[str]) -> dict[str, Any]:
    """The members that a generation request may have; notes tell of the others.

    Of a list only the entries that do not fit are left out.
    """
    faults = list(flat(GenerateSchema(style_names=lambda: styles).validate(parameters), ()))
    wrong: dict[str, set[int]] = {}
    whole: set[str] = set()
    for fault in faults:
        name, place = str(fault.loc[0]), fault.loc[1:]
        notes.append(f"{_told(name, place, parameters[name])} is left out: {fault.msg}")
        if place and isinstance(parameters[name], list) and isinstance(place[0], int):
            wrong.setdefault(name, set()).add(place[0])
        else:
            whole.add(name)
    cut = {name: [value for index, value in enumerate(parameters[name]) if index not in wrong[name]] for name in wrong}
    return {name: value for name, value in (parameters | cut).items() if name not in whole}


def _told(name: str, place: Sequence[str | int], value: Any) -> str:
    """A member, and of a list the entry that is meant."""
    if not place or not isinstance(value, list) or not isinstance(place[0], int):
        return name
    entry = value[place[0]]
    return f"{name}: {entry.get('model_name', entry) if isinstance(entry, dict) else entry}"


def clean(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same as valid JSON and valid Unicode: halves of characters become `?`, NaN and Infinity texts."""
    try:
        text = json.dumps(found, ensure_ascii=False)
        valid: dict[str, Any] = json.loads(text.encode("utf-8", "replace"), parse_constant=str)
    except RecursionError:
        return {}
    return valid
