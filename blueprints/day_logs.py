"""GET /outputs/{date}/log.html: a page of a day's pictures, for whoever may read the history."""

from __future__ import annotations

import datetime as dt

from flask import Response, current_app, stream_with_context

from fooocus_flask.errors import NotFound
from fooocus_flask.pictures import urls
from fooocus_flask.submission.parsing import Blueprint
from fooocus_flask.tasks import day_log

blueprint = Blueprint("day_logs", __name__, description="A page of a day's pictures.")

LOG = {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
LOG_POLICY = "default-src 'none'; img-src *; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may do with the page, whatever a prompt says: show pictures, and run what stands in its beginning."""


@blueprint.get("/outputs/<date>/log.html")
@blueprint.doc(responses={"200": LOG})
def log_of_day(date: str) -> Response:
    """Get a page of a day's pictures, each with how it was drawn."""
    day = parsed(date)
    if day is None or current_app.config["DISABLE_IMAGE_LOG"]:
        raise NotFound("There is no such page: its day is to be written as 2024-07-05, and DISABLE_IMAGE_LOG to be off")
    response = Response(stream_with_context(day_log.page(day, urls.base())), mimetype="text/html")
    response.headers["Content-Security-Policy"] = LOG_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def parsed(date: str) -> dt.date | None:
    """The day that is written as 2024-07-05; None: another text."""
    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        return None
    return day if day.isoformat() == date and dt.MINYEAR < day.year < dt.MAXYEAR else None
