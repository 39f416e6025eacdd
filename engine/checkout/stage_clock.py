"""Which stage of a task the program is at, told by its own words, and how long each took."""

from __future__ import annotations

import time
from contextlib import ExitStack

from engine.heartbeat import Heartbeat
from engine.progress import STAGES, sampling_step

BEGINNINGS = (
    ("Processing prompts", "text"),
    ("Preparing Fooocus text", "text"),
    ("Encoding", "text"),
    ("Moving model", "sampling"),
    ("Preparing task", "sampling"),
    ("Saving", "save"),
    ("Loading", "load"),
    ("Downloading", "load"),
    ("Initializing", "load"),
)
"""How its messages begin, and the stage that begins with them."""


def stage_of(message: str) -> str | None:
    """The stage that begins with a message; None: that which is under way goes on."""
    step, steps = sampling_step(message)
    if steps:
        return "decode" if step >= steps else "sampling"
    return next((stage for beginning, stage in BEGINNINGS if message.startswith(beginning)), None)


class StageClock:
    """Seconds by stage; the stage under way is shown in the heartbeat. It begins with loading."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._heartbeat, self._shown = heartbeat, ExitStack()
        self._stage: str | None = None
        self._since = 0.0
        self._begin("load")

    def hear(self, message: str) -> None:
        """Go on to the stage that a message begins."""
        stage = stage_of(message)
        if stage is None or stage == self._stage:
            self._heartbeat.mark()
            return
        self.stop()
        self._begin(stage)

    def stop(self) -> None:
        """Count the stage under way, which ends; nothing where it has ended."""
        if self._stage is not None:
            self.seconds[self._stage] += time.perf_counter() - self._since
            self._stage = None
            self._shown.close()

    def _begin(self, stage: str) -> None:
        self._stage, self._since = stage, time.perf_counter()
        self._shown.enter_context(self._heartbeat.at(stage))
