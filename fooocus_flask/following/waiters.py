"""Clients that wait for a task's end: one event each, set when it comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from flask import Flask
from gevent.event import Event

from fooocus_flask import signals
from fooocus_flask.database import db
from fooocus_flask.errors import FooocusError
from fooocus_flask.extension import Extension
from fooocus_flask.tables import Task
from fooocus_flask.tasks import queue

STOPPING = "The server is stopping; the task is kept and goes on when it starts again"


def _nobody(app: Flask) -> defaultdict[str, set[Event]]:
    return defaultdict(set)


waiting = Extension("fooocus-waiters", _nobody)
"""Who waits for each task, by task id."""


def wait(task_id: str) -> Task:
    """The task, once it has ended; the database session is given up meanwhile.

    Raises:
        TaskNotFound: there is no such task.
        FooocusError: the server stops before the task ends.
    """
    events, came = waiting.current(), Event()
    events[task_id].add(came)
    try:
        if not (task := queue.find(task_id)).ended:
            db.session.remove()
            came.wait()
            task = queue.find(task_id)
    finally:
        events[task_id].discard(came)
        if not events[task_id]:
            del events[task_id]
    if not task.ended:
        raise FooocusError(STOPPING, status=503)
    return task


@signals.task_ended.connect
def wake(app: Flask, task: Task, **_: Any) -> None:
    """Tell those who wait for this task."""
    for came in waiting.of(app).get(task.task_id, ()):
        came.set()


def close(app: Flask, sparing: Collection[str] = ()) -> None:
    """Send everybody away, but those who wait for some tasks."""
    for task_id, group in waiting.of(app).items():
        for came in group if task_id not in sparing else ():
            came.set()
