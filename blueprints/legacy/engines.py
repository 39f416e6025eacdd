"""What else the predecessor's routes do: reading the models' folders anew, and emptying the graphics card."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from blueprints.legacy.group import blueprint
from fooocus_flask.access import foreign_pages, scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.prepare import catalogue
from schemas.listings import AllModelsSchema


@blueprint.post("/v1/engines/refresh-models")
@blueprint.response(200, AllModelsSchema)
@scopes.needs(READ, DRAW)
def refresh_models() -> dict[str, Any]:
    """List the checkpoint and LoRA files; they are read anew for every request, so nothing is to be refreshed."""
    models = catalogue()
    return {"model_filenames": models.checkpoints(), "lora_filenames": models.loras()}


@blueprint.get("/v1/engines/clean_vram")
@blueprint.doc(responses={"200": {"description": "message is ok; models are dropped once no task is being drawn."}})
@scopes.needs(DRAW)
def clean_vram() -> Response:
    """Drop all models from the memory, once no task is being drawn; the next task loads what it needs."""
    foreign_pages.require_allowed()
    runner.current().unload()
    return jsonify(message="ok")
