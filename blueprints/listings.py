"""What there is to choose from: models, styles, presets and the words other parameters take.

Whoever may draw may read these names, as they are what a request to draw is made of.
"""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from engine import choices
from engine.prompt.wildcards import Wildcards
from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.model_files import presets
from fooocus_flask.model_files.folders import folders, style_names
from fooocus_flask.submission.parsing import Blueprint
from fooocus_flask.submission.prepare import catalogue
from schemas.listings import AllModelsSchema, PerformanceModeSchema, names_of

blueprint = Blueprint(
    "listings", __name__, url_prefix="/v1/engines", description="What there is to choose from, as it is now."
)


@blueprint.get("/all-models")
@blueprint.response(200, AllModelsSchema)
@scopes.needs(READ, DRAW)
def all_models() -> dict[str, Any]:
    """List the checkpoint and LoRA files on this server, and on the machines of its fleet."""
    models = catalogue()
    return {"model_filenames": models.checkpoints(), "lora_filenames": models.loras()}


@blueprint.get("/styles")
@blueprint.response(200, names_of("Values of style_selections."))
@scopes.needs(READ, DRAW)
def styles() -> Response:
    """List the styles."""
    return jsonify(style_names())


@blueprint.get("/presets")
@blueprint.response(200, names_of("Values of preset."))
@scopes.needs(READ, DRAW)
def preset_names() -> Response:
    """List the presets."""
    return jsonify(presets.names())


@blueprint.get("/sizes")
@blueprint.response(200, names_of("Usual values of aspect_ratios_selection; others may be asked for."))
@scopes.needs(READ, DRAW)
def sizes() -> Response:
    """List the usual sizes."""
    return jsonify([size.replace("×", "*") for size in choices.ASPECT_RATIOS])


@blueprint.get("/samplers")
@blueprint.response(200, names_of("Values of sampler_name."))
@scopes.needs(READ, DRAW)
def samplers() -> Response:
    """List the samplers."""
    return jsonify(choices.SAMPLERS)


@blueprint.get("/schedulers")
@blueprint.response(200, names_of("Values of scheduler_name."))
@scopes.needs(READ, DRAW)
def schedulers() -> Response:
    """List the noise schedules."""
    return jsonify(choices.SCHEDULERS)


@blueprint.get("/vaes")
@blueprint.response(200, names_of("Values of vae_name."))
@scopes.needs(READ, DRAW)
def vaes() -> Response:
    """List the VAEs."""
    return jsonify([choices.VAE_OF_CHECKPOINT, *catalogue().vaes()])


@blueprint.get("/embeddings")
@blueprint.response(200, names_of("Files that a prompt names as (embedding:name:1.0)."))
@scopes.needs(READ, DRAW)
def embeddings() -> Response:
    """List the embeddings."""
    return jsonify(catalogue().names("embeddings"))


@blueprint.get("/wildcards")
@blueprint.response(200, names_of("Names that a prompt has between underscores: __color__."))
@scopes.needs(READ, DRAW)
def wildcards() -> Response:
    """List the wildcards."""
    return jsonify(sorted(Wildcards(folders.current()["wildcards"]).names()))


@blueprint.get("/performance-modes")
@blueprint.response(200, PerformanceModeSchema(many=True))
@scopes.needs(READ, DRAW)
def performance_modes() -> list[choices.Performance]:
    """List the performance modes."""
    return list(choices.PERFORMANCES.values())
