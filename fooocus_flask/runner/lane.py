"""A lane: one engine process that is kept running, and the task it draws.

Should the process die, another is started, and its task is drawn again, by whichever lane is free first.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import gevent
from flask import Flask
from gevent.event import Event
from gevent.queue import Empty, Queue
from sqlalchemy.exc import OperationalError

from engine import messages
from engine.files.catalogue import Catalogue
from fooocus_flask import request_ids, signals
from fooocus_flask.clock import mills
from fooocus_flask.database import db
from fooocus_flask.model_files.folders import folders
from fooocus_flask.pictures import outputs
from fooocus_flask.runner.inspections import EngineAway, Inspections
from fooocus_flask.runner.link import EngineLink
from fooocus_flask.runner.uploads import not_uploaded, uploads
from fooocus_flask.runner.worker import DRAWING, Worker, checkpoint_name
from fooocus_flask.tables import FAILED, FINISHED, STOPPED, Task
from fooocus_flask.tasks import failures, queue
from fooocus_flask.version import VERSION

log = logging.getLogger(__name__)

STATUSES = {"finished": FINISHED, "stopped": STOPPED, "failed": FAILED}
MOST_ATTEMPTS = 3
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a dead engine is started again; doubled while it dies without having drawn anything."""
DATABASE_DELAY = 1.0
"""Seconds before the database is asked again that was locked, or whose disk was full."""


class EngineGone(Exception):
    """The engine process ended, or never got ready."""

    state = "starting"
    """What `Lane.state` is until another one is ready."""


class EngineStuck(EngineGone):
    """The engine lives, and does not get on."""

    state = "stuck"


@dataclass(frozen=True)
class Command:
    """What the engine is to be told, in its turn."""

    message: messages.Message


Mail = messages.Message | Command | None
Result = TypeVar("Result")


@dataclass
class Held:
    """A task that the engine draws, and what it has said of it: paths of pictures by number, and how far it is."""

    task: Task
    pictures: dict[int, str] = field(default_factory=dict)
    percent: int = 0


class Lane:
    """One engine process after another, started by `start_engine`, and the task that the present one draws.

    It may be several tasks that are drawn as one batch.

    `name` is what metrics and logs call it; `changed` is called when it may have become free, or is so no longer. Only
    the runner gives it tasks.
    """

    def __init__(
        self,
        app: Flask,
        name: str,
        start_engine: Callable[[Callable[[messages.Message | None], object]], EngineLink],
        changed: Callable[[], object],
    ) -> None:
        self.app, self.name = app, name
        self.ready = Event()
        self.idle = Event()
        self.idle.set()
        self.engine: EngineLink | None = None
        self.beat: messages.Beat | None = None
        self.machine, self.device = platform.node(), ""
        self.checkpoints: tuple[str | None, ...] = ()
        """What it drew with last, as tasks name it: None is the built-in model; nothing if it has drawn nothing."""
        self.used = 0.0
        """When it was given a task last, by a clock that only grows."""
        self.inspections = Inspections()
        self._start_engine, self._announce = start_engine, changed
        self._mail: Queue[Mail] = Queue()
        self._held: dict[str, Held] = {}
        self._delay = FIRST_DELAY
        self._heard = 0.0
        self._awaited = EngineGone.state
        self._told, self._since = ("", ""), mills()
        self._retired = Event()
        self.greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Start the engine process, and keep one running."""
        self.greenlet = gevent.spawn(self._supervise)

    def leave(self) -> None:
        """Give what is under way back to the queue, for the server stops; the engine is ended by the runner."""
        if self._held:
            with self.app.app_context():
                for task_id in self.task_ids:  # one may end meanwhile
                    queue.give_back(task_id)
            self._hold()

    def retire(self, ended: Callable[[], object]) -> None:
        """Keep no engine running any more, for there will be none; `ended` is called once its task is let go."""
        self._retired.set()
        self._mail.put(None)
        if self.greenlet is not None:
            self.greenlet.link(lambda _: ended())

    @property
    def retired(self) -> bool:
        """Whether there will be no engine any more."""
        return bool(self._retired.is_set())

    @property
    def task_id(self) -> str | None:
        """The task that is drawn now; of several the first."""
        return next(iter(self._held), None)

    @property
    def task_ids(self) -> frozenset[str]:
        """The tasks that are drawn now."""
        return frozenset(self._held)

    @property
    def free(self) -> bool:
        """Whether it would draw a task at once."""
        return self.ready.is_set() and not self._held

    @property
    def state(self) -> str:
        """`ready` where tasks are taken; else why they wait: `starting` or `stuck`."""
        return "ready" if self.ready.is_set() else self._awaited

    @property
    def activity(self) -> str:
        """What it is at, as whoever runs the service is told."""
        return DRAWING if self.task_id and self.ready.is_set() else self.state

    @property
    def worker(self) -> Worker:
        """What whoever runs the service is told of it."""
        beat, catalogue = self.beat or messages.Beat(), Catalogue(folders.of(self.app))
        return Worker(
            self.name,
            self.machine,
            self.device or None,
            self.activity,
            self._since,
            self.task_id,
            next((checkpoint_name(catalogue, path) for path in self.checkpoints), None),
            beat.resident,
            beat.gpu,
        )

    def has(self, checkpoint: str | None) -> bool:
        """Whether the engine finds this checkpoint's file where it is; one of this machine always does."""
        return True

    def give(self, task: Task, draw: messages.Draw) -> None:
        """Have a task drawn; only a free lane may be given one."""
        self.give_together([task], [draw])

    def give_together(self, tasks: Sequence[Task], draws: Sequence[messages.Draw]) -> None:
        """Have several tasks drawn as one batch; only a free lane may be given them."""
        self._hold(*tasks)
        self.checkpoints, self.used = (tasks[0].checkpoint,), monotonic()
        for draw in draws:
            self._mail.put(Command(draw))

    def tell(self, message: messages.Message) -> bool:
        """Tell the engine something, after all that it was told before; whether there is one."""
        if self.engine is None:
            return False
        self._mail.put(Command(message))
        return True

    def unload(self) -> None:
        """Have the engine drop its models, after the task under way; one that does not run has none."""
        self.tell(messages.Unload())
        self.checkpoints = ()

    def inspect(self, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have the engine look at a picture's file, beside whatever it draws; see `messages.Look`.

        Raises:
            FooocusError: nothing came of it; the status tells why.
        """
        if self.engine is None:
            raise EngineAway("The engine is not ready")
        return self.inspections.take(self.engine, purpose, options, picture)

    def _supervise(self) -> None:
        """Keep an engine running, whatever happens to it."""
        while not self._retired.is_set():
            self._mail, self._heard = Queue(), monotonic()
            try:
                self.engine = self._start_engine(self._mail.put)
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
                self.beat, self.checkpoints = None, ()
                engine, self.engine = self.engine, None
                self._changed()
                if engine is not None:  # there may have been no room for another process
                    engine.close()
                self.inspections.give_up()
            self._let_go(reason)
            self._retired.wait(self._delay)
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _let_go(self, reason: str) -> None:
        """Leave what is under way to the next free lane, unless it has been tried often enough."""
        under_way = uploads.of(self.app)
        for task in [held.task for held in self._held.values()]:
            if task.attempts >= MOST_ATTEMPTS:
                with request_ids.after(task.request_id):
                    under_way.end(task.task_id, self._failing(task, too_often(reason)))
            else:
                under_way.forget(task.task_id)
        self._hold()

    def _failing(self, task: Task, error: str) -> Callable[[Mapping[str, str]], None]:
        """What ends a task that no engine survived."""

        def fail(_: Mapping[str, str]) -> None:
            """End it."""
            until_stored(self.app, lambda: queue.end(task.task_id, FAILED, error=error, failure="engine"))

        return fail

    def _attend(self, engine: EngineLink) -> None:
        """Hear the engine, and tell it what it is to be told.

        Raises:
            EngineGone: it ended, or is stuck.
        """
        while True:
            message = self._next_message()
            if message is None:
                raise EngineGone(engine.reason())
            if isinstance(message, Command):
                self._send(engine, message.message)
                continue
            with self._named(getattr(message, "task_id", None)):
                until_stored(self.app, self._take, message)

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
        if (ready and not isinstance(message, Command)) or isinstance(message, messages.Ready):
            self._heard = monotonic()
        return message

    def _send(self, engine: EngineLink, message: messages.Message) -> None:
        """Tell the engine something.

        Raises:
            EngineGone: it takes nothing for too long.
        """
        patience = self.app.config["ENGINE_SILENCE"]
        with gevent.Timeout(patience, EngineGone(f"took nothing for {patience:.0f} s")):
            engine.send(message)

    def _named(self, task_id: str | None = None) -> AbstractContextManager[None]:
        """What is logged inside carries the name of the request whose task is under way: this one, else the first."""
        held = self._held.get(task_id or self.task_id or "")
        return request_ids.after(held.task.request_id if held else None)

    def _hold(self, *tasks: Task) -> None:
        """Note which tasks are under way."""
        self._held = {task.task_id: Held(task) for task in tasks}
        (self.idle.clear if tasks else self.idle.set)()
        self._changed()

    def _changed(self) -> None:
        """Note since when it is as it is, and have the runner look."""
        now = (self.activity, self.task_id or "")
        if now != self._told:
            self._told, self._since = now, mills()
        self._announce()

    def _take(self, message: messages.Message) -> None:
        """Act on one message of the engine's."""
        if isinstance(message, messages.Ready):
            log.info("The engine is ready: %s, torch %s (lane %s)", message.device, message.torch, self.name)
            self.device = message.device
            self.ready.set()
            self._changed()
        elif isinstance(message, messages.Beat):
            self.beat = message
            self._judge(message)
        elif isinstance(message, messages.Seen):
            self.inspections.answer(message)
        elif (held := self._held.get(getattr(message, "task_id", ""))) is None:
            return
        elif isinstance(message, messages.Progressed):
            held.percent = message.percent
            progress = {"percent": message.percent, "message": message.message, "preview": message.preview}
            progress |= {"step": message.step, "steps": message.steps}
            signals.send(signals.task_progressed, self.app, task_id=message.task_id, **progress)
        elif isinstance(message, messages.PictureDone):
            self._keep(held, message)
        elif isinstance(message, messages.Ended):
            self._end(held, message)

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

    def _keep(self, held: Held, done: messages.PictureDone) -> None:
        path = outputs.below(done.path)
        held.pictures[done.index] = path
        uploads.of(self.app).begin(done.task_id, path)
        told = {"width": done.width, "height": done.height, "prompt_tokens": done.prompt_tokens}
        signals.send(
            signals.picture_done, self.app, task_id=done.task_id, index=done.index, path=path, seed=done.seed, **told
        )

    def _end(self, held: Held, ended: messages.Ended) -> None:
        task, pictures = held.task, [held.pictures[index] for index in sorted(held.pictures)]
        values = {
            "progress": held.percent,
            "result": pictures,
            "pictures_done": len(pictures),
            "notes": ended.notes,
            "drawn_with": ended.drawn_with | {"version": VERSION},
        }
        under_way = uploads.of(self.app)
        under_way.end(task.task_id, lambda failed: self._record(task, ended, failed, values))
        self._delay = FIRST_DELAY
        del self._held[task.task_id]
        if not self._held:
            self._hold()

    def _record(self, task: Task, ended: messages.Ended, failed: dict[str, str], values: dict[str, Any]) -> None:
        """End the task in the database; one whose pictures were not all uploaded has failed."""
        status, error, failure = STATUSES[ended.outcome], ended.error, ended.cause
        if failed and status != FAILED:
            status, error, failure = FAILED, not_uploaded(failed), failures.STORAGE
        told = {"error": error, "failure": failure, **values}
        with request_ids.after(task.request_id):
            until_stored(self.app, lambda: queue.end(task.task_id, status, ended.seconds, **told))


def until_stored(app: Flask, work: Callable[..., Result], *args: Any) -> Result:
    """What this gives, done in the application, again and again while the database cannot take it."""
    while True:
        with app.app_context():
            try:
                return work(*args)
            except OperationalError as error:
                db.session.rollback()
                log.error("The database is asked again in %.1f s: %s", DATABASE_DELAY, error.orig)
        gevent.sleep(DATABASE_DELAY)


def too_often(reason: str) -> str:
    """Why a task failed that no engine survived."""
    return f"The engine process was lost {MOST_ATTEMPTS} times while it drew this task, the last time: {reason}"
