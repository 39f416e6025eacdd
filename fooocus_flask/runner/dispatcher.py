"""The dispatcher: it claims the queue's tasks, one after another, and chooses the lane that draws each.

Nothing else claims tasks, however many lanes are free.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import monotonic

from flask import Flask
from gevent.lock import BoundedSemaphore

from engine import messages
from fooocus_flask import request_ids
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.pictures import outputs
from fooocus_flask.pictures.storage import storage
from fooocus_flask.runner.attempts import MOST_ATTEMPTS, too_often
from fooocus_flask.runner.lane import Lane
from fooocus_flask.runner.uploads import uploads
from fooocus_flask.tables import FAILED, STOPPED, Task
from fooocus_flask.tasks import queue

log = logging.getLogger(__name__)

UNREADABLE = "The task's parameters are of another version of this program and cannot be read; send the request again"


class Dispatcher:
    """Gives the tasks of one application's queue to `lanes`: the runner's own list, in which lanes come and go."""

    def __init__(self, app: Flask, lanes: Sequence[Lane]) -> None:
        self.app, self._lanes = app, lanes
        self.draining = False
        """Set once no more tasks are begun, for the server stops."""
        self._claiming = BoundedSemaphore(1)
        self._head: int | None = None
        self._head_since = 0.0

    @property
    def task_ids(self) -> frozenset[str]:
        """The tasks that are drawn now, or end once their pictures are in the bucket."""
        return uploads.of(self.app).task_ids.union(*(lane.tasks.ids for lane in self._lanes))

    def lane_of(self, task_id: str) -> Lane | None:
        """The lane that draws a task."""
        with self._claiming:  # a task that is being claimed has its lane afterwards
            return next((lane for lane in self._lanes if task_id in lane.tasks.ids), None)

    def assign_all(self) -> None:
        """Give tasks to lanes as long as there are both."""
        while self._free() and self._assign():
            pass

    def _free(self) -> list[Lane]:
        """The lanes that may be given a task."""
        return [] if self.draining else [lane for lane in self._lanes if lane.free]

    def _assign(self) -> bool:
        """Give the next task to a lane; whether there was one."""
        with self._claiming:
            task = self._claim()
            if task is None:
                return False
            tasks = [task, *self._others(task)]
            free = self._free()
            if not free:  # the last one's engine died meanwhile
                for each in tasks:
                    queue.give_back(each.task_id)
                return False
            lane = min(free, key=partial(aptness, task))
            draws = [replace(draw_message(self.app, each), together=len(tasks)) for each in tasks]
            if len(self._lanes) > 1:
                log.info("The lane %s draws %s", lane.name, ", ".join(each.task_id for each in tasks))
            if len(tasks) == 1:
                lane.give(task, draws[0])
            else:
                lane.give_together(tasks, draws)
        return True

    def _claim(self) -> Task | None:
        """The next task to draw: one left in the middle, which no lane draws, else one that waits."""
        while (task := queue.claim(*self._preference(), drawn=self.task_ids)) is not None:
            if task.stop_asked:
                queue.end(task.task_id, STOPPED)
            elif task.files is None:
                queue.end(task.task_id, FAILED, error=UNREADABLE, failure="engine")
            elif task.attempts > MOST_ATTEMPTS:
                queue.end(task.task_id, FAILED, error=too_often("with its server"), failure="engine")
            else:
                break
        return task

    def _others(self, task: Task) -> list[Task]:
        """The tasks, now running too, that are drawn as one batch with this one: as many as BATCH_TASKS admits.

        None while another lane is free, and none with a task that an engine did not survive, which its batch may have
        caused. The engines of a fleet, and Fooocus as an engine, draw one task at a time.
        """
        most = self.app.config["BATCH_TASKS"]
        alone = self.app.config["FLEET"] or checkout.of(self.app) is not None or len(self._free()) > 1
        if most < 2 or alone or task.attempts > 1:
            return []
        return queue.claim_alike(task, most - 1)

    def _preference(self) -> tuple[frozenset[str | None], float]:
        """The checkpoints that free lanes hold, and how many seconds before its turn a task goes first that wants one.

        None once other tasks have gone before the first task in the queue for so long.
        """
        seconds = self.app.config["AFFINITY_SECONDS"]
        if len(self._lanes) == 1 or not seconds:
            return frozenset(), 0.0
        head = queue.head()
        if head != self._head:
            self._head, self._head_since = head, monotonic()
        if monotonic() - self._head_since >= seconds:
            return frozenset(), 0.0
        return frozenset(name for lane in self._free() for name in lane.checkpoints), seconds


def aptness(task: Task, lane: Lane) -> tuple[bool, bool, bool, float]:
    """A key that is least for the lane that a task should go to: the lane holds its checkpoint, or its machine has the
    file, or it holds nothing, or was long unused."""
    return task.checkpoint not in lane.checkpoints, not lane.has(task.checkpoint), bool(lane.checkpoints), lane.used


def draw_message(app: Flask, task: Task) -> messages.Draw:
    """The message that has an engine draw a task."""
    return messages.Draw(
        task.task_id,
        task.req_params,
        [str(outputs.folder() / path) for path in task.files or ()],
        task.checkpoint,
        task.notes,
        log=not app.config["DISABLE_IMAGE_LOG"] and not storage.of(app).remote,
        inputs=str(app.config["INPUT_PATH"]),
        request_id=task.request_id or request_ids.NONE,
    )
