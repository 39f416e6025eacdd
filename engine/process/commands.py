"""Commands of the web process, handed on to the thread that draws."""

from __future__ import annotations

import logging
from typing import BinaryIO, Protocol

from engine.messages import Draw, Look, Skip, Stop, Unload, from_wire
from engine.process import wire

log = logging.getLogger(__name__)


class Interruptible(Protocol):
    """A task that is waiting or under way."""

    def stop(self) -> None:
        """Have it end."""
        ...

    def skip(self) -> None:
        """Have the picture under way dropped."""
        ...


class TaskThread(Protocol):
    """A thread that takes tasks one after another."""

    def start(self) -> None:
        """Begin to take them."""
        ...

    def submit(self, task: Draw) -> None:
        """Queue a task."""
        ...

    def submit_look(self, look: Look) -> None:
        """Queue a look at a picture."""
        ...

    def submit_unload(self) -> None:
        """Have all models dropped."""
        ...

    def interruption(self, task_id: str) -> Interruptible | None:
        """Where to ask for a task's end; None when it is over or unknown."""
        ...


def obey(stream: BinaryIO, thread: TaskThread) -> None:
    """Hand on commands until the other side is gone."""
    while True:
        try:
            message = from_wire(*wire.read(stream))
        except (EOFError, OSError):
            return
        if isinstance(message, Draw):
            thread.submit(message)
        elif isinstance(message, Look):
            thread.submit_look(message)
        elif isinstance(message, Unload):
            thread.submit_unload()
        elif isinstance(message, (Stop, Skip)):
            interruption = thread.interruption(message.task_id)
            if interruption is None:
                log.info("%s came too late for task %s", type(message).__name__, message.task_id)
            elif isinstance(message, Stop):
                interruption.stop()
            else:
                interruption.skip()
