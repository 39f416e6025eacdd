"""Emphasis in a prompt: `(word)` weighs 1.1, `(word:1.3)` weighs 1.3."""

from __future__ import annotations

import math

STEP = 1.1
PROTECTED = {"\\(": "\x01", "\\)": "\x02"}


def weighted(text: str) -> list[tuple[str, float]]:
    """The pieces of a text with their weights, in order; any depth of parentheses takes linear time.

    A weight in numbers stands for itself, whatever surrounds it. Escaped parentheses are plain ones; a parenthesis
    that is never closed, or closed too often, makes plain text of what follows.
    """
    for escaped, mark in PROTECTED.items():
        text = text.replace(escaped, mark)
    closing, last = _parentheses(text)
    leaves: list[tuple[str, float]] = []

    def add(start: int, end: int, weight: float) -> None:
        if start < end:
            leaves.append((text[start:end].replace("\x01", "(").replace("\x02", ")"), weight))

    pending = [(0, len(text), 1.0)]
    while pending:
        start, end, weight = pending.pop()
        opening = _opening(text, start, end)
        add(start, opening, weight)
        if opening == end:
            continue
        close = min(closing.get(opening, end), end - 1)
        pending.append((close + 1, end, weight))
        if close > opening and text[close] == ")":
            inside_end, inside_weight = _weight(text, opening + 1, close, last[close], weight)
            pending.append((opening + 1, inside_end, inside_weight))
        else:
            add(opening, close + 1, weight)
    return leaves


def _parentheses(text: str) -> tuple[dict[int, int], list[int]]:
    """Where each parenthesis is closed, if it is; and for each place the last parenthesis before it, or -1."""
    closing: dict[int, int] = {}
    open_ones: list[int] = []
    last, latest = [], -1
    for place, character in enumerate(text):
        last.append(latest)
        if character == "(":
            open_ones.append(place)
        elif character == ")" and open_ones:
            closing[open_ones.pop()] = place
        if character in "()":
            latest = place
    return closing, last


def _opening(text: str, start: int, end: int) -> int:
    """The first parenthesis that begins a piece, or the end; one closed too often takes the next one along."""
    depth = 0
    for place in range(start, end):
        if text[place] == "(":
            if depth == 0:
                return place
            depth += 1
        elif text[place] == ")":
            depth -= 1
    return end


def _weight(text: str, start: int, end: int, last: int, weight: float) -> tuple[int, float]:
    """Where what stands inside parentheses ends, without its number, and its weight; `last` is the last one inside."""
    colon = text.rfind(":", max(start, last + 1), end)
    if colon > start:
        try:
            value = float(text[colon + 1 : end])
        except ValueError:
            return end, weight * STEP
        if math.isfinite(value):
            return colon, value
    return end, weight * STEP
