"""What goes between the web process and the fleet's driver: frames of the engine's messages, each with its card's name.

No Ray: the web process reads this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine import messages
from engine.messages import Message
from engine.process import wire

# --- web process -> driver


@dataclass(frozen=True)
class Follow(Message):
    """Whether somebody looks at a task, and so wants its previews; nobody does until this is said."""

    task_id: str
    followed: bool


@dataclass(frozen=True)
class Replace(Message):
    """End the card's process, for it does not get on; it tells that it is ready when another has started."""


@dataclass(frozen=True)
class BringFile(Message):
    """Copy a model file that the card's machine has to this path on the head; one that is on its way goes on."""

    model_kind: str
    name: str
    size: int
    target: str


# --- driver -> web process


@dataclass(frozen=True)
class CardJoined(Message):
    """A card draws from now on, once it is told to be ready; `machine` is the host that it is in."""

    machine: str


@dataclass(frozen=True)
class CardFiles(Message):
    """Which checkpoints the card's machine has, by their paths on the head, as tasks name them; and `own`, by kind and
    name, the bytes of each model file in the machine's own folder."""

    checkpoints: list[str]
    own: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class FileBrought(Message):
    """So many bytes of a model file have come to the head; once it is `over`, all of them, or `error` tells why not."""

    model_kind: str
    name: str
    done: int
    over: bool = False
    error: str = ""


@dataclass(frozen=True)
class CardLost(Message):
    """The card's process is gone, with the task it drew; another one is started.

    The task's client reads the `reason`, which names no machine; nor does that of `CardLeft`.
    """

    reason: str


@dataclass(frozen=True)
class CardLeaving(Message):
    """The card's machine is to leave: the task under way may end, no other is taken."""


@dataclass(frozen=True)
class CardLeft(Message):
    """The card is gone for good, with the task it drew, if it did."""

    reason: str


OWN: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Follow, Replace, BringFile),
        *(CardJoined, CardFiles, FileBrought, CardLost, CardLeaving, CardLeft),
    )
}


def pack(card: str, message: Message) -> bytes:
    """One frame; what concerns no card has an empty name."""
    values, blob = message.to_wire()
    return wire.pack({"card": card, **values}, blob)


def unpack(values: dict[str, Any], blob: bytes = b"") -> tuple[str, Message]:
    """The card that a frame concerns, and its message.

    Raises:
        KeyError: the frame names no known kind.
    """
    values = dict(values)
    card = values.pop("card")
    if values["kind"] in OWN:
        return card, OWN[values.pop("kind")](**values)
    return card, messages.from_wire(values, blob)
