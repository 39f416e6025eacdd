"""Whether anybody sees a task's previews: where a card is far away, those that nobody sees are not sent."""

from __future__ import annotations

from flask import Flask

from fooocus_flask.following import streams, task_events
from fooocus_flask.tasks import live


def sees_previews(app: Flask, task_id: str) -> bool:
    """Whether somebody follows the task, listens to all tasks with previews, or asked for its preview lately."""
    now = live.running.of(app).get(task_id)
    followed = task_id in streams.followers.of(app)
    return followed or task_events.hub.of(app).previewed or (now is not None and now.wanted)
