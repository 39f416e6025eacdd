"""A day's log page made of the tasks' rows, for whoever asks for it: the same on every machine, and stored nowhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import PurePosixPath

import gevent
from sqlalchemy import or_, select

from engine.choices import NO_MODEL
from engine.files.file_sets import file_set
from engine.images import log_page
from engine.images.metadata import AppliedLora, Generation, ModelFile, Row, rows
from engine.params import GenerateParams
from engine.plan import plan_for
from fooocus_flask.database import db
from fooocus_flask.extension import application
from fooocus_flask.model_files.folders import model_catalogue
from fooocus_flask.pictures import urls
from fooocus_flask.tables import RUNNING, Task

DAY = dt.timedelta(days=1)
AT_A_TIME = 25
"""Tasks that are read and written out before others get their turn."""


def page(day: dt.date, base: str) -> Iterator[str]:
    """The parts of the page of a day by this machine's clock: the pictures of the tasks that were begun on it.

    A task that took more than a day is missing. `base` begins the pictures' URLs.
    """
    ids = begun_on(day)
    yield log_page.beginning(day.isoformat())
    for first in range(0, len(ids), AT_A_TIME):
        chosen = select(Task).where(Task.id.in_(ids[first : first + AT_A_TIME])).order_by(Task.start_mills, Task.id)
        part = "".join(entry for task in db.session.scalars(chosen) for entry in entries(task, base))
        db.session.remove()  # nothing is held while a client takes its time
        yield part
        gevent.sleep(0)


def begun_on(day: dt.date) -> list[int]:
    """The rows of tasks with pictures that were begun on a day, the first before the others."""
    # the clock of each midnight: days on which it is put forward or back have 23 or 25 hours
    midnights = (dt.datetime.combine(day + days * DAY, dt.time()) for days in range(3))
    first, next_first, last = (int(midnight.timestamp() * 1000) for midnight in midnights)
    # by the index of what ended; what still runs has one of its own
    recent = or_(Task.finish_mills.between(first, last), Task.task_status == RUNNING)
    begun = (Task.start_mills >= first) & (Task.start_mills < next_first) & (Task.pictures_done > 0)
    chosen = select(Task.id).where(recent, begun).order_by(Task.start_mills, Task.id)
    ids = [*db.session.scalars(chosen)]
    db.session.remove()
    return ids


def entries(task: Task, base: str) -> Iterator[str]:
    """A task's pictures, each with how it was drawn."""
    paths = task.result or []
    for index, (path, url) in enumerate(zip(paths, urls.pictures(paths, base), strict=True)):
        yield log_page.entry(PurePosixPath(path).name, url, drawing_rows(task, index))


def drawing_rows(task: Task, index: int) -> list[Row]:
    """What the row tells of how a picture was drawn; without a seed that is not the picture's own."""
    try:
        params = task.params
        known = rows(generation(task, params, params.seed_of(index)))
    except (KeyError, TypeError, ValueError):  # of a version with other members, or other names of their values
        return [Row("Prompt", "prompt", task.req_params.get("prompt", ""))]
    own_seed = params.disable_seed_increment or len(task.result or ()) == params.image_number  # none skipped, none more
    return [row for row in known if row.key != "seed" or own_seed]


def generation(task: Task, params: GenerateParams, seed: int) -> Generation:
    """How a picture was drawn, as far as it was known before."""
    plan = plan_for(params, file_set(model_catalogue(application()), task.checkpoint))
    used = plan.params
    refiner = used.refiner_model_name
    requested = [(lora.model_name, lora.weight) for lora in used.loras if lora.enabled and lora.model_name != NO_MODEL]
    loras = [*requested, *([plan.lora] if plan.lora else [])]
    return Generation(
        params=used,
        seed=seed,
        steps=plan.steps(upscale=plan.modes.upscale).count,
        size=used.size,
        prompt=used.prompt,
        negative_prompt=used.negative_prompt,
        positive_texts=(),
        negative_texts=(),
        styles=tuple(used.style_selections),
        base_model=ModelFile((task.drawn_with or {}).get("checkpoint", used.base_model_name)),
        refiner_model=None if refiner == NO_MODEL else ModelFile(refiner),
        vae=used.vae_name,
        loras=tuple(AppliedLora(name, weight=weight) for name, weight in loras),
        notes=tuple(task.notes),
    )
