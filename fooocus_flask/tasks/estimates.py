"""When tasks will be done: their place in the queue, and a guess of seconds from the tasks drawn last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, null, select, tuple_

from engine import choices
from engine.params import GenerateParams
from fooocus_flask.clock import mills
from fooocus_flask.database import db
from fooocus_flask.model_files.awaited_file import from_row
from fooocus_flask.model_files.transfers import transfers
from fooocus_flask.tables import FINISHED, PENDING, RUNNING, Task
from fooocus_flask.tasks import live

LAST = 20
"""Tasks whose durations count."""


@dataclass(frozen=True)
class Place:
    """Where a task stands: 0 is being drawn, 1 comes next; `seconds` until it ends, None where nothing is known."""

    position: int | None = None
    seconds: int | None = None


NOWHERE = Place()


def work(params: GenerateParams) -> float:
    """How much there is to draw, in pixels times steps."""
    width, height = params.size
    steps = (
        params.overwrite_step if params.overwrite_step > 0 else choices.PERFORMANCES[params.performance_selection].steps
    )
    return float(width * height * steps * params.image_number)


def place_of(task: Task) -> Place:
    """Where this task stands."""
    if task.task_status == RUNNING:
        return Place(0, _whole(_left_of(task, pace())))
    return places_of([task])[0] if task.task_status == PENDING else NOWHERE


def places_of(rows: Sequence[Task]) -> list[Place]:
    """Where these waiting tasks stand, which follow one another.

    One that waits for model files has the place it would have if they were here, and keeps nobody up. What is drawn
    before it is spread over all lanes.
    """
    if not rows:
        return []
    ahead = tuple_(Task.rank, Task.id) < tuple_(rows[0].rank, rows[0].id)
    count, before = _sums(Task.task_status == PENDING, Task.downloads.is_(null()), ahead)
    now = pace()
    under_way = db.session.scalars(select(Task).where(Task.task_status == RUNNING))
    seconds = sum(_left_of(task, now) or 0.0 for task in under_way)
    lanes = live.capacity.current().lanes
    found = []
    for task in rows:
        begins = None if now is None else (seconds + before * now) / lanes
        if task.downloads:
            here = transfers.current().seconds_left(from_row(task.downloads))
            begins = None if here is None or begins is None else max(here, begins)
        found.append(Place(count + 1, None if now is None or begins is None else _whole(begins + task.work * now)))
        if not task.downloads:
            count, before = count + 1, before + task.work
    return found


def pace() -> float | None:
    """Seconds for a unit of work, by the last tasks."""
    last = (
        select(Task.work, (Task.finish_mills - Task.start_mills).label("mills"))
        .where(Task.task_status == FINISHED, Task.start_mills.is_not(None))
        .order_by(Task.id.desc())
        .limit(LAST)
        .subquery()
    )
    done, taken = db.session.execute(select(func.sum(last.c.work), func.sum(last.c.mills))).one()
    return max(0.0, float(taken)) / 1000 / float(done) if done and taken is not None else None


def _left_of(task: Task, now: float | None) -> float | None:
    """Seconds that a running task needs still: by its own progress, once there is some."""
    percent = live.progress_of(task.task_id).percent
    if 5 <= percent <= 100 and task.start_mills is not None:
        return max(0, mills() - task.start_mills) / 1000 * (100 - percent) / percent
    return None if now is None else task.work * now


def _sums(*conditions: object) -> tuple[int, float]:
    """How many tasks there are of this kind, and the work of all of them."""
    found = db.session.execute(select(func.count(), func.sum(Task.work)).where(*conditions))  # type: ignore[arg-type]
    count, total = found.one()
    return count, float(total or 0.0)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
