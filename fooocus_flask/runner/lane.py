"""A lane: one engine that is kept running, and the tasks it draws.

Should the engine's process die, another one is started, and whichever lane is free first draws its tasks again.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from flask import Flask

from engine import messages
from engine.files.catalogue import Catalogue
from fooocus_flask import request_ids
from fooocus_flask.clock import mills
from fooocus_flask.model_files.folders import folders
from fooocus_flask.runner.database_retry import until_stored
from fooocus_flask.runner.engine_supervisor import EngineSupervisor, StartEngine
from fooocus_flask.runner.inspections import EngineAway, Inspections
from fooocus_flask.runner.task_recorder import TaskRecorder
from fooocus_flask.runner.worker import DRAWING, Worker, checkpoint_name
from fooocus_flask.tables import Task


class Lane:
    """The engine that `start_engine` starts, and the task that it draws; or several tasks, drawn as one batch.

    Metrics and logs call the lane `name`; it calls `changed` when it may have become free, or is so no longer. Only the
    dispatcher gives it tasks.
    """

    def __init__(self, app: Flask, name: str, start_engine: StartEngine, changed: Callable[[], object]) -> None:
        self.app, self.name, self.machine = app, name, platform.node()
        self.supervisor = EngineSupervisor(app, name, start_engine, self)
        self.tasks = TaskRecorder(app, self._changed)
        self.inspections = Inspections()
        self.ready, self.idle = self.supervisor.ready, self.tasks.idle
        """Set while the engine takes tasks, and while it draws none."""
        self.checkpoints: tuple[str | None, ...] = ()
        """What it drew with last, as tasks name it: None is the built-in model; nothing if it has drawn nothing."""
        self.used = 0.0
        """When it was given a task last, by a clock that only grows."""
        self._announce = changed
        self._since, self._since_mills = ("", ""), mills()

    @property
    def task_id(self) -> str | None:
        """The task that is drawn now; the first one of a batch."""
        return next(iter(self.tasks.ids), None)

    @property
    def request_id(self) -> str | None:
        """The request whose task is drawn now."""
        return self.tasks.request_id()

    @property
    def free(self) -> bool:
        """Whether it would draw a task at once."""
        return bool(self.ready.is_set() and self.idle.is_set())

    @property
    def state(self) -> str:
        """`ready` where tasks are taken; else why they wait: `starting`, `stuck` or `unusable`."""
        return self.supervisor.state

    @property
    def activity(self) -> str:
        """The state of its worker: `drawing`, or the lane's state."""
        return DRAWING if self.task_id and self.ready.is_set() else self.state

    @property
    def worker(self) -> Worker:
        """What whoever runs the service can read of it."""
        beat, catalogue = self.supervisor.beat or messages.Beat(), Catalogue(folders.of(self.app))
        return Worker(
            self.name,
            self.machine,
            self.supervisor.device or None,
            self.activity,
            self._since_mills,
            self.task_id,
            next((checkpoint_name(catalogue, path) for path in self.checkpoints), None),
            beat.resident,
            beat.gpu,
        )

    def has(self, checkpoint: str | None) -> bool:
        """Whether the engine's machine has this checkpoint's file; this machine has every file that a task names."""
        return True

    def give(self, task: Task, draw: messages.Draw) -> None:
        """Have a task drawn; only a free lane may be given one."""
        self.give_together([task], [draw])

    def give_together(self, tasks: Sequence[Task], draws: Sequence[messages.Draw]) -> None:
        """Have several tasks drawn as one batch; only a free lane may be given them."""
        self.tasks.hold(*tasks)
        self.checkpoints, self.used = (tasks[0].checkpoint,), monotonic()
        for draw in draws:
            self.supervisor.send(draw)

    def unload(self) -> None:
        """Have the engine drop its models after the task under way; an engine that does not run has none."""
        self.supervisor.send(messages.Unload())
        self.checkpoints = ()

    def inspect(self, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have the engine look at a picture's file, beside whatever it draws; `messages.Look` says what it can see.

        Raises:
            FooocusError: the engine saw nothing; the error's status says why.
        """
        if self.supervisor.engine is None:
            raise EngineAway("The engine is not ready")
        return self.inspections.take(self.supervisor.engine, purpose, options, picture)

    def take(self, message: messages.Message) -> None:
        """Act on a message of the engine's; the log names the request of the task that the message is about."""
        with request_ids.after(self.tasks.request_id(getattr(message, "task_id", None))):
            until_stored(self.app, self._take, message)

    def engine_ready(self) -> None:
        """Tell the runner that tasks are taken from now on."""
        self._changed()

    def engine_gone(self) -> None:
        """Tell the runner, and the clients who wait for the engine to look at pictures, that the engine is gone."""
        self.checkpoints = ()
        self._changed()
        self.inspections.give_up()

    def engine_ended(self, reason: str) -> None:
        """Let the tasks go, for no process draws them any more."""
        self.tasks.let_go(reason)

    def _take(self, message: messages.Message) -> None:
        if isinstance(message, messages.Seen):
            self.inspections.answer(message)
        else:
            self.tasks.take(message)

    def _changed(self) -> None:
        """Note since when the lane does what it does now, and have the runner look at it."""
        now = (self.activity, self.task_id or "")
        if now != self._since:
            self._since, self._since_mills = now, mills()
        self._announce()
