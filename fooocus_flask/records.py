"""Tasks as answers tell them: rows, with absolute URLs, and what is known while they run."""

from __future__ import annotations

from typing import Any

from fooocus_flask import previews, urls
from fooocus_flask.tables import RUNNING, Task

COLUMNS = (
    *("id", "task_id", "req_params", "in_queue_mills", "start_mills", "finish_mills", "task_status", "progress"),
    *("webhook_url", "pictures_done", "seed", "error", "notes", "drawn_with"),
)
NOT_YET = -1
"""What stands for a moment or a percentage to come where clients expect a number."""


def record(task: Task, base: str) -> dict[str, Any]:
    """The task as it is now, for `TaskRecordSchema`."""
    return live(task) if task.task_status == RUNNING else stored(task, base)


def stored(task: Task, base: str) -> dict[str, Any]:
    """A task that waits or has ended."""
    told = {name: getattr(task, name) for name in COLUMNS}
    return told | {"result": None if task.result is None else urls.pictures(task.result, base)}


def live(task: Task) -> dict[str, Any]:
    """The task that runs, with its last preview."""
    now = previews.of(task.task_id)
    told = {name: getattr(task, name) for name in COLUMNS}
    return told | {"finish_mills": NOT_YET, "progress": now.percent, "preview": now.preview, "result": []}


def accepted(task: Task) -> dict[str, Any]:
    """A task that was just submitted: what is still open has the reference's placeholders."""
    told = {name: getattr(task, name) for name in COLUMNS}
    return told | {"start_mills": NOT_YET, "finish_mills": NOT_YET, "progress": NOT_YET, "preview": "", "result": []}
