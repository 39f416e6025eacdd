"""Tasks as answers tell them: rows, with absolute URLs, and what is known while they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gevent
from flask import current_app

from engine.files import downloads
from fooocus_flask.access import callers
from fooocus_flask.access.keys import ADMIN
from fooocus_flask.model_files.awaited_file import from_row
from fooocus_flask.model_files.transfers import transfers
from fooocus_flask.pictures import sent_pictures, urls
from fooocus_flask.tables import RUNNING, Task
from fooocus_flask.tasks import estimates, live
from schemas.tasks import BRIEF_PROMPT

COLUMNS = (
    *("id", "task_id", "req_params", "in_queue_mills", "start_mills", "finish_mills", "task_status", "progress"),
    *("webhook_url", "pictures_done", "seed", "error", "notes", "drawn_with", "priority", "key_name"),
)
BRIEF_COLUMNS = (
    *("id", "task_id", "task_status", "in_queue_mills", "start_mills", "finish_mills", "progress"),
    *("pictures_done", "seed", "error", "priority", "key_name"),
)
AT_A_TIME = 25
"""Tasks that are written out before others get their turn: a few milliseconds."""
NOT_YET = -1
"""What stands for a moment or a percentage to come where clients expect a number."""


def with_pauses(tasks: Iterable[Task]) -> Iterator[Task]:
    """The tasks of a page, which may be long; others get their turn in between."""
    for number, task in enumerate(tasks, 1):
        yield task
        if number % AT_A_TIME == 0:
            gevent.sleep(0)


def record(task: Task, base: str) -> dict[str, Any]:
    """The task as it is now, for `TaskRecordSchema`."""
    place = estimates.place_of(task)
    return running(task, base, place) if task.task_status == RUNNING else stored(task, base, place)


def stored(task: Task, base: str, place: estimates.Place = estimates.NOWHERE) -> dict[str, Any]:
    """A task that waits at this place or has ended."""
    pictures = None if task.result is None else urls.pictures(task.result, base)
    return serialise(task, base, place) | {"result": pictures}


def running(task: Task, base: str, place: estimates.Place) -> dict[str, Any]:
    """The task that runs, with its last preview."""
    now = live.progress_of(task.task_id)
    values = serialise(task, base, place)
    return values | {"finish_mills": NOT_YET, "progress": now.percent, "preview": now.preview, "result": []}


def brief(task: Task, base: str, place: estimates.Place = estimates.NOWHERE) -> dict[str, Any]:
    """The task in few words, for `BriefTaskSchema`: as its row is, and how far it is if it runs."""
    values = {name: getattr(task, name) for name in BRIEF_COLUMNS}
    if task.task_status == RUNNING:
        values["progress"] = live.progress_of(task.task_id).percent
    prompt = task.req_params["prompt"]
    cut = prompt if len(prompt) <= BRIEF_PROMPT else f"{prompt[:BRIEF_PROMPT]}…"
    pictures = None if task.result is None else urls.pictures(task.result, base)
    return values | {
        "prompt": cut,
        "result": pictures,
        "queue_position": place.position,
        "eta_seconds": place.seconds,
    }


def parameters(task: Task, base: str) -> dict[str, Any]:
    """What was asked for, with absolute URLs; no webhook where it is the operator's: sent back, it is that again."""
    told = sent_pictures.with_urls(task.req_params, base)
    return told | {"webhook_url": ""} if is_operators_webhook(task) else told


def is_operators_webhook(task: Task) -> bool:
    """Whether the task's webhook is the operator's, for its request named none."""
    sent = task.req_params.get("webhook_url")
    return bool(task.webhook_url) and (not sent or sent == current_app.config["WEBHOOK_URL"])


def operators_webhook(url: str) -> str:
    """The operator's own webhook as the caller may see it: with a key for everything, and no secrets in it."""
    caller = callers.holder()
    return downloads.shown(url) if caller and caller.may(ADMIN) else ""


def accepted(task: Task, base: str) -> dict[str, Any]:
    """A task that was just submitted: what is still open has the reference's placeholders."""
    values = serialise(task, base, estimates.place_of(task))
    return values | {"start_mills": NOT_YET, "finish_mills": NOT_YET, "progress": NOT_YET, "preview": "", "result": []}


def serialise(task: Task, base: str, place: estimates.Place) -> dict[str, Any]:
    """The row's columns and the task's place, under the names a record uses."""
    values = {name: getattr(task, name) for name in COLUMNS}
    values["req_params"] = parameters(task, base)
    if is_operators_webhook(task):
        values["webhook_url"] = operators_webhook(task.webhook_url)
    awaited = [transfers.current().serialise(file) for file in from_row(task.downloads)] or None
    return values | {"downloads": awaited, "queue_position": place.position, "eta_seconds": place.seconds}
