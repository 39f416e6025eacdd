"""What an engine says of the tasks that it draws: sent as signals, and recorded in the database at a task's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flask import Flask
from gevent.event import Event

from engine import messages
from fooocus_flask import request_ids, signals
from fooocus_flask.pictures import outputs
from fooocus_flask.runner.attempts import MOST_ATTEMPTS, too_often
from fooocus_flask.runner.database_retry import until_stored
from fooocus_flask.runner.uploads import not_uploaded, uploads
from fooocus_flask.tables import FAILED, FINISHED, STOPPED, Task
from fooocus_flask.tasks import failures, queue
from fooocus_flask.version import VERSION

STATUSES = {"finished": FINISHED, "stopped": STOPPED, "failed": FAILED}


@dataclass
class DrawnTask:
    """A task that the engine draws, and what it has said of it: paths of pictures by number, and the percentage."""

    task: Task
    pictures: dict[int, str] = field(default_factory=dict)
    percent: int = 0

    @property
    def paths(self) -> list[str]:
        """Those of all its pictures that lie there, an earlier attempt's first."""
        return [*dict.fromkeys([*(self.task.result or ()), *self.pictures.values()])]


class TaskRecorder:
    """The tasks that one lane's engine draws now; several are drawn as one batch.

    `changed` is called when they are others than before.
    """

    def __init__(self, app: Flask, changed: Callable[[], object]) -> None:
        self.app, self._changed = app, changed
        self.idle = Event()
        """Set while there are none."""
        self.idle.set()
        self._drawn: dict[str, DrawnTask] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """The tasks' ids, the first task's first."""
        return tuple(self._drawn)

    def request_id(self, task_id: str | None = None) -> str | None:
        """The request that a task came with; without a task's id the first task's request."""
        drawn = self._drawn.get(task_id or next(iter(self._drawn), ""))
        return drawn.task.request_id if drawn else None

    def hold(self, *tasks: Task) -> None:
        """Take these for the tasks that are drawn now, in place of all others."""
        self._drawn = {task.task_id: DrawnTask(task) for task in tasks}
        (self.idle.clear if tasks else self.idle.set)()
        self._changed()

    def give_back(self) -> None:
        """Give the tasks back to the queue, without an attempt counted."""
        if self._drawn:
            with self.app.app_context():
                for task_id in self.ids:  # one may end meanwhile
                    queue.give_back(task_id)
            self.hold()

    def let_go(self, reason: str) -> None:
        """Leave the tasks to the next free lane; a task that was tried often enough fails for this reason."""
        under_way = uploads.of(self.app)
        for task in [drawn.task for drawn in self._drawn.values()]:
            if task.attempts >= MOST_ATTEMPTS:
                with request_ids.after(task.request_id):
                    under_way.end(task.task_id, partial(self._fail, task, too_often(reason)))
            else:
                under_way.forget(task.task_id)
        self.hold()

    def take(self, message: messages.Message) -> None:
        """Act on a message about one of the tasks; any other message is dropped."""
        drawn = self._drawn.get(getattr(message, "task_id", ""))
        if drawn is None:
            return
        if isinstance(message, messages.Progressed):
            self._progress(drawn, message)
        elif isinstance(message, messages.PictureDone):
            self._keep(drawn, message)
        elif isinstance(message, messages.Ended):
            self._end(drawn, message)

    def _progress(self, drawn: DrawnTask, progressed: messages.Progressed) -> None:
        drawn.percent = progressed.percent
        signals.send(
            signals.task_progressed,
            self.app,
            task_id=progressed.task_id,
            percent=progressed.percent,
            message=progressed.message,
            preview=progressed.preview,
            step=progressed.step,
            steps=progressed.steps,
        )

    def _keep(self, drawn: DrawnTask, done: messages.PictureDone) -> None:
        path = outputs.below(done.path)
        drawn.pictures[done.index] = path
        uploads.of(self.app).begin(done.task_id, path)
        signals.send(
            signals.picture_done,
            self.app,
            task_id=done.task_id,
            index=done.index,
            path=path,
            seed=done.seed,
            width=done.width,
            height=done.height,
            prompt_tokens=done.prompt_tokens,
            paths=drawn.paths,
        )

    def _end(self, drawn: DrawnTask, ended: messages.Ended) -> None:
        task, pictures = drawn.task, [drawn.pictures[index] for index in sorted(drawn.pictures)]
        values = {
            "progress": drawn.percent,
            "result": pictures,
            "pictures_done": len(pictures),
            "notes": ended.notes,
            "drawn_with": ended.drawn_with | {"version": VERSION},
        }
        uploads.of(self.app).end(task.task_id, lambda failed: self._record(task, ended, failed, values))
        del self._drawn[task.task_id]
        if not self._drawn:
            self.hold()

    def _record(self, task: Task, ended: messages.Ended, failed: Mapping[str, str], values: dict[str, Any]) -> None:
        """End the task in the database; a task whose pictures were not all uploaded has failed."""
        status, error, failure = STATUSES[ended.outcome], ended.error, ended.cause
        if failed and status != FAILED:
            status, error, failure = FAILED, not_uploaded(failed), failures.STORAGE
        with request_ids.after(task.request_id):
            until_stored(
                self.app,
                lambda: queue.end(task.task_id, status, ended.seconds, error=error, failure=failure, **values),
            )

    def _fail(self, task: Task, error: str, _: Mapping[str, str]) -> None:
        """End a task in the database that no engine survived, whatever became of its pictures."""
        until_stored(self.app, lambda: queue.end(task.task_id, FAILED, error=error, failure="engine"))
