"""Emphasis in a prompt: `(word)` weighs 1.1, `(word:1.3)` weighs 1.3."""

from __future__ import annotations

import math

STEP = 1.1
PROTECTED = {"\\(": "\x01", "\\)": "\x02"}


def weighted(text: str) -> list[tuple[str, float]]:
    """The pieces of a text with their weights, in order.

    A weight in numbers stands for itself, whatever surrounds it. Escaped parentheses are plain ones; a parenthesis
    that is never closed, or closed too often, makes plain text of what follows.
    """
    for escaped, mark in PROTECTED.items():
        text = text.replace(escaped, mark)
    leaves: list[tuple[str, float]] = []
    pending = [(piece, 1.0) for piece in reversed(_pieces(text))]
    while pending:
        piece, weight = pending.pop()
        if piece.startswith("(") and piece.endswith(")") and len(piece) >= 2:
            inside, weight = _opened(piece, weight)
            pending += [(part, weight) for part in reversed(_pieces(inside))]
        else:
            leaves.append((piece.replace("\x01", "(").replace("\x02", ")"), weight))
    return leaves


def _opened(piece: str, weight: float) -> tuple[str, float]:
    """What stands inside the parentheses, and its weight."""
    inside = piece[1:-1]
    text, colon, number = inside.rpartition(":")
    if text and colon:
        try:
            value = float(number)
        except ValueError:
            return inside, weight * STEP
        if math.isfinite(value):
            return text, value
    return inside, weight * STEP


def _pieces(text: str) -> list[str]:
    """The text cut before each outermost `(` and behind its `)`."""
    pieces: list[str] = []
    depth, start = 0, 0
    for place, character in enumerate(text):
        if character == "(":
            if depth == 0:
                pieces.append(text[start:place])
                start = place
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                pieces.append(text[start : place + 1])
                start = place + 1
    pieces.append(text[start:])
    return [piece for piece in pieces if piece]
