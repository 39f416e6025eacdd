"""The life of a task: pending, running, then finished, failed or stop; only forwards, and only here.

The rows are the queue. Every function needs an application context and is one transaction; its signal is sent after
its commit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from flask import current_app
from sqlalchemy import ColumnElement, func, select, update

from fooocus_flask import outputs, signals
from fooocus_flask.clock import mills
from fooocus_flask.database import db
from fooocus_flask.errors import QueueFull, TaskNotFound
from fooocus_flask.prepare import Prepared
from fooocus_flask.tables import FAILED, FINISHED, PENDING, RUNNING, STOPPED, Delivery, Task

BEFORE = {
    RUNNING: (PENDING, RUNNING),
    FINISHED: (RUNNING,),
    FAILED: (PENDING, RUNNING),
    STOPPED: (PENDING, RUNNING),
}
"""From which states a task may come; running to running is another attempt."""

SECONDS_A_TASK = 10
"""A guess for clients that are told to come back."""


def submit(prepared: Prepared, base_url: str) -> Task:
    """Put a task into the queue; `base_url` is where its webhook says its pictures are.

    Raises:
        QueueFull: QUEUE_LIMIT tasks wait already.
    """
    params = prepared.params
    _check_room()
    task = Task(
        task_id=uuid4().hex,
        req_params=params.to_dict(),
        in_queue_mills=mills(),
        task_status=PENDING,
        webhook_url=params.webhook_url or "",
        checkpoint=prepared.checkpoint,
        notes=prepared.notes,
        base_url=base_url,
    )
    db.session.add(task)
    _commit()
    signals.tell(signals.task_submitted, _app(), task=task)
    return task


def find(task_id: str) -> Task:
    """The task's row as it is now.

    Raises:
        TaskNotFound: there is none.
    """
    task = db.session.scalar(_fresh(select(Task).where(Task.task_id == task_id)))
    if task is None:
        raise TaskNotFound(task_id)
    return task


def claim() -> Task | None:
    """The next task to draw, now running: one that was left in the middle, else the oldest that waits."""
    # In this order "running" comes before "pending".
    oldest = select(Task.id).where(Task.task_status.in_(BEFORE[RUNNING])).order_by(Task.task_status.desc(), Task.id)
    task = _move(
        Task.id == oldest.limit(1).scalar_subquery(),
        RUNNING,
        start_mills=func.coalesce(Task.start_mills, mills()),
        attempts=Task.attempts + 1,
        progress=0,
    )
    if task is not None and task.files is None:
        task.files, task.result = outputs.names(task.req_params, dt.datetime.now()), []
    _commit()
    if task is not None:
        signals.tell(signals.task_started, _app(), task=task)
    return task


def give_back(task_id: str) -> None:
    """Uncount the attempt of a task that this server leaves in the middle because it stops."""
    db.session.execute(
        update(Task).where(Task.task_id == task_id, Task.task_status == RUNNING).values(attempts=Task.attempts - 1)
    )
    _commit()


def end(task_id: str, status: str, seconds: Mapping[str, float] | None = None, **values: Any) -> Task | None:
    """The task's row, now in this final state, with these columns set; None if it had ended before."""
    if status == FINISHED:
        values["progress"] = 100
    now = mills()
    task = _move(Task.task_id == task_id, status, finish_mills=now, **values)
    if task is not None:
        task.result = task.result or []
        if task.webhook_url:
            db.session.add(Delivery(record_id=task.id, url=task.webhook_url, due_mills=now))
    _commit()
    if task is not None:
        signals.tell(signals.task_ended, _app(), task=task, seconds=dict(seconds or {}))
    return task


def _move(which: ColumnElement[bool], status: str, **values: Any) -> Task | None:
    """Change one task's state if it may still change so; the caller commits."""
    change = update(Task).where(which, Task.task_status.in_(BEFORE[status])).values(task_status=status, **values)
    return db.session.scalar(_fresh(change.returning(Task)))


def _check_room() -> None:
    limit = current_app.config["QUEUE_LIMIT"]
    if limit:
        waiting = db.session.scalar(select(func.count()).select_from(Task).where(Task.task_status == PENDING)) or 0
        if waiting >= limit:
            raise QueueFull(waiting, SECONDS_A_TASK)


def _commit() -> None:
    try:
        db.session.commit()
    except Exception:
        db.session.rollback()
        raise


def _fresh(statement: Any) -> Any:
    """The statement, whose rows come from the database even where the session knows them."""
    return statement.execution_options(populate_existing=True)


def _app() -> Any:
    return current_app._get_current_object()  # type: ignore[attr-defined]
