"""The runner: takes tasks from the queue, has the engine process draw them, and says what happens.

This is the seam between the service and whatever draws: `start`, `stop`, `skip`, `close`, and the signals it sends.
Today's is one greenlet and one process. Should the process die, its task is drawn again by the next one.
"""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import Any

import gevent
from flask import Flask, current_app
from gevent.event import Event
from gevent.queue import Empty, Queue

from engine import events
from fooocus_flask import outputs, signals, tasks
from fooocus_flask.engine_process import EngineProcess
from fooocus_flask.tables import FAILED, FINISHED, RUNNING, STOPPED, Task

log = logging.getLogger(__name__)

EXTENSION = "fooocus-runner"
STATUSES = {"finished": FINISHED, "stopped": STOPPED, "failed": FAILED}
MOST_ATTEMPTS = 3
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a dead engine is started again; doubled while it dies without having drawn anything."""


class EngineGone(Exception):
    """The engine process ended, or never got ready."""


class Wake(events.Message):
    """Something waits in the queue."""


Mail = events.Message | None


def init_app(app: Flask) -> None:
    """Give the application its runner; it starts when serving begins, or with the first task."""
    app.extensions[EXTENSION] = Runner(app)


def of(app: Flask) -> Runner:
    """The application's runner."""
    return app.extensions[EXTENSION]


def current() -> Runner:
    """The runner of the application at hand."""
    return of(current_app._get_current_object())  # type: ignore[attr-defined]


@signals.task_submitted.connect
def wake(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    of(app).wake()


class Runner:
    """Draws the tasks of one application, one after another."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.ready = Event()
        self.engine: EngineProcess | None = None
        self._mail: Queue[Mail] = Queue()
        self._task: Task | None = None
        self._pictures: dict[int, str] = {}
        self._percent = 0
        self._stopping: set[str] = set()
        self._delay = FIRST_DELAY
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Start the engine process and go on with the queue; once is enough."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._supervise)
            atexit.register(self.close)

    def close(self) -> None:
        """End the engine process; its task will be drawn when a server starts again."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is None:
            return
        atexit.unregister(self.close)
        if self._task is not None:
            with self.app.app_context():
                tasks.give_back(self._task.task_id)
        greenlet.kill()
        self._task = None

    def wake(self) -> None:
        """Look into the queue."""
        self.start()
        self._mail.put(Wake())

    def stop(self, task: Task) -> bool:
        """End a task that waits or runs; whether there was something to end."""
        if task.task_status == RUNNING:
            self._stopping.add(task.task_id)
            self._send(events.Stop(task.task_id), task)
            return True
        return tasks.end(task.task_id, STOPPED) is not None

    def skip(self, task: Task) -> bool:
        """Drop the picture that is being drawn; whether this task is drawing one."""
        return self._send(events.Skip(task.task_id), task)

    def _send(self, message: events.Message, task: Task) -> bool:
        """Tell the engine something about the task it draws."""
        if self.engine is None or self._task is None or self._task.task_id != task.task_id:
            return False
        try:
            self.engine.send(message)
        except OSError:
            return False
        return True

    def _supervise(self) -> None:
        """Keep an engine running, whatever happens to it."""
        while True:
            self._mail = Queue()
            config = self.app.config
            self.engine = EngineProcess(
                self._mail.put, arguments(self.app), config["ENGINE_ENVIRONMENT"], config["ENGINE_NICENESS"]
            )
            try:
                self._attend(self.engine)
            except (EngineGone, OSError) as error:
                log.error("The engine process is gone (%s); starting another in %.1f s", error, self._delay)
            except Exception:
                log.exception("The engine process is started again in %.1f s", self._delay)
            finally:
                self.ready.clear()
                engine, self.engine = self.engine, None
                engine.close()
            self._task = None
            gevent.sleep(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _attend(self, engine: EngineProcess) -> None:
        """Hear the engine, and give it the next task whenever it has none.

        Raises:
            EngineGone: it ended.
        """
        while True:
            message = self._next_message()
            if message is None:
                raise EngineGone(f"exit status {engine.process.wait()}")
            with self.app.app_context():
                self._take(message)
                draw = self._next_draw() if self.ready.is_set() and self._task is None else None
            if draw is not None:
                engine.send(draw)

    def _next_message(self) -> Mail:
        patience = None if self.ready.is_set() else self.app.config["ENGINE_START_TIMEOUT"]
        try:
            return self._mail.get(timeout=patience)
        except Empty:
            raise EngineGone(f"not ready after {patience:.0f} s") from None

    def _take(self, message: events.Message) -> None:
        """Act on one message."""
        if isinstance(message, events.Ready):
            log.info("The engine is ready: %s, torch %s", message.device, message.torch)
            self.ready.set()
        elif self._task is None or getattr(message, "task_id", None) != self._task.task_id:
            return
        elif isinstance(message, events.Progressed):
            self._percent = message.percent
            tell = {"percent": message.percent, "message": message.message, "preview": message.preview}
            signals.tell(signals.task_progressed, self.app, task_id=message.task_id, **tell)
        elif isinstance(message, events.PictureDone):
            self._keep(message)
        elif isinstance(message, events.Ended):
            self._end(self._task, message)

    def _keep(self, done: events.PictureDone) -> None:
        path = outputs.below(done.path)
        self._pictures[done.index] = path
        size = {"width": done.width, "height": done.height}
        signals.tell(
            signals.picture_done, self.app, task_id=done.task_id, index=done.index, path=path, seed=done.seed, **size
        )

    def _end(self, task: Task, ended: events.Ended) -> None:
        pictures = [self._pictures[index] for index in sorted(self._pictures)]
        tasks.end(
            task.task_id,
            STATUSES[ended.outcome],
            ended.seconds,
            progress=self._percent,
            result=pictures,
            pictures_done=len(pictures),
            error=ended.error,
            notes=ended.notes,
            drawn_with=ended.drawn_with,
        )
        self._stopping.discard(task.task_id)
        self._task = None
        self._delay = FIRST_DELAY

    def _next_draw(self) -> events.Draw | None:
        """Claim the next task."""
        while (task := tasks.claim()) is not None:
            if task.task_id in self._stopping:
                self._stopping.discard(task.task_id)
                tasks.end(task.task_id, STOPPED)
            elif task.attempts > MOST_ATTEMPTS:
                error = f"The engine process died {MOST_ATTEMPTS} times while it drew this task"
                tasks.end(task.task_id, FAILED, error=error)
            else:
                break
        self._task, self._pictures, self._percent = task, {}, 0
        if task is None:
            return None
        paths = [str(outputs.folder() / path) for path in task.files or ()]
        return events.Draw(task.task_id, task.req_params, paths, task.checkpoint, task.notes)


def arguments(app: Flask) -> list[str]:
    """The engine process's command line."""
    threads = app.config["ENGINE_THREADS"]
    wildcards = ["--wildcards", str(Path(app.instance_path) / "wildcards")]
    return [*wildcards, *(["--threads", str(threads)] if threads else [])]
