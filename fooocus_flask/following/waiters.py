"""Clients that wait for a task's end: each is handed the ended task when it comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import gevent
from flask import Flask
from gevent.event import AsyncResult

from fooocus_flask import signals
from fooocus_flask.database import db
from fooocus_flask.errors import FooocusError
from fooocus_flask.extension import Extension
from fooocus_flask.tables import Task
from fooocus_flask.tasks import queue

TURNS = 2
"""Turns that others get first: what was just queued is claimed in one, and sent to an engine in the next."""
STOPPING = "The server is stopping; the task is kept and goes on when it starts again"


def _nobody(app: Flask) -> defaultdict[str, set[AsyncResult[Task | None]]]:
    return defaultdict(set)


waiting = Extension("fooocus-waiters", _nobody)
"""Who waits for each task, by task id."""


def wait(task_id: str) -> Task:
    """The task, once it has ended; the database session is given up meanwhile.

    Raises:
        TaskNotFound: there is no such task.
        FooocusError: the server stops before the task ends.
    """
    everybody, came = waiting.current(), AsyncResult()
    everybody[task_id].add(came)
    try:
        for _ in range(TURNS):
            gevent.sleep(0)
        if not (task := queue.find(task_id)).ended:
            db.session.remove()
            task = came.get() or queue.find(task_id)
    finally:
        everybody[task_id].discard(came)
        if not everybody[task_id]:
            del everybody[task_id]
    if not task.ended:
        raise FooocusError(STOPPING, status=503)
    return task


@signals.task_ended.connect
def wake(app: Flask, task: Task, **_: Any) -> None:
    """Tell those who wait for this task."""
    for came in waiting.of(app).get(task.task_id, ()):
        came.set(task)


def close(app: Flask, sparing: Collection[str] = ()) -> None:
    """Send everybody away, but those who wait for some tasks."""
    for task_id, group in waiting.of(app).items():
        for came in group if task_id not in sparing else ():
            came.set(None)
