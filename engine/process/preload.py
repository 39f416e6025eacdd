"""What an engine does before its first task: it loads the checkpoint that tasks are expected to want."""

from __future__ import annotations

import json
from threading import Event

from engine.interruption import Interruption
from engine.messages import Draw


class Preload:
    """A task that nobody sent, `task`, for whose checkpoint the engine is made ready; a real one goes before it."""

    def __init__(self, task: Draw) -> None:
        self.task = task
        self.interruption = Interruption()
        self.given_up = Event()
        """Set once the checkpoint is not wanted: loading it ends at the next tensor."""

    @classmethod
    def from_json(cls, text: str) -> Preload:
        """From the command line's object with `checkpoint`, a path, and the parameters of an empty request."""
        said = json.loads(text)
        return cls(Draw("preload", said["params"], [], said["checkpoint"], log=False))

    def give_way(self, task: Draw) -> None:
        """Let a task go before: drawing ends at the next step, and loading too if it wants another checkpoint."""
        self.interruption.stop()
        if task.checkpoint != self.task.checkpoint:
            self.given_up.set()
