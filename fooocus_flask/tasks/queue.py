"""The queue, and a task's states: pending, running, then finished, failed or stop; only forwards, and only here.

The rows are the queue. Every function needs an application context and is one transaction; its signal is sent after
its commit. Tasks that were begun or ended belong to no session any more: whoever is handed one may keep it, where a
rollback would take the values of its session's rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID, uuid4

from flask import current_app
from sqlalchemy import ColumnElement, Select, delete, func, null, select, update
from sqlalchemy.orm import InstrumentedAttribute

from fooocus_flask import request_ids, signals
from fooocus_flask.clock import mills
from fooocus_flask.database import FRESH, UNSYNCHRONISED, begin_write, commit, db
from fooocus_flask.errors import KeyQueueFull, QueueFull, TaskNotFound
from fooocus_flask.extension import application
from fooocus_flask.model_files.awaited_file import to_row
from fooocus_flask.pictures import outputs
from fooocus_flask.tables import (
    FAILED,
    FINISHED,
    PENDING,
    RUNNING,
    STOPPED,
    Delivery,
    Key,
    Prompt,
    RequestKey,
    Switch,
    Task,
)
from fooocus_flask.tasks import estimates
from fooocus_flask.tasks.batches import alike
from fooocus_flask.tasks.ended_count import ended_count
from fooocus_flask.tasks.new_task import ENDED_ONLY, NewTask, QueueOptions

BEFORE = {
    RUNNING: (PENDING, RUNNING),
    FINISHED: (RUNNING,),
    FAILED: (PENDING, RUNNING),
    STOPPED: (PENDING, RUNNING),
}
"""From which states a task may come; running to running is another attempt."""

SECONDS_A_TASK = 10
"""A guess for clients that are told to come back."""

PAUSED = "queue-paused"
IS_PAUSED = select(Switch.name).where(Switch.name == PAUSED).exists()


def _first(column: InstrumentedAttribute[int]) -> Select[Any]:
    """Of the tasks that could be drawn now, the first one's."""
    waiting = select(column).where(Task.task_status == PENDING, Task.downloads.is_(null()))
    return waiting.order_by(Task.rank, Task.id).limit(1)


FIRST, FIRST_RANK = _first(Task.id), _first(Task.rank)
"""Made once: SQLAlchemy takes as long to make a statement as to have it asked."""


def enqueue(new: NewTask, base_url: str, options: QueueOptions | None = None) -> Task:
    """Put a task into the queue; `base_url` is where its webhook says its pictures are.

    Raises:
        QueueFull: QUEUE_LIMIT tasks wait already.
        KeyQueueFull: as many of the client's wait as may.
        IntegrityError: another request with the same key was quicker, or a task has the id that was wished for.
    """
    params, options, now = new.params, options or QueueOptions(), mills()
    advance = int(options.priority * _priority_mills())
    task = Task(
        task_id=options.task_id or uuid4().hex,
        req_params=params.to_dict(),
        in_queue_mills=now,
        task_status=PENDING,
        webhook_url=params.webhook_url or current_app.config["WEBHOOK_URL"] or "",
        checkpoint=new.checkpoint,
        notes=new.notes,
        base_url=base_url,
        priority=options.priority,
        rank=now - advance,
        work=estimates.work(params),
        webhook_events=list(options.webhook_events),
        key_name=options.key_name,
        downloads=to_row(new.downloads),
        request_id=request_ids.current(),
        api=options.api,
    )
    try:
        begin_write()
        task.rank = max(now, _latest(options)) - advance
        db.session.add(task)
        db.session.flush()
        db.session.add(Prompt(record_id=task.id, prompt=params.prompt.lower()))
        if options.idempotency_key:
            sent = {"key": options.idempotency_key, "fingerprint": options.fingerprint}
            db.session.add(RequestKey(**sent, record_id=task.id, made_mills=now))
    except Exception:
        db.session.rollback()
        raise
    commit()
    signals.send(signals.task_submitted, application(), task=task)
    return task


def find(task_id: str) -> Task:
    """The task's row as it is now.

    Raises:
        TaskNotFound: there is none.
    """
    asked = "\0" not in task_id  # a text that PostgreSQL does not even compare
    chosen = select(Task).where(Task.task_id == task_id)
    task: Task | None = db.session.scalar(chosen, execution_options=FRESH) if asked else None
    if task is None:
        raise TaskNotFound(task_id)
    return task


def claim(
    checkpoints: Collection[str | None] = (), seconds: float = 0.0, drawn: Collection[str] | None = None
) -> Task | None:
    """The first task in the queue, now running; None if none waits, or the queue is paused.

    The first is the one of the least `rank`: the moment it was queued, so many seconds earlier or later for each
    point of priority. Whatever waits is overtaken only by tasks queued within those seconds, so nothing starves.
    One whose model files are still to come is passed over until they are there. Before the first goes one that wants
    one of these checkpoints, if its turn is at most so many seconds later.

    Any number of claimers get different tasks. One that knows of all tasks that are drawn names them as `drawn`: before
    all others it gets one that was left in the middle, which runs and is none of those, for its next attempt.
    """
    chosen: ColumnElement[Any] = FIRST.with_for_update(skip_locked=True).scalar_subquery()
    if checkpoints:
        soon = Task.rank <= FIRST_RANK.scalar_subquery() + int(seconds * 1000)
        wanted: ColumnElement[bool] = Task.checkpoint.in_([name for name in checkpoints if name is not None])
        if None in checkpoints:
            wanted |= Task.checkpoint.is_(None)
        apt = FIRST.where(soon, wanted).with_for_update(skip_locked=True)
        chosen = func.coalesce(apt.scalar_subquery(), chosen)
    may_begin = (Task.task_status == PENDING) & ~IS_PAUSED
    if drawn is None:
        return _begin((Task.id == chosen) & may_begin)
    left = _left(drawn).scalar_subquery()
    return _begin((Task.id == func.coalesce(left, chosen)) & (may_begin | (Task.id == left)), alone=not drawn)


def claim_alike(first: Task, most: int) -> list[Task]:
    """The tasks that come next in the queue, now running too, as long as they may be drawn as one batch with `first`.

    None is overtaken: the first that may not ends it.
    """
    found: list[Task] = []
    while len(found) < most and not paused():
        following = db.session.scalar(FIRST, execution_options=FRESH)
        task = None if following is None else db.session.get(Task, following)
        if task is None or task.attempts or not alike(first, task):
            break
        begun = _begin((Task.id == task.id) & (Task.task_status == PENDING))
        if begun is None:  # another claimer was quicker
            break
        found.append(begun)
    return found


def _left(drawn: Collection[str]) -> Select[Any]:
    """The first task that was left in the middle: it runs, and is none of those that are drawn."""
    return select(Task.id).where(Task.task_status == RUNNING, Task.task_id.not_in(drawn)).order_by(Task.id).limit(1)


def head() -> int | None:
    """The number of the row that comes first in the queue."""
    found: int | None = db.session.scalar(FIRST)
    return found


def _begin(which: ColumnElement[bool], *, alone: bool = False) -> Task | None:
    """The task, now running; it has no `files` where its parameters cannot be read.

    `alone` means that, if it waited, no other task runs.
    """
    again = {"start_mills": func.coalesce(Task.start_mills, mills()), "attempts": Task.attempts + 1, "progress": 0}
    task = _move(which, RUNNING, **again)
    if task is not None and task.files is None:
        task.files, task.result = _file_names(task, alone=alone and task.attempts == 1), []
        _owe(task, "started")
    commit()
    if task is not None:
        db.session.expunge(task)
        signals.send(signals.task_started, application(), task=task)
    return task


def _file_names(task: Task, *, alone: bool) -> list[str] | None:
    """Paths for the task's pictures, none of which another running task has; None where the row cannot be read."""
    try:
        params = task.params
    except (KeyError, TypeError, ValueError):  # of a version with other members
        return None
    taken = set() if alone else _taken(task)
    return outputs.names(params, dt.datetime.now(), stem=file_stem(task), taken=taken)


def _taken(task: Task) -> set[str]:
    """The paths that the other running tasks have for their pictures."""
    running = select(Task.files).where(Task.task_status == RUNNING, Task.id != task.id)
    return {path for files in db.session.scalars(running) for path in files or ()}


def file_stem(task: Task) -> str:
    """What the files of a task are named by where its request names none: its id, for the API that has it so."""
    return str(UUID(hex=task.task_id)) if task.api and task.api.get("files_by_id") else ""


def prioritise(task_id: str, priority: int) -> bool:
    """Give a task that waits another place in the queue; whether it waits."""
    moved = update(Task).where(Task.task_id == task_id, Task.task_status == PENDING)
    moved = moved.values(priority=priority, rank=Task.rank + (Task.priority - priority) * int(_priority_mills()))
    found = db.session.scalar(moved.returning(Task.id))
    commit()
    return found is not None


def ask_to_stop(task_id: str) -> bool:
    """Note that a running task shall stop, so that no further attempt begins; whether it runs."""
    asked = update(Task).where(Task.task_id == task_id, Task.task_status == RUNNING).values(stop_asked=True)
    found = db.session.scalar(asked.returning(Task.id))
    commit()
    return found is not None


def waiting() -> int:
    """How many tasks wait."""
    return db.session.scalar(_count()) or 0


def paused() -> bool:
    """Whether the operator wants nothing more begun."""
    return bool(db.session.scalar(select(IS_PAUSED)))


def pause() -> None:
    """Begin no further task, also after a restart, until `resume`."""
    begin_write()
    db.session.merge(Switch(name=PAUSED, made_mills=mills()))
    commit()


def resume() -> None:
    """Go on with the queue."""
    db.session.execute(delete(Switch).where(Switch.name == PAUSED))
    commit()
    signals.send(signals.queue_resumed, application())


def give_back(task_id: str) -> None:
    """Uncount the attempt of a task that this server leaves in the middle because it stops."""
    db.session.execute(
        update(Task).where(Task.task_id == task_id, Task.task_status == RUNNING).values(attempts=Task.attempts - 1)
    )
    commit()


def end(
    task_id: str, status: str, seconds: Mapping[str, float] | None = None, *, only: str | None = None, **values: Any
) -> Task | None:
    """The task's row, now in this final state, with these columns set; None if it had ended before.

    With `only`, it is ended from that state alone.
    """
    if status == FINISHED:
        values["progress"] = 100
    which = Task.task_id == task_id
    values |= {"finish_mills": mills(), "downloads": null()}
    with ended_count.current().changing() as change:
        task = _move(which & (Task.task_status == only) if only else which, status, **values)
        if task is not None:
            task.result = task.result or []
            _owe(task, "ended")
        commit()
        change.by = int(task is not None)
    if task is not None:
        db.session.expunge(task)
        signals.send(signals.task_ended, application(), task=task, seconds=dict(seconds or {}))
    return task


def _owe(task: Task, event: str) -> None:
    """Put into the outbox what the task's receiver wants to hear; part of the caller's transaction."""
    if task.webhook_url and event in (task.webhook_events or ENDED_ONLY):
        now, message = mills(), f"msg_{uuid4().hex}"
        db.session.add(
            Delivery(
                record_id=task.id, url=task.webhook_url, event=event, message_id=message, made_mills=now, due_mills=now
            )
        )


def _move(which: ColumnElement[bool], status: str, **values: Any) -> Task | None:
    """Change one task's state if it may still change so; the caller commits."""
    change = update(Task).where(which, Task.task_status.in_(BEFORE[status])).values(task_status=status, **values)
    return db.session.scalar(change.returning(Task), execution_options=FRESH | UNSYNCHRONISED)


def _latest(options: QueueOptions) -> int:
    """The moment by which the latest waiting task is ranked, if another may wait: later than now, if the clock was set
    back since.

    Raises:
        QueueFull: QUEUE_LIMIT tasks wait already.
        KeyQueueFull: as many of the client's wait as may.
    """
    limit = current_app.config["QUEUE_LIMIT"]
    moment = (Task.rank + Task.priority * _priority_mills()).label("moment")
    last = select(moment).where(Task.task_status == PENDING).order_by(Task.id.desc()).limit(1).scalar_subquery()
    count = _count().scalar_subquery() if limit else null()
    latest, found = db.session.execute(select(last, count)).one()
    if limit and found >= limit:
        raise QueueFull(found, SECONDS_A_TASK)
    _check_key(options)
    return int(latest or 0)


def _check_key(options: QueueOptions) -> None:
    """See that one more of the client's tasks may wait.

    Raises:
        KeyQueueFull: as many wait as may.
    """
    most = options.most_waiting
    if not most:
        return
    # Until the commit nobody else counts for this key; on SQLite nobody else writes at all.
    db.session.execute(select(Key.id).where(Key.name == options.key_name).with_for_update())
    if (db.session.scalar(_count(Task.key_name == options.key_name)) or 0) >= most:
        raise KeyQueueFull(str(options.key_name), most, SECONDS_A_TASK)


def _count(*which: ColumnElement[bool]) -> Select[int]:
    """How many tasks wait, of those that are meant."""
    return select(func.count()).select_from(Task).where(Task.task_status == PENDING, *which)


def _priority_mills() -> float:
    """Milliseconds of waiting that a point of priority stands for."""
    return float(current_app.config["PRIORITY_SECONDS"]) * 1000
