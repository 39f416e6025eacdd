"""The thread that has the program draw: one task after another, and looks at pictures beside them or in between."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread

from engine.checkout import failures
from engine.checkout.looks import runs_beside, seen
from engine.checkout.program import Program, WorkerEnded
from engine.checkout.task_run import TaskRun
from engine.heartbeat import Heartbeat
from engine.messages import Draw, Ended, Look, Message, Ready, Seen
from engine.process.log_context import LogContext

log = logging.getLogger(__name__)


class DrawingThread(Thread):
    """Has a program draw tasks, and look at pictures; every event goes to `emit`.

    A look that may run beside a task is taken while the program draws it, the others after the task under way.
    """

    def __init__(
        self,
        make_program: Callable[[], Program],
        emit: Callable[[Message], None],
        heartbeat: Heartbeat,
        log_context: LogContext,
    ) -> None:
        super().__init__(name="gpu", daemon=True)
        self.make_program, self.emit, self.heartbeat, self.log_context = make_program, emit, heartbeat, log_context
        self.work: SimpleQueue[TaskRun | Look | None] = SimpleQueue()
        self.looks: SimpleQueue[Look] = SimpleQueue()
        self.runs: dict[str, TaskRun] = {}
        self.unload_asked = Event()

    def submit(self, task: Draw) -> None:
        """Queue a task."""
        self.runs[task.task_id] = TaskRun(task, self.emit, self.heartbeat, self.look_beside)
        self.work.put(self.runs[task.task_id])

    def submit_look(self, look: Look) -> None:
        """Queue a look at a picture."""
        if runs_beside(look):
            self.looks.put(look)
            self.wake()
        else:
            self.work.put(look)

    def wake(self) -> None:
        """Have the thread see what was asked for, where it waits for work."""
        self.work.put(None)

    def submit_unload(self) -> None:
        """Have all models dropped, after the task under way."""
        self.unload_asked.set()
        self.wake()

    def interruption(self, task_id: str) -> TaskRun | None:
        """Where to ask for a task's end; None when it is over or unknown."""
        return self.runs.get(task_id)

    def run(self) -> None:
        """Start the program, say so, and draw for ever; a process that cannot draw ends."""
        try:
            program = self.make_program()
            self.emit(Ready(f"{program.device}, Fooocus {program.version}", program.torch.__version__))
            while True:
                work = self.work.get()
                if isinstance(work, TaskRun):
                    with self.log_context.request(work.draw.request_id):
                        self.run_one(program, work)
                elif isinstance(work, Look):
                    program.rest()
                    self.look(work)
                self.look_beside()
                if self.unload_asked.is_set():
                    self.unload_asked.clear()
                    program.rest()
                    program.unload()
        except BaseException:
            log.exception("the engine ends")
            os._exit(1)

    def run_one(self, program: Program, run: TaskRun) -> None:
        """Draw one task and emit its end, whatever happens in between.

        Raises:
            WorkerEnded: nothing more can be drawn.
        """
        task_id, gone = run.draw.task_id, None
        try:
            ended = run.run(program)
        except Exception as error:  # this loop must outlive its work
            log.exception("task %s failed", task_id)
            gone = error if isinstance(error, WorkerEnded) else None
            ended = Ended(task_id, "failed", failures.reason(error), notes=run.notes, cause=failures.cause(error))
        del self.runs[task_id]
        self.emit(ended)
        run.tell_times()
        program.clear_scratch()
        if gone is not None:
            raise gone

    def look_beside(self) -> None:
        """Take all looks that wait and may run beside a task."""
        while True:
            try:
                look = self.looks.get_nowait()
            except Empty:
                return
            self.look(look)

    def look(self, look: Look) -> None:
        """Emit what there is to see, or why that failed."""
        with self.log_context.request(look.request_id):
            try:
                with self.heartbeat.at("look"):
                    found = seen(look)
            except Exception as error:  # a picture that cannot be looked at ends no task
                log.exception("looking at a picture failed")
                found = Seen(look.look_id, error=failures.reason(error), cause=failures.cause(error))
            self.emit(found)
