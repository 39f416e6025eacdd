"""The thread that says that this process lives, with readings of its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from engine.heartbeat import Heartbeat, Stillness
from engine.messages import Beat, Message


class Pulse(Thread):
    """Tells that this process lives, as long as it does, and whether its drawing gets on.

    A process that hangs as a whole falls silent; where only the drawing hangs, its heartbeat stands still.
    """

    def __init__(self, emit: Callable[[Message], None], seconds: float, heartbeat: Heartbeat) -> None:
        super().__init__(name="pulse", daemon=True)
        self.emit, self.seconds, self.heartbeat = emit, seconds, heartbeat

    def run(self) -> None:
        """Beat until the other side is gone."""
        never, stillness = Event(), Stillness(self.heartbeat, self.seconds)
        while not never.wait(self.seconds):
            try:
                self.emit(Beat(self.heartbeat.stages(), stillness.seconds_still(), host_memory(), gpu_memory()))
            except OSError:
                return


def host_memory() -> int | None:
    """Bytes this process holds of the host's memory; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # other systems have no such file
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def gpu_memory() -> int | None:
    """Bytes this process has set aside of the GPU's memory; None where nothing computes on one."""
    cuda = sys.modules.get("torch.cuda")
    begun = getattr(cuda, "is_initialized", None)  # the drawing thread may be in the middle of importing it
    return cuda.memory_reserved() if cuda and begun and begun() else None
