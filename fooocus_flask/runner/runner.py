"""The runner: takes tasks from the queue, has the engine process draw them, and says what happens.

This is the seam between the service and whatever draws: `start`, `stop`, `skip`, `close`, and the signals it sends.
Today's is one greenlet and one process. Should the process die, its task is drawn again by the next one.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import gevent
from flask import Flask
from gevent.event import Event
from gevent.queue import Empty, Queue
from sqlalchemy.exc import OperationalError

from engine import messages
from fooocus_flask import request_ids, signals
from fooocus_flask.database import db
from fooocus_flask.extension import Extension
from fooocus_flask.model_files.folders import folders
from fooocus_flask.pictures import outputs
from fooocus_flask.runner.inspections import EngineAway, Inspections
from fooocus_flask.runner.process import PATIENCE, EngineProcess
from fooocus_flask.tables import FAILED, FINISHED, PENDING, STOPPED, Task
from fooocus_flask.tasks import queue
from fooocus_flask.version import VERSION

log = logging.getLogger(__name__)

HASHES = "hash_cache.txt"
"""Where, in the instance folder, hashes of model files are kept."""
KERNELS = "kernels"
"""Where, in the instance folder, compiled GPU kernels are kept."""
STATUSES = {"finished": FINISHED, "stopped": STOPPED, "failed": FAILED}
MOST_ATTEMPTS = 3
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a dead engine is started again; doubled while it dies without having drawn anything."""
DATABASE_DELAY = 1.0
"""Seconds before the database is asked again that was locked, or whose disk was full."""
BEATS = 6
"""Signs of life in the time after which an engine counts as silent."""


class EngineGone(Exception):
    """The engine process ended, or never got ready."""

    state = "starting"
    """What `Runner.state` is until another one is ready."""


class EngineStuck(EngineGone):
    """The engine lives, and does not get on."""

    state = "stuck"


class Wake(messages.Message):
    """Something waits in the queue."""


Mail = messages.Message | None
Result = TypeVar("Result")


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
        self._delay = FIRST_DELAY
        self._heard = 0.0
        self.beat: messages.Beat | None = None
        self.inspections = Inspections()
        self.draining = False
        self._awaited = "starting"
        self._idle = Event()
        self._idle.set()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Start the engine process and go on with the queue; once is enough."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._supervise)
            atexit.register(self.close)

    @property
    def task_id(self) -> str | None:
        """The task that is drawn now."""
        return self._task.task_id if self._task else None

    @property
    def state(self) -> str:
        """`ready` where tasks are taken; else why they wait: `starting`, `stuck` or `stopping`."""
        if self.draining:
            return "stopping"
        return "ready" if self.ready.is_set() else self._awaited

    def drain(self, seconds: float) -> bool:
        """Begin nothing more, and wait this long for the task under way; whether it has ended."""
        self.draining = True
        return bool(self._idle.wait(seconds))

    def close(self) -> None:
        """End the engine process; its task will be drawn when a server starts again."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is None:
            return
        atexit.unregister(self.close)
        if self._task is not None:
            with self.app.app_context():
                queue.give_back(self._task.task_id)
        greenlet.kill()
        self._hold(None)

    def wake(self) -> None:
        """Look into the queue."""
        self.start()
        self._mail.put(Wake())

    def stop(self, task: Task) -> bool:
        """End a task that waits or runs; whether there was something to end."""
        if queue.end(task.task_id, STOPPED, only=PENDING) is not None:
            return True
        if not queue.ask_to_stop(task.task_id):
            return False
        self._send(messages.Stop(task.task_id), task)
        return True

    def skip(self, task: Task) -> bool:
        """Drop the picture that is being drawn; whether this task is drawing one."""
        return self._send(messages.Skip(task.task_id), task)

    def inspect(self, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have the engine look at a picture's file, beside whatever it draws; see `messages.Look`.

        Raises:
            FooocusError: nothing came of it; the status tells why.
        """
        self.start()
        if not self.ready.wait(self.app.config["ENGINE_START_TIMEOUT"]) or self.engine is None:
            raise EngineAway("The engine is not ready")
        return self.inspections.take(self.engine, purpose, options, picture)

    def _send(self, message: messages.Message, task: Task) -> bool:
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
            self._mail, self._heard = Queue(), monotonic()
            config = self.app.config
            self.engine = EngineProcess(
                self._mail.put, arguments(self.app), config["ENGINE_ENVIRONMENT"], config["ENGINE_NICENESS"]
            )
            try:
                self._attend(self.engine)
            except (EngineGone, OSError) as error:
                with self._named():
                    log.error("The engine process is gone (%s); starting another in %.1f s", error, self._delay)
                reason, self._awaited = str(error), getattr(error, "state", EngineGone.state)
            except Exception as error:
                log.exception("The engine process is started again in %.1f s", self._delay)
                reason, self._awaited = f"{type(error).__name__}: {error}", EngineGone.state
            finally:
                self.ready.clear()
                self.beat = None
                engine, self.engine = self.engine, None
                engine.close()
                self.inspections.give_up()
            self._let_go(reason)
            gevent.sleep(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _let_go(self, reason: str) -> None:
        """Leave the task under way to the next engine, unless it has been tried often enough."""
        task = self._task
        if task is not None and task.attempts >= MOST_ATTEMPTS:
            with self._named():
                self._store(lambda: queue.end(task.task_id, FAILED, error=too_often(reason), failure="engine"))
        self._hold(None)

    def _attend(self, engine: EngineProcess) -> None:
        """Hear the engine, and give it the next task whenever it has none.

        Raises:
            EngineGone: it ended, or is stuck.
        """
        while True:
            message = self._next_message()
            if message is None:
                raise EngineGone(f"exit status {engine.process.wait(PATIENCE)}")
            with self._named():
                self._store(self._take, message)
            if self.ready.is_set() and self._task is None and not self.draining:
                draw = self._store(self._next_draw)
                if draw is not None:
                    engine.send(draw)

    def _next_message(self) -> Mail:
        """The next thing to look at.

        Raises:
            EngineGone: the engine was silent for too long.
        """
        ready = self.ready.is_set()
        patience = self.app.config["ENGINE_SILENCE" if ready else "ENGINE_START_TIMEOUT"]
        try:
            message: Mail = self._mail.get(timeout=max(0.0, self._heard + patience - monotonic()))
        except Empty:
            if self.engine is not None:
                self.engine.kill()
            raise EngineGone(f"{'silent for' if ready else 'not ready after'} {patience:.0f} s") from None
        # Before it is ready, signs of life don't count: it must get ready in time.
        if (ready and not isinstance(message, Wake)) or isinstance(message, messages.Ready):
            self._heard = monotonic()
        return message

    def _store(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do this in the application, again and again while the database cannot take it."""
        while True:
            with self.app.app_context():
                try:
                    return work(*args)
                except OperationalError as error:
                    db.session.rollback()
                    log.error("The database is asked again in %.1f s: %s", DATABASE_DELAY, error.orig)
            gevent.sleep(DATABASE_DELAY)

    def _named(self) -> AbstractContextManager[None]:
        """What is logged inside carries the name of the request whose task is under way."""
        return request_ids.after(self._task and self._task.request_id)

    def _hold(self, task: Task | None) -> None:
        """Note which task is under way."""
        self._task, self._pictures, self._percent = task, {}, 0
        (self._idle.clear if task else self._idle.set)()

    def _take(self, message: messages.Message) -> None:
        """Act on one message."""
        if isinstance(message, messages.Ready):
            log.info("The engine is ready: %s, torch %s", message.device, message.torch)
            self.ready.set()
        elif isinstance(message, messages.Beat):
            self.beat = message
            self._judge(message)
        elif isinstance(message, messages.Seen):
            self.inspections.answer(message)
        elif self._task is None or getattr(message, "task_id", None) != self._task.task_id:
            return
        elif isinstance(message, messages.Progressed):
            self._percent = message.percent
            progress = {"percent": message.percent, "message": message.message, "preview": message.preview}
            progress |= {"step": message.step, "steps": message.steps}
            signals.send(signals.task_progressed, self.app, task_id=message.task_id, **progress)
        elif isinstance(message, messages.PictureDone):
            self._keep(message)
        elif isinstance(message, messages.Ended):
            self._end(self._task, message)

    def _judge(self, beat: messages.Beat) -> None:
        """End an engine that does not get on.

        Raises:
            EngineStuck: it did not.
        """
        config = self.app.config
        allowed = [config["ENGINE_LOAD_PATIENCE" if at == "load" else "ENGINE_STEP_PATIENCE"] for at in beat.stages]
        if self.ready.is_set() and allowed and beat.still >= max(allowed):
            if self.engine is not None:
                self.engine.kill()
            raise EngineStuck(f"stuck for {beat.still:.0f} s at: {', '.join(beat.stages)}")

    def _keep(self, done: messages.PictureDone) -> None:
        path = outputs.below(done.path)
        self._pictures[done.index] = path
        told = {"width": done.width, "height": done.height, "prompt_tokens": done.prompt_tokens}
        signals.send(
            signals.picture_done, self.app, task_id=done.task_id, index=done.index, path=path, seed=done.seed, **told
        )

    def _end(self, task: Task, ended: messages.Ended) -> None:
        pictures = [self._pictures[index] for index in sorted(self._pictures)]
        queue.end(
            task.task_id,
            STATUSES[ended.outcome],
            ended.seconds,
            progress=self._percent,
            result=pictures,
            pictures_done=len(pictures),
            error=ended.error,
            failure=ended.cause,
            notes=ended.notes,
            drawn_with=ended.drawn_with | {"version": VERSION},
        )
        self._hold(None)
        self._delay = FIRST_DELAY

    def _next_draw(self) -> messages.Draw | None:
        """Claim the next task."""
        while (task := queue.claim()) is not None:
            if task.stop_asked:
                queue.end(task.task_id, STOPPED)
            elif task.attempts > MOST_ATTEMPTS:
                queue.end(task.task_id, FAILED, error=too_often("with its server"), failure="engine")
            else:
                break
        self._hold(task)
        if task is None:
            return None
        paths = [str(outputs.folder() / path) for path in task.files or ()]
        config = self.app.config
        return messages.Draw(
            task.task_id,
            task.req_params,
            paths,
            task.checkpoint,
            task.notes,
            log=not config["DISABLE_IMAGE_LOG"],
            inputs=str(config["INPUT_PATH"]),
            request_id=task.request_id or request_ids.NONE,
        )


runner = Extension("fooocus-runner", Runner)
"""It starts when serving begins, or with the first task."""


@signals.task_submitted.connect
def wake(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    runner.of(app).wake()


@signals.queue_resumed.connect
@signals.files_arrived.connect
def go_on(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    runner.of(app).wake()


def too_often(reason: str) -> str:
    """Why a task failed that no engine survived."""
    return f"The engine process was lost {MOST_ATTEMPTS} times while it drew this task, the last time: {reason}"


def arguments(app: Flask) -> list[str]:
    """The engine process's command line."""
    threads = app.config["ENGINE_THREADS"]
    places = ["--folders", folders.of(app).to_json(), "--hashes", str(Path(app.instance_path) / HASHES)]
    places += ["--kernels", str(Path(app.instance_path) / KERNELS)]
    shortest = min(app.config[name] for name in ("ENGINE_SILENCE", "ENGINE_STEP_PATIENCE", "ENGINE_LOAD_PATIENCE"))
    beat = ["--beat", str(shortest / BEATS)]
    rehash = app.config["REBUILD_HASH_CACHE"]
    more = [*(["--threads", str(threads)] if threads else []), *(["--rehash", str(rehash)] if rehash else [])]
    plan = app.config["MEMORY_PLAN"]
    return [*places, *beat, *more, *(["--memory-plan", plan] if plan else [])]
