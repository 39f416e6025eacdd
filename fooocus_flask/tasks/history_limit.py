"""Ended tasks are kept up to HISTORY_LIMIT; the oldest beyond it are deleted, with their pictures, as others end."""

from __future__ import annotations

import logging
from typing import Any

import gevent
from flask import Flask

from fooocus_flask import signals
from fooocus_flask.tasks import history

log = logging.getLogger(__name__)


@signals.task_ended.connect
def begin(app: Flask, **_: Any) -> None:
    """Delete what is beyond the limit, beside whoever ends tasks."""
    if app.config["HISTORY_LIMIT"] > 0:
        gevent.spawn(clean, app)


def clean(app: Flask) -> None:
    """Delete what is beyond the limit; what cannot be deleted now is deleted as the next task ends."""
    try:
        with app.app_context():
            history.clear_beyond(app.config["HISTORY_LIMIT"])
    except Exception:  # a locked database, a folder that may not be written
        log.exception("The history is cut to its limit as the next task ends")
