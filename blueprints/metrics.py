"""Numbers for Prometheus."""

from __future__ import annotations

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from fooocus_flask.server import metrics
from fooocus_flask.submission.parsing import Blueprint

blueprint = Blueprint("metrics", __name__, description="Numbers to watch the service by.")


@blueprint.get("/metrics")
@blueprint.response(200, {"type": "string"}, content_type="text/plain")
def show() -> Response:
    """Get counters and measurements in Prometheus's text format; with a key it goes in `Authorization: Bearer` too."""
    return Response(metrics.counters.current().text(), content_type=CONTENT_TYPE_LATEST)
