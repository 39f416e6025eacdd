"""A worker: one card that draws, as the API describes it to whoever runs the service."""

from __future__ import annotations

from dataclasses import dataclass

from engine.choices import BUILTIN_CHECKPOINT
from engine.files.catalogue import Catalogue

DRAWING, LEAVING = "drawing", "leaving"
"""The states of a worker that has a task, and of one whose machine leaves the fleet; else it has its lane's."""


@dataclass(frozen=True)
class Worker:
    """What a lane draws on, and its state.

    `card` is the graphics card's name, or the processor, once that is known; `checkpoint` is what it drew with last and
    still holds, as requests name it; `since_mills` is when it came to this state, or to this task. `host_memory` and
    `gpu_memory` are the bytes that its engine holds of the machine's and of the card's memory, None if not known.
    """

    lane: str
    machine: str
    card: str | None
    state: str
    since_mills: int
    task_id: str | None = None
    checkpoint: str | None = None
    host_memory: int | None = None
    gpu_memory: int | None = None


def checkpoint_name(catalogue: Catalogue, path: str | None) -> str:
    """How requests name the checkpoint of this path; None is the built-in model."""
    return BUILTIN_CHECKPOINT if path is None else catalogue.name("checkpoints", path)
