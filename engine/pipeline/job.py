"""One task under way: its plan, its notes, how long each stage took, and the points where it can be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from engine.adapters.patched_models import Models
from engine.file_set import FileSet
from engine.heartbeat import Heartbeat
from engine.images.codecs import Pixels
from engine.images.metadata import Row
from engine.interruption import Interruption, Skipped, Stopped
from engine.messages import Draw, Message, Progressed
from engine.modes import Modes
from engine.params import GenerateParams
from engine.pipeline.decoding import Decoding
from engine.pipeline.outbox import Outbox
from engine.plan import Plan
from engine.progress import STAGES, Progress
from engine.sampling.together import Together

Emit = Callable[[Message], None]


class Unsampled(Exception):
    """The task ends with these pictures, for which nothing is sampled; `record` is their metadata."""

    def __init__(self, pictures: Sequence[Pixels], record: Sequence[Row] = ()) -> None:
        super().__init__(f"{len(pictures)} pictures are saved as they are")
        self.pictures, self.record = pictures, record


@dataclass
class Job:
    """One task under way.

    `notes` are for the client; `results` counts the pictures handed to the outbox, `steps_done` the sampling steps of
    those that are over. `prompt_tokens` is how many tokens the first picture's prompt has, without styles; 0 where no
    text is read.
    """

    task: Draw
    plan: Plan
    outbox: Outbox
    interruption: Interruption
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    notes: list[str] = field(default_factory=list)
    results: int = 0
    steps_done: int = 0
    prompt_tokens: int = 0
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    models: Models | None = None
    """Those of the pass under way, once they are loaded."""
    together: Together | None = None
    """The turns it takes with other tasks, if some are drawn at once."""
    rehearsal: bool = False
    """Whether it draws for nobody, and saves nothing."""
    drawn: dict[int, Future[Pixels] | None] = field(default_factory=dict)
    """The request's pictures that are drawn, by place; None for a skipped one. A task that begins again has them."""
    undecoded: list[Decoding] = field(default_factory=list)
    """The pictures whose decoding ran out of memory."""

    @property
    def params(self) -> GenerateParams:
        """The parameters in force."""
        return self.plan.params

    @property
    def modes(self) -> Modes:
        """What is done with its pictures."""
        return self.plan.modes

    @property
    def files(self) -> FileSet:
        """The files that its pictures are drawn with."""
        return self.plan.files

    @cached_property
    def progress(self) -> Progress:
        """The task's percentages."""
        return Progress(self.plan.steps_in_all)

    def add_notes(self, *remarks: str) -> None:
        """Add remarks for the client, each once."""
        self.notes += [remark for remark in dict.fromkeys(remarks) if remark not in self.notes]

    def report_progress(self, percent: int, message: str, step: int = 0, steps: int = 0) -> None:
        """Emit a progress message; what is prepared once more takes back nothing of the pictures that are over."""
        self.heartbeat.mark()
        percent = max(percent, self.progress.at(self.steps_done)) if self.steps_done else percent
        self.outbox.send(lambda: Progressed(self.task.task_id, percent, message, step=step, steps=steps))

    def drop_undecoded(self) -> None:
        """Let nobody wait for pictures that will not be decoded any more: the task ends."""
        self.outbox.settle()
        for decoding in self.undecoded:
            decoding.picture.cancel()

    def stop_if_asked(self) -> None:
        """Raise Stopped if a person asked for it; called where no picture is under way."""
        self.heartbeat.mark()
        if self.interruption.stopping:
            raise Stopped

    def end_picture_if_asked(self) -> None:
        """Let other work have its turn, then raise Stopped or Skipped if a person asked for it.

        It is called between two pieces of work on a picture, such as sampling steps.
        """
        self.interruption.give_way()
        self.stop_if_asked()
        if self.interruption.take_skip():
            raise Skipped

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage, and show the stage in the signs of life meanwhile."""
        started = time.perf_counter()
        try:
            with self.heartbeat.at(stage):
                yield
        finally:
            self.seconds[stage] += time.perf_counter() - started
