"""Reading and clearing the tasks in the database, and keeping a running task's row up to date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVarTuple

from flask import Flask
from sqlalchemy import Row, Select, delete, func, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from fooocus_flask import signals
from fooocus_flask.access import scopes
from fooocus_flask.database import UNSYNCHRONISED, commit, db
from fooocus_flask.extension import application
from fooocus_flask.pictures import outputs, removals
from fooocus_flask.pictures.blocking import in_thread, remove
from fooocus_flask.pictures.folder_storage import OUTPUTS
from fooocus_flask.pictures.storage import storage
from fooocus_flask.pictures.thumbnails import thumbnails
from fooocus_flask.tables import ENDED, PENDING, RUNNING, Delivery, Prompt, Task
from fooocus_flask.tasks.ended_count import ended_count
from schemas.tasks import BY_TURN, NEWEST_FIRST, OLDEST_FIRST, Cursor

Moment = dt.datetime | None
Columns = TypeVarTuple("Columns")
COLUMNS: dict[str, tuple[InstrumentedAttribute[int], ...]] = {
    NEWEST_FIRST: (Task.id,),
    OLDEST_FIRST: (Task.in_queue_mills, Task.id),
    BY_TURN: (Task.rank, Task.id),
}
"""What each order sorts by."""
VARIABLES = 500
"""Values in one statement, well below SQLite's limit."""
CLEARED = (Task.id, Task.task_id, Task.key_name, Task.result)
"""What is known of a task that is deleted."""


@signals.picture_done.connect
def record_pictures(app: Flask, task_id: str, paths: Sequence[str], **_: Any) -> None:
    """Keep a running task's pictures in its row as soon as they lie there."""
    running = (Task.task_id == task_id) & (Task.task_status == RUNNING)
    change = update(Task).where(running).values(result=list(paths), pictures_done=len(paths))
    db.session.execute(change, execution_options=UNSYNCHRONISED)
    commit()


@dataclass(frozen=True)
class Filter:
    """Which tasks: queued in this range, in this state, with these words in the prompt; None: all."""

    start: Moment = None
    end: Moment = None
    status: str | None = None
    words: str | None = None


ALL = Filter()


class Page(NamedTuple):
    """Some tasks of a list; `total` is how many there are of all, where they were counted, `next` what follows."""

    tasks: Sequence[Task]
    total: int | None = None
    next: Cursor | None = None


def ended(page: int, page_size: int, wanted: Filter = ALL, after: Cursor | None = None) -> Page:
    """A page of ended tasks: newest first, or with a start oldest first; counted, or what follows a cursor."""
    if wanted.status and wanted.status not in ENDED:
        return Page([], 0)
    # Each by the index that finds them and has them in order: nothing is sorted, and no row read that isn't shown.
    over = select(Task.id) if wanted.status else select(Task.id).where(Task.finish_mills.is_not(None))
    order, chosen = OLDEST_FIRST if wanted.start else NEWEST_FIRST, _wanted(over, wanted)
    if after:
        return _after(chosen, after, page_size)
    return _page(chosen, order, page, page_size, ended_count.current().value() if wanted == ALL else None)


def pending(page: int, page_size: int, wanted: Filter = ALL, after: Cursor | None = None) -> Page:
    """A page of waiting tasks, the next one first; counted, or what follows a cursor."""
    chosen = _wanted(select(Task.id).where(Task.task_status == PENDING), wanted)
    return _after(chosen, after, page_size) if after else _page(chosen, BY_TURN, page, page_size)


def under_way(wanted: Filter = ALL) -> Sequence[Task]:
    """The tasks that are drawn now and are wanted, the one begun first before the others; a range does not count."""
    chosen = _wanted(select(Task.id).where(Task.task_status == RUNNING), replace(wanted, start=None, end=None))
    return db.session.scalars(select(Task).where(Task.id.in_(chosen)).order_by(Task.start_mills, Task.id)).all()


def running() -> Task | None:
    """The task that is drawn now, of several the one begun first."""
    return next(iter(under_way()), None)


def unfinished() -> Sequence[Row[str, int, int | None, int | None]]:
    """Id and moments of every task that runs or waits, in the order in which they are drawn."""
    columns = Task.task_id, Task.in_queue_mills, Task.start_mills, Task.finish_mills
    chosen = select(*columns).where(Task.task_status.in_((RUNNING, PENDING)))
    return db.session.execute(chosen.order_by(Task.task_status.desc(), Task.rank, Task.id)).all()


def newest() -> str | None:
    """The id of the task that was submitted last."""
    return db.session.scalar(select(Task.task_id).order_by(Task.id.desc()).limit(1))


def running_for_caller() -> Task | None:
    """The task that is drawn now, of several the first one that the caller may control; else the first of all."""
    rows = under_way()
    return next(filter(scopes.may_control, rows), next(iter(rows), None))


def clear(start: Moment, end: Moment) -> tuple[int, int]:
    """Delete the ended tasks queued in this range and their pictures: how many tasks, how many files."""
    over = select(*CLEARED).where(Task.finish_mills.is_not(None))
    return _clear(db.session.execute(_wanted(over, Filter(start, end))).all())


def clear_one(task: Task) -> tuple[int, int]:
    """Delete this ended task and its pictures."""
    return _clear([task])


def clear_beyond(most: int) -> tuple[int, int]:
    """Delete the ended tasks but for so many that ended last, and but for those that still owe a webhook."""
    beyond = ended_count.current().value() - most
    if beyond <= 0:
        return 0, 0
    owing = select(Delivery.record_id).where(Delivery.due_mills.is_not(None))
    first = select(Task.id).where(Task.finish_mills.is_not(None)).order_by(Task.finish_mills, Task.id).limit(beyond)
    return _clear(db.session.execute(select(*CLEARED).where(Task.id.in_(first), Task.id.not_in(owing))).all())


def _clear(rows: Sequence[Any]) -> tuple[int, int]:
    ids, names = [row.id for row in rows], [name for row in rows for name in row.result or ()]
    with ended_count.current().changing() as change:
        parts = [ids[first : first + VARIABLES] for first in range(0, len(ids), VARIABLES)]
        gone = [db.session.scalars(delete(Task).where(Task.id.in_(part)).returning(Task.id)).all() for part in parts]
        removals.owe(f"{OUTPUTS}/{name}" for name in names)
        commit()
        change.by = -sum(map(len, gone))
    signals.send(signals.tasks_deleted, application(), tasks=[(row.task_id, row.key_name) for row in rows])
    count = in_thread(remove, [outputs.folder() / name for name in names])
    in_thread(thumbnails.current().remove, names)
    removals.worker.current().wake()
    return len(rows), len(names) if storage.current().remote else count


def _wanted(chosen: Select[*Columns], wanted: Filter) -> Select[*Columns]:
    if wanted.start:
        chosen = chosen.where(Task.in_queue_mills >= int(wanted.start.timestamp() * 1000))
    if wanted.end:
        chosen = chosen.where(Task.in_queue_mills <= int(wanted.end.timestamp() * 1000))
    if wanted.status:
        chosen = chosen.where(Task.task_status == wanted.status)
    if wanted.words:
        chosen = chosen.join(Prompt, Prompt.record_id == Task.id)
        for word in wanted.words.lower().split():
            chosen = chosen.where(Prompt.prompt.contains(word, autoescape=True))
    return chosen


def _page(chosen: Select[Any], order: str, page: int, page_size: int, total: int | None = None) -> Page:
    """These rows, and how many there are of all; whole rows are read only for those that are on the page.

    A page beyond the middle is counted off from the end, for skipping rows takes time.
    """
    if total is None:
        total = db.session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    first = page * page_size
    length = min(page_size, total - first)
    if length <= 0:
        return Page([], total)
    if first > total / 2:
        turned = chosen.order_by(*_sorted(order, turned=True))
        rows = _whole(turned.limit(length).offset(total - first - length), order)
    else:
        rows = _whole(chosen.order_by(*_sorted(order)).limit(length).offset(first), order)
    return Page(rows, total, _place(order, rows[-1]) if rows and first + length < total else None)


def _after(chosen: Select[Any], cursor: Cursor, page_size: int) -> Page:
    """The rows that follow a cursor, found by an index: the last page takes no longer than the first."""
    columns = COLUMNS[cursor.order]
    beyond = (
        columns[0] < cursor.values[0] if cursor.order == NEWEST_FIRST else tuple_(*columns) > tuple_(*cursor.values)
    )
    rows = _whole(chosen.where(beyond).order_by(*_sorted(cursor.order)).limit(page_size + 1), cursor.order)
    shown = rows[:page_size]
    return Page(shown, next=_place(cursor.order, shown[-1]) if len(rows) > page_size else None)


def _whole(ids: Select[Any], order: str) -> Sequence[Task]:
    return db.session.scalars(select(Task).where(Task.id.in_(ids)).order_by(*_sorted(order))).all()


def _sorted(order: str, *, turned: bool = False) -> list[Any]:
    """What to sort by, or the other way round."""
    descending = (order == NEWEST_FIRST) != turned
    return [column.desc() if descending else column for column in COLUMNS[order]]


def _place(order: str, task: Task) -> Cursor:
    return Cursor(order, tuple(getattr(task, column.key) for column in COLUMNS[order]))
