"""What a card tells of its machine, and whether that fits the head: Ray carries Python objects between the two."""

from __future__ import annotations

from dataclasses import dataclass

from engine.messages import Ready


@dataclass(frozen=True)
class CardInfo:
    """What a card that is ready tells of itself: its machine, the versions there, and its process's number."""

    machine: str
    python: str
    ray: str
    ready: Ready
    process: int


def differences(info: CardInfo, python: str, ray: str) -> str:
    """What of a card's machine does not fit the head, which has these versions; empty if all does."""
    found = [
        f"{what} {theirs}, and the head {what} {ours}"
        for what, theirs, ours in (("Python", info.python, python), ("Ray", info.ray, ray))
        if theirs != ours
    ]
    return f"the machine {info.machine} has {'; '.join(found)}: install the same on both" if found else ""
