"""One task under way: what is asked, what has been told, how long each stage took, and where it may be ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from engine.heartbeat import Signs
from engine.images.codecs import Pixels
from engine.images.metadata import Row
from engine.interruption import Interruption, Skipped, Stopped
from engine.messages import Draw, Message, Progressed
from engine.modes import Goals
from engine.params import GenerateParams
from engine.pipeline.outbox import Outbox
from engine.plan import Plan
from engine.progress import Progress

Emit = Callable[[Message], None]

STAGES = ("load", "text", "sampling", "decode", "save")


class Unsampled(Exception):
    """The task comes to these pictures, for which nothing is sampled; `record` is what is written down of them."""

    def __init__(self, pictures: Sequence[Pixels], record: Sequence[Row] = ()) -> None:
        super().__init__(f"{len(pictures)} pictures are saved as they are")
        self.pictures, self.record = pictures, record


@dataclass
class Job:
    """One task under way.

    `notes` are for the client; `results` counts the pictures handed to the outbox, `steps_done` the sampling steps of
    those that are over.
    """

    task: Draw
    plan: Plan
    outbox: Outbox
    interruption: Interruption
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    notes: list[str] = field(default_factory=list)
    results: int = 0
    steps_done: int = 0
    signs: Signs = field(default_factory=Signs)

    @property
    def params(self) -> GenerateParams:
        """The parameters in force."""
        return self.plan.params

    @property
    def goals(self) -> Goals:
        """What is done with its pictures."""
        return self.plan.goals

    @cached_property
    def progress(self) -> Progress:
        """The task's percentages."""
        return Progress(self.plan.steps_in_all)

    def note(self, *remarks: str) -> None:
        """Add remarks for the client, each once."""
        self.notes += [remark for remark in dict.fromkeys(remarks) if remark not in self.notes]

    def tell(self, percent: int, message: str) -> None:
        """Emit a progress message."""
        self.signs.mark()
        self.outbox.send(lambda: Progressed(self.task.task_id, percent, message))

    def stop_if_asked(self) -> None:
        """End the task between two pieces of work that belong to no picture."""
        self.signs.mark()
        if self.interruption.stopping:
            raise Stopped

    def end_picture_if_asked(self) -> None:
        """Let others have a turn between two pieces of work on a picture; end it, or the task, if that is asked."""
        self.interruption.give_way()
        self.stop_if_asked()
        if self.interruption.take_skip():
            raise Skipped

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage, and let it be seen that the thread is at it."""
        started = time.perf_counter()
        try:
            with self.signs.at(stage):
                yield
        finally:
            self.seconds[stage] += time.perf_counter() - started
