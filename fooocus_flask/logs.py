"""What the server writes about its work: among it one line for each task, as words and numbers a program can read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from flask import Flask

from engine.log_lines import LineFormatter
from engine.progress import STAGES
from fooocus_flask import request_ids, signals
from fooocus_flask.tables import Task

PACKAGE = "fooocus_flask"

log = logging.getLogger(f"{PACKAGE}.task")


def init_app(app: Flask) -> None:
    """Write this package's messages to stderr, unless the program that serves has its own plans."""
    package = logging.getLogger(PACKAGE)
    package.setLevel(str(app.config["LOG_LEVEL"]).upper())
    if not logging.getLogger().handlers and not package.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s [%(request)s]: %(message)s"))
        handler.addFilter(request_ids.RequestIdFilter())
        package.addHandler(handler)


@signals.task_submitted.connect
def write_submitted(app: Flask, task: Task, **_: Any) -> None:
    """One line that ties a task to its request."""
    log.info("submitted task %s", task.task_id)


@signals.task_ended.connect
def write(app: Flask, task: Task, seconds: Mapping[str, float], **_: Any) -> None:
    """One line for each task: how it ended, and where the time went."""
    log.info("%s", line(task, seconds))


def line(task: Task, seconds: Mapping[str, float]) -> str:
    """`task=85c1… status=finished pictures=1 attempt=1 queue=0.004 load=… … total=3.201`, in seconds."""
    begun, over = task.start_mills, task.finish_mills or task.in_queue_mills
    values: dict[str, Any] = {
        "task": task.task_id,
        "status": task.task_status,
        "pictures": f"{task.pictures_done}/{task.params.image_number}",
        "attempt": task.attempts,
        "queue": thousandths((begun or over) - task.in_queue_mills),
    }
    values |= {stage: f"{seconds.get(stage, 0.0):.3f}" for stage in STAGES}
    values["total"] = thousandths(over - (begun or over))
    if task.error:
        values["error"] = repr(task.error)
    return " ".join(f"{name}={value}" for name, value in values.items())


def thousandths(mills: int) -> str:
    """Milliseconds as seconds; none where the clock was set back meanwhile."""
    return f"{max(0, mills) / 1000:.3f}"
