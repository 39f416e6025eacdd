"""How far the running task is, for those who ask: the last percentage, message and preview; in memory only."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import Flask, current_app

from fooocus_flask import signals
from fooocus_flask.tables import Task

EXTENSION = "fooocus-previews"


@dataclass
class Live:
    """What is known of a task while it runs."""

    percent: int = 0
    message: str = ""
    png: bytes = b""

    @cached_property
    def preview(self) -> str:
        """The last preview as base64 of a PNG; empty if there was none."""
        return base64.b64encode(self.png).decode()


def init_app(app: Flask) -> None:
    """Remember running tasks."""
    app.extensions[EXTENSION] = {}


def of(task_id: str) -> Live:
    """What is known of this task."""
    return current_app.extensions[EXTENSION].get(task_id) or Live()


@signals.task_started.connect
def begin(app: Flask, task: Task, **_: Any) -> None:
    """Start from nothing."""
    app.extensions[EXTENSION][task.task_id] = Live()


@signals.task_progressed.connect
def note(app: Flask, task_id: str, percent: int, message: str, preview: bytes, **_: Any) -> None:
    """Keep the newest; a step without a preview leaves the last one."""
    before = app.extensions[EXTENSION].get(task_id, Live())
    app.extensions[EXTENSION][task_id] = Live(percent, message, preview or before.png)


@signals.task_ended.connect
def forget(app: Flask, task: Task, **_: Any) -> None:
    """The row knows the rest."""
    app.extensions[EXTENSION].pop(task.task_id, None)
