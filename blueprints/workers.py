"""The cards that draw: which there are, and what each is at."""

from __future__ import annotations

from typing import Any

from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.parsing import Blueprint
from schemas.workers import WorkersSchema

blueprint = Blueprint("workers", __name__, url_prefix="/v1/engine", description="The cards that draw.")


@blueprint.get("/workers")
@blueprint.response(200, WorkersSchema)
def list_workers() -> dict[str, Any]:
    """Tell of each card that draws: its machine, its state and since when, its task, checkpoint and memory."""
    return {"workers": [lane.worker for lane in runner.current().lanes]}
