"""Reading and clearing the tasks in the database, and keeping a running task's row up to date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, TypeVarTuple

import gevent
from flask import Flask
from sqlalchemy import Select, delete, func, select

from fooocus_flask import outputs, signals, tasks
from fooocus_flask.database import db
from fooocus_flask.tables import ENDED, PENDING, RUNNING, Task

Moment = dt.datetime | None
Columns = TypeVarTuple("Columns")
VARIABLES = 500
"""Values in one statement, well below SQLite's limit."""


@signals.picture_done.connect
def note_picture(app: Flask, task_id: str, path: str, **_: Any) -> None:
    """Keep a picture in its task's row as soon as it lies there."""
    task = db.session.scalar(select(Task).where(Task.task_id == task_id, Task.task_status == RUNNING))
    if task is not None and path not in (task.result or ()):
        task.result = [*(task.result or ()), path]
        task.pictures_done = len(task.result)
    tasks.commit()


def ended(page: int, page_size: int, start: Moment = None, end: Moment = None) -> tuple[Sequence[Task], int]:
    """A page of ended tasks and how many there are: newest first, or with a range oldest first."""
    chosen = _queued_between(select(Task).where(Task.task_status.in_(ENDED)), start, end)
    order = Task.id if start else Task.id.desc()
    return _page(chosen.order_by(order), page, page_size), _count(chosen)


def pending(page: int, page_size: int) -> tuple[Sequence[Task], int]:
    """A page of waiting tasks, the next one first, and how many there are."""
    chosen = select(Task).where(Task.task_status == PENDING)
    return _page(chosen.order_by(Task.rank, Task.id), page, page_size), _count(chosen)


def running() -> Task | None:
    """The task that is drawn now."""
    return db.session.scalar(select(Task).where(Task.task_status == RUNNING).limit(1))


def clear(start: Moment, end: Moment) -> tuple[int, int]:
    """Delete the ended tasks queued in this range and their pictures: how many tasks, how many files."""
    chosen = _queued_between(select(Task.id, Task.result).where(Task.task_status.in_(ENDED)), start, end)
    return _clear([(row.id, row.result) for row in db.session.execute(chosen)])


def clear_one(task: Task) -> tuple[int, int]:
    """Delete this ended task and its pictures."""
    return _clear([(task.id, task.result)])


def _clear(rows: list[tuple[int, list[str] | None]]) -> tuple[int, int]:
    ids = [id for id, _ in rows]
    for first in range(0, len(ids), VARIABLES):
        db.session.execute(delete(Task).where(Task.id.in_(ids[first : first + VARIABLES])))
    tasks.commit()
    paths = [outputs.folder() / path for _, result in rows for path in result or ()]
    return len(rows), gevent.get_hub().threadpool.apply(outputs.remove, (paths,))


def _queued_between(chosen: Select[*Columns], start: Moment, end: Moment) -> Select[*Columns]:
    if start:
        chosen = chosen.where(Task.in_queue_mills >= int(start.timestamp() * 1000))
    if end:
        chosen = chosen.where(Task.in_queue_mills <= int(end.timestamp() * 1000))
    return chosen


def _page(chosen: Select[Any], page: int, page_size: int) -> Sequence[Task]:
    return db.session.scalars(chosen.limit(page_size).offset(page * page_size)).all()


def _count(chosen: Select[Any]) -> int:
    return db.session.scalar(select(func.count()).select_from(chosen.with_only_columns(Task.id).subquery())) or 0
