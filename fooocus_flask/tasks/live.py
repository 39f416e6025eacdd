"""How far the running tasks are, for those who ask: the last percentage, message and preview; in memory only."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any

from flask import Flask

from fooocus_flask import signals
from fooocus_flask.extension import Extension
from fooocus_flask.tables import Task

ASKED_FOR = 30.0
"""Seconds for which previews are made after somebody asked for one, where they are not made anyway."""


@dataclass
class Live:
    """What is known of a task while it runs."""

    percent: int = 0
    message: str = ""
    png: bytes = b""
    asked: float = -math.inf
    """When somebody asked for the preview last, by a clock that only grows."""

    @property
    def preview(self) -> str:
        """The last preview as base64 of a PNG; empty if there was none."""
        self.asked = monotonic()
        return self._base64

    @cached_property
    def _base64(self) -> str:
        return base64.b64encode(self.png).decode()

    @property
    def wanted(self) -> bool:
        """Whether somebody asks for previews now and then."""
        return monotonic() - self.asked < ASKED_FOR


def _none(app: Flask) -> dict[str, Live]:
    return {}


running = Extension("fooocus-live", _none)
"""What is known of each running task, by task id."""


@dataclass
class Capacity:
    """How many tasks are drawn at once; the runner knows."""

    lanes: int = 1


def _one(app: Flask) -> Capacity:
    return Capacity()


capacity = Extension("fooocus-capacity", _one)


def progress_of(task_id: str) -> Live:
    """What is known of this task."""
    return running.current().get(task_id) or Live()


@signals.task_started.connect
def begin(app: Flask, task: Task, **_: Any) -> None:
    """Start from nothing."""
    running.of(app)[task.task_id] = Live()


@signals.task_progressed.connect
def record_progress(app: Flask, task_id: str, percent: int, message: str, preview: bytes, **_: Any) -> None:
    """Keep the newest; a step without a preview leaves the last one."""
    before = running.of(app).get(task_id, Live())
    running.of(app)[task_id] = Live(percent, message, preview or before.png, before.asked)


@signals.task_ended.connect
def forget(app: Flask, task: Task, **_: Any) -> None:
    """The row knows the rest."""
    running.of(app).pop(task.task_id, None)
