"""From a picture back to the request that draws it: what it carries, made fit to be posted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.images import metadata_reading
from engine.images.metadata_request import ModelNames, to_request
from schemas.faults import flat
from schemas.generate import GenerateSchema

NOTHING: dict[str, Any] = {"metadata_scheme": None, "parameters": {}, "raw": None}


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
    scheme = "a1111" if raw.get("metadata_scheme") == "a1111" else "fooocus"
    return {"metadata_scheme": scheme, "parameters": fitting(parameters, notes, styles), "raw": raw, "notes": notes}


def fitting(parameters: dict[str, Any], notes: list[str], styles: Sequence[str]) -> dict[str, Any]:
    """The members that a generation request may have; notes tell of the others."""
    faults = list(flat(GenerateSchema(style_names=lambda: styles).validate(parameters), ()))
    notes += [f"{fault.loc[0]} is left out: {fault.msg}" for fault in faults]
    wrong = {fault.loc[0] for fault in faults}
    return {name: value for name, value in parameters.items() if name not in wrong}


def clean(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same as valid JSON and valid Unicode: halves of characters become `?`, NaN and Infinity texts."""
    try:
        text = json.dumps(found, ensure_ascii=False)
        valid: dict[str, Any] = json.loads(text.encode("utf-8", "replace"), parse_constant=str)
    except RecursionError:
        return {}
    return valid
