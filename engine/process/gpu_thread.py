"""The thread that draws: one task after another, and looks at pictures in between."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from engine.errors import NoSuchDevice
from engine.heartbeat import Heartbeat
from engine.interruption import Interruption
from engine.messages import Draw, Ended, Look, Message, Ready, Seen, Unusable
from engine.process.failures import cause, free_memory, reason
from engine.process.log_context import LogContext
from engine.process.preload import Preload

if TYPE_CHECKING:
    from engine.pipeline.pipeline import Pipeline
    from engine.sampling.together import Together

log = logging.getLogger(__name__)

Emit = Callable[[Message], None]


class GpuThread(Thread):
    """Draws one task after another; every event goes to `emit`.

    Looks at pictures take their turn at once where nothing is drawn, else one after each sampling step: so a picture
    under way goes on, however many there are, and nothing else computes on the GPU or loads models meanwhile.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], Pipeline],
        emit: Emit,
        heartbeat: Heartbeat,
        log_context: LogContext,
        preload: Preload | None = None,
    ) -> None:
        super().__init__(name="gpu", daemon=True)
        self.preload = preload
        self.make_pipeline, self.emit, self.heartbeat, self.log_context = make_pipeline, emit, heartbeat, log_context
        self.tasks: SimpleQueue[Draw | None] = SimpleQueue()
        self.looks: SimpleQueue[Look] = SimpleQueue()
        self.interruptions: dict[str, Interruption] = {}
        self.unload_asked = Event()

    def submit(self, task: Draw) -> None:
        """Queue a task."""
        self.interruptions[task.task_id] = Interruption(self.look_once)
        preload = self.preload  # which the other thread forgets in time
        if preload is not None:
            preload.give_way(task)
        self.tasks.put(task)

    def submit_look(self, look: Look) -> None:
        """Queue a look at a picture."""
        self.looks.put(look)
        self.tasks.put(None)  # wakes the thread where it waits

    def submit_unload(self) -> None:
        """Have all models dropped, after the task under way."""
        self.unload_asked.set()
        self.tasks.put(None)  # wakes the thread where it waits

    def interruption(self, task_id: str) -> Interruption | None:
        """Where to ask for a task's end; None when it is over or unknown."""
        return self.interruptions.get(task_id)

    def run(self) -> None:
        """Start the pipeline, say so, and draw for ever; a process that cannot draw ends."""
        try:
            pipeline = self.pipeline = self.make_pipeline()
            self.emit(ready(pipeline))
            self.preload_once(pipeline)
            while True:
                task = self.tasks.get()
                if task is None:
                    pipeline.store.cache.begin()
                    self.look_once()
                elif task.together > 1:
                    self.run_together(pipeline, self.with_others(task))
                else:
                    with self.log_context.request(task.request_id):
                        self.run_one(pipeline, task)
                self.unload_if_asked()
        except NoSuchDevice as error:
            try:
                self.emit(Unusable(str(error)))
            finally:
                os._exit(1)
        except BaseException:
            log.exception("the engine ends")
            os._exit(1)

    def preload_once(self, pipeline: Pipeline) -> None:
        """Load what the first task will probably want, unless one is there already; what fails here fails there."""
        preload, problem = self.preload, None
        if preload is not None and not self.interruptions:
            preload.interruption.give_way = self.look_once
            try:
                with self.heartbeat.at("task"):
                    pipeline.preload(preload.task, preload.interruption, preload.given_up.is_set)
            except Exception as error:  # the task that needs it tells its client
                log.warning("the default checkpoint is not loaded in advance", exc_info=error)
                problem = cause(error)
            pipeline.store.early_reader = None
        self.preload = None
        if problem == "memory":
            free_memory()

    def unload_if_asked(self) -> None:
        """Drop all models, if somebody wants that."""
        if self.unload_asked.is_set():
            self.unload_asked.clear()
            self.pipeline.store.cache.clear()

    def with_others(self, first: Draw) -> list[Draw]:
        """A task and those it may be drawn together with, which come next."""
        together = [first]
        while len(together) < first.together:
            task = self.tasks.get()
            if task is None:
                self.look_once()
            else:
                together.append(task)
        return together

    def run_together(self, pipeline: Pipeline, tasks: list[Draw]) -> None:
        """Draw several tasks at once, each on a thread of its own, of which one computes at a time."""
        together = pipeline.together(len(tasks))

        def draw(task: Draw) -> None:
            """Draw one of them in its turns."""
            with together.taking_part():
                self.run_one(pipeline, task, together)

        threads = [Thread(target=draw, args=(task,), name=f"gpu-{n}", daemon=True) for n, task in enumerate(tasks, 1)]
        with self.log_context.request(" ".join(task.request_id for task in tasks)):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def run_one(self, pipeline: Pipeline, task: Draw, together: Together | None = None) -> None:
        """Draw one task and emit its end, whatever happens in between."""
        try:
            with self.heartbeat.at("task"):
                ended = pipeline.draw(task, self.emit, self.interruptions[task.task_id], together)
        except Exception as error:  # this loop must outlive its work
            log.exception("task %s failed", task.task_id)
            ended = Ended(task.task_id, "failed", reason(error), notes=task.notes, cause=cause(error))
        if ended.cause == "memory":
            free_memory()  # not before the exception is gone, whose frames hold the task's tensors
        del self.interruptions[task.task_id]
        self.emit(ended)

    def look_once(self) -> None:
        """Take the next look, if one waits, and emit what was seen, whatever happens in between."""
        try:
            look = self.looks.get_nowait()
        except Empty:
            return
        with self.log_context.request(look.request_id):
            self.emit(self.seen(look))

    def seen(self, look: Look) -> Seen:
        """What there is to see, or why that failed."""
        try:
            with self.heartbeat.at("look"):
                return self._inspect(look)
        except Exception as error:  # neither the loop nor the task under way may end with it
            log.exception("looking at a picture failed")
            seen = Seen(look.look_id, error=reason(error), cause=cause(error))
        if seen.cause == "memory":
            free_memory()
        return seen

    def _inspect(self, look: Look) -> Seen:
        """What there is to see; what finds no memory for it has the models that draw leave."""
        from engine.gpu.out_of_memory import is_out_of_memory
        from engine.vision.inspect import inspect

        try:
            return inspect(self.pipeline.store, look)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("looking at a picture ran out of memory: %s", error)
        self.pipeline.memory.clear()  # outside the handler, which keeps what filled the memory alive
        return inspect(self.pipeline.store, look)


def ready(pipeline: Pipeline) -> Ready:
    """What this engine draws on."""
    import torch

    from engine.gpu.capabilities import Card

    card = Card.of(pipeline.device)
    name = f"CPU, {torch.get_num_threads()} threads" if card.type == "cpu" else card.name or card.type
    return Ready(name, torch.__version__)
