"""The options that a caller chose: kept for the key, so that nobody switches another's model."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from sqlalchemy.exc import IntegrityError

from blueprints.sdapi import names
from blueprints.sdapi.group import blueprint
from engine import choices
from engine.files.catalogue import Catalogue, matching
from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.database import begin_write, commit, db
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files import addresses, presets
from fooocus_flask.submission.prepare import catalogue
from fooocus_flask.tables import KeyOptions
from schemas.faults import Fault
from schemas.other_apis.sdapi import OptionsAnswerSchema, OptionsSchema


@blueprint.get("/options")
@blueprint.response(200, OptionsAnswerSchema)
@scopes.needs(READ, DRAW)
def get_options() -> dict[str, Any]:
    """Tell the options that later requests with this key have where they say nothing else."""
    models, chosen = catalogue(), stored()
    hashes = names.titles(models)
    name = model(chosen, models)
    vae = chosen.get("sd_vae", choices.VAE_OF_CHECKPOINT)
    return {
        "sd_model_checkpoint": names.title(name, hashes.get(name)),
        "sd_vae": names.AUTOMATIC if vae == choices.VAE_OF_CHECKPOINT else vae,
        "CLIP_stop_at_last_layers": chosen.get("CLIP_stop_at_last_layers", standing("clip_skip")),
        "samples_format": chosen.get("samples_format", standing("output_format")),
    }


@blueprint.post("/options")
@blueprint.arguments(OptionsSchema)
@blueprint.response(200, {"type": "null"}, description="They are kept; a model is loaded with the next task.")
@scopes.needs(DRAW)
def set_options(sent: dict[str, Any]) -> Response:
    """Choose options for later requests with this key; those that are not listed here are ignored."""
    store(resolved(sent, catalogue()))
    return jsonify(None)


def resolved(sent: dict[str, Any], models: Catalogue) -> dict[str, Any]:
    """The options that count, with the files that are meant.

    Raises:
        InvalidRequest: there is no such file.
    """
    chosen = {name: value for name, value in sent.items() if name in OptionsSchema().fields}
    faults: list[Fault] = []
    if name := chosen.get("sd_model_checkpoint"):
        chosen["sd_model_checkpoint"] = names.checkpoint(name, models)
        if not matching(name, models.checkpoints()):
            faults.append(names.unknown("sd_model_checkpoint", "checkpoint", name, models.checkpoints()))
    if "sd_vae" in chosen:
        chosen["sd_vae"] = vae = names.vae(chosen["sd_vae"], models)
        if vae != choices.VAE_OF_CHECKPOINT and vae not in models.vaes():
            faults.append(names.unknown("sd_vae", "VAE", vae, [names.AUTOMATIC, *models.vaes()]))
    if faults:
        raise InvalidRequest(faults)
    return chosen


def model(chosen: dict[str, Any], models: Catalogue) -> str:
    """The checkpoint that draws: the one that was chosen, the server's own, or the first where that is missing."""
    if name := chosen.get("sd_model_checkpoint"):
        return names.checkpoint(name, models)
    own, sources, there = str(standing("base_model_name")), addresses.sources_for(), models.checkpoints()
    if (known := sources.find("checkpoints", own)) and sources.allows(known):
        return own
    return next(iter([*matching(own, there), *there]), own)


def note_on(model: str, chosen: dict[str, Any]) -> list[str]:
    """What to tell of a checkpoint that nobody chose."""
    own = standing("base_model_name")
    if chosen.get("sd_model_checkpoint") or matching(own, [model]):
        return []
    return [f"Drawn with {model}: no checkpoint was chosen, and the server's own, {own}, is not here"]


def standing(member: str) -> Any:
    """What this member of a request is where nobody says anything else."""
    return presets.global_defaults()[member]


def stored() -> dict[str, Any]:
    """The options of whoever sends the request at hand."""
    row = db.session.get(KeyOptions, owner())
    return dict(row.options) if row else {}


def store(chosen: dict[str, Any]) -> None:
    """Keep these options for whoever sends the request at hand, beside those there are."""
    if not chosen:
        return
    try:
        _store(chosen)
    except IntegrityError:  # the first of two at once
        _store(chosen)


def _store(chosen: dict[str, Any]) -> None:
    begin_write()
    row = db.session.get(KeyOptions, owner(), with_for_update=True)
    if row is None:
        db.session.add(KeyOptions(key_name=owner(), options=chosen))
    else:
        row.options = row.options | chosen
    commit()


def owner() -> str:
    """Under which name the caller's options are kept; empty where no key is needed."""
    caller = callers.current()
    return (caller.name if caller else None) or ""
