"""What is written for the text encoders: prompts, and the names of the styles that surround them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from marshmallow import ValidationError

from schemas.faults import Fault, fault
from schemas.fields import Items, Text

LONGEST_PROMPT = 20_000
MOST_LINES = 64
DEEPEST = 50
MOST_STYLES = 512
MOST_SUGGESTIONS = 3
"""Misspelt styles that are told with those near them: each takes some milliseconds to find."""
BRACKET = re.compile(r"\\.|[()\[\]]", re.DOTALL)
PAIRS = {"parentheses": ("(", ")"), "brackets": ("[", "]")}


class PromptText(Text):
    """A prompt: bounded in its characters, in its lines, and in the depth of its parentheses and brackets."""

    def __init__(self, description: str, **kwargs: Any):
        bounds = f"At most {MOST_LINES} lines, parentheses and brackets at most {DEEPEST} deep."
        super().__init__(f"{description} {bounds}", longest=LONGEST_PROMPT, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        lines = len(text.splitlines())
        if lines > MOST_LINES:
            message = f"Input should have at most {MOST_LINES} lines, not {lines}; each is a prompt of its own"
            raise fault("too_many_lines", message, value, max_lines=MOST_LINES, actual_lines=lines)
        for kind, (opening, closing) in PAIRS.items():
            if text.count(opening) > DEEPEST and (deep := depth(text, opening, closing)) > DEEPEST:
                message = (
                    f"Input should have {kind} at most {DEEPEST} deep, not {deep}; write \\{opening} for a plain one"
                )
                raise fault("too_deep", message, value, max_depth=DEEPEST, actual_depth=deep)
        return text


def depth(text: str, opening: str, closing: str) -> int:
    """How many of these are open at once where most are; one behind a backslash is plain text."""
    now = most = 0
    for found in BRACKET.finditer(text):
        if found[0] == opening:
            now += 1
            most = max(most, now)
        elif found[0] == closing and now:
            now -= 1
    return most


class KnowsStyles(Protocol):
    """A schema that knows which styles there are."""

    style_names: Callable[[], Sequence[str]]


class StyleNames(Items):
    """The names of styles; the schema knows which there are."""

    def __init__(self, description: str, **kwargs: Any):
        super().__init__(description, Text("The name of a style."), longest=MOST_STYLES, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        faults: dict[int, Any] = {}
        try:
            names = super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            names, faults = value, dict(error.messages)
        known = cast(KnowsStyles, self.root).style_names()
        unknown = [place for place, name in enumerate(names) if place not in faults and name not in known]
        for number, place in enumerate(unknown):
            near = difflib.get_close_matches(names[place], known, 3) if number < MOST_SUGGESTIONS else []
            text = "No style has this name; GET /v1/engines/styles lists them all"
            told = text + (f"; near it: {', '.join(near)}" if near else "")
            faults[place] = [Fault("enum", told, names[place], {"expected": near})]
        if faults:
            raise ValidationError(faults)
        return names
