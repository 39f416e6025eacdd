"""Percentages as Fooocus counts them: one a message while preparing, then equal parts for all sampling steps."""

from __future__ import annotations

import re

STAGES = ("load", "text", "sampling", "decode", "save")
"""What a task's time is told of, each by itself."""

SAMPLING = re.compile(r"Sampling step ([0-9]{1,4})/([0-9]{1,4}),")


class Progress:
    """How far a task is; `steps_in_all` counts the sampling steps of all its pictures and enhancements."""

    INITIALISING, LOADING, PROMPTS = 1, 2, 3

    def __init__(self, steps_in_all: int) -> None:
        self.steps_in_all = max(1, steps_in_all)
        self.prepared = self.PROMPTS

    def next(self) -> int:
        """The number of the next message of the preparation."""
        self.prepared += 1
        return self.prepared

    def at(self, steps: int) -> int:
        """After so many sampling steps."""
        return min(100, int(self.prepared + (100 - self.prepared) / self.steps_in_all * steps))


def sampling_message(step: int, steps: int, title: str) -> str:
    """The words for a sampling step of the picture with this title."""
    return f"Sampling step {step}/{steps}, {title} ..."


def sampling_step(message: str) -> tuple[int, int]:
    """The step that a message tells of, and of how many; zeros where it tells of none."""
    found = SAMPLING.match(message)
    return (int(found[1]), int(found[2])) if found else (0, 0)
