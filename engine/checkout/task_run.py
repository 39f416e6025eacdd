"""One of our tasks, drawn by the program: what that says becomes our messages, what it saves our pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from engine.checkout import failures
from engine.checkout.pictures import GivenPictures, encoded, store
from engine.checkout.program import Program, SavedPicture
from engine.checkout.stage_clock import StageClock
from engine.checkout.task_values import TaskValues
from engine.heartbeat import Heartbeat
from engine.images import log_page
from engine.images.metadata import Row
from engine.messages import Draw, Ended, Message, PictureDone, Progressed
from engine.params import GenerateParams
from engine.progress import sampling_step

log = logging.getLogger(__name__)

MORE = "Fooocus drew more pictures than the request asked for; the last are left out"
TICK = 1.0
"""Seconds between two looks at whether the worker lives."""


class TaskRun:
    """A task that waits, is under way, or is over; `stop` and `skip` may be called from any thread.

    `give_way` is called again and again, a second apart at most, while the program draws.
    """

    def __init__(
        self, draw: Draw, emit: Callable[[Message], None], heartbeat: Heartbeat, give_way: Callable[[], None]
    ) -> None:
        self.draw, self.emit, self.heartbeat, self.give_way = draw, emit, heartbeat, give_way
        self.params = GenerateParams.from_dict(draw.params)
        self.notes = list(draw.notes)
        self._news: SimpleQueue[tuple[str, Any, float]] = SimpleQueue()
        self._task: Any = None
        self._program: Program | None = None
        self._stopping = False
        self._done = 0
        self._taken: tuple[str, float, float] | None = None
        self._prompt_tokens: int | None = None

    def stop(self) -> None:
        """Have the task end after the current step."""
        self._stopping = True
        self._interrupt("stop")

    def skip(self) -> None:
        """Have the picture under way dropped."""
        self._interrupt("skip")

    def run(self, program: Program) -> Ended:
        """Have the program draw the task, and say how it ended.

        Raises:
            WorkerEnded: the program can draw no more.
            Exception: the task could not begin.
        """
        clock = StageClock(self.heartbeat)
        try:
            program.refresh()
            values = self._values(program)
            self._program, self._task = program, program.make_task(values, self._hear)
            self._task.save_final_enhanced_image_only = self.params.save_final_enhanced_image_only
            self.notes += values.left_out()
            if self._stopping:
                return self._ended(program, clock, "stopped")
            begun = time.perf_counter()
            program.begin(self._task)
            finished = self._follow(program, clock)
            outcome = self._outcome(program)
            self._taken = outcome[0], finished - begun, values.pictures.seconds
            return self._ended(program, clock, *outcome)
        finally:
            clock.stop()
            self._task = None

    def tell_times(self) -> None:
        """Log what a task took that has begun and ended; whoever waits for its end has heard of that before."""
        if self._taken is not None:
            told = self.draw.task_id, *self._taken
            log.info("task %s %s in %.3f s of Fooocus, its pictures read in %.3f s", *told)

    def _values(self, program: Program) -> TaskValues:
        checkpoint = program.checkpoint_name(self.draw.checkpoint or self.params.base_model_name)
        pictures = GivenPictures(self.draw.inputs)
        return TaskValues(self.params, pictures, checkpoint, program.file_name, program.others)

    def _hear(self, kind: str, item: Any) -> None:
        self._news.put((kind, item, time.perf_counter()))

    def _interrupt(self, how: str) -> None:
        program, task = self._program, self._task
        if program is not None and task is not None:
            program.interrupt(task, how)

    def _follow(self, program: Program, clock: StageClock) -> float:
        """Turn what the program says into messages, until it has ended the task; when it said so."""
        while True:
            self.give_way()
            try:
                kind, item, said = self._news.get(timeout=TICK)
            except Empty:
                program.check_worker()
                continue
            if kind == "result":
                self._take(program, item)
                continue
            flag, product = item
            if flag == "preview":
                self._tell(clock, *product)
            elif flag == "finish":
                return said

    def _tell(self, clock: StageClock, percent: int, message: str, picture: Any) -> None:
        clock.hear(message)
        step, steps = sampling_step(message)
        preview = b"" if picture is None else encoded(picture, fast=True)
        percent = max(0, min(100, int(percent)))
        self.emit(Progressed(self.draw.task_id, percent, message, preview, step, steps))

    def _take(self, program: Program, item: Any) -> None:
        """Put a result into our outputs; the picture that was given to be enhanced is none."""
        if item is self._task.enhance_input_image:
            return
        saved = program.saved.get(item) if isinstance(item, str) else None
        if saved is not None and not saved.kept:
            return
        if self._done == len(self.draw.outputs):
            if MORE not in self.notes:
                self.notes.append(MORE)
            return
        path = Path(self.draw.outputs[self._done])
        store(Path(item) if isinstance(item, str) else encoded(item, path.suffix), path)
        width, height = saved.size if saved else item.shape[1::-1]
        seed = self.params.image_seed if saved is None or saved.seed is None else saved.seed
        if self.draw.log:
            self._log(path, saved)
        tokens = self._count_tokens(program)
        self.emit(PictureDone(self.draw.task_id, self._done, str(path), seed, width, height, tokens))
        self._done += 1

    def _log(self, path: Path, saved: SavedPicture | None) -> None:
        rows = [Row(*row) for row in saved.rows] if saved else []
        texts = (saved.positive, saved.negative) if saved else ()
        log_page.add_entry(path.parent / log_page.NAME, path, rows, *texts)

    def _outcome(self, program: Program) -> tuple[str, str | None, str | None]:
        """How the task ended: outcome, reason and cause."""
        error = program.failure
        if self._stopping:
            return "stopped", None, None
        if error is None:
            return "finished", None, None
        return "failed", failures.reason(error), failures.cause(error)

    def _ended(
        self, program: Program, clock: StageClock, outcome: str, error: str | None = None, cause: str | None = None
    ) -> Ended:
        clock.stop()
        drawn_with = {
            "checkpoint": self.params.base_model_name,
            "builtin": False,
            "fooocus": program.version,
            "prompt_tokens": self._count_tokens(program),
        }
        return Ended(self.draw.task_id, outcome, error, clock.seconds, drawn_with, self.notes, cause)

    def _count_tokens(self, program: Program) -> int:
        """The prompt's tokens, counted once a task."""
        if self._prompt_tokens is None:
            self._prompt_tokens = program.prompt_tokens(self.params.prompt)
        return self._prompt_tokens
