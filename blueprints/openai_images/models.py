"""What `model` may name: checkpoints, presets, the operator's aliases; OpenAI's own names mean the default."""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import unquote

from flask import Flask, Response, current_app, jsonify
from flask.blueprints import BlueprintSetupState

from blueprints.openai_images.errors import INVALID, ImagesError, Told
from blueprints.openai_images.group import blueprint
from engine.files.catalogue import Catalogue, matching
from fooocus_flask.environment import SettingError
from fooocus_flask.model_files import addresses, presets
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.submission.prepare import catalogue
from schemas.other_apis import openai_images as shapes

OWNER = "fooocus-flask"
THEIRS = re.compile(r"(dall-e|gpt-image|chatgpt-image)", re.IGNORECASE)
"""How the names of OpenAI's models begin, which clients have built in."""
FAILURE = {"content": {"application/json": {"schema": shapes.ImagesFailureSchema}}}
REFUSALS = {
    "401": {"description": "The key is missing or wrong.", **FAILURE},
    "403": {"description": "The key may not read.", **FAILURE},
}


@blueprint.get("/models")
@blueprint.response(200, shapes.ModelListSchema)
@blueprint.doc(responses=REFUSALS)
def list_models() -> Response:
    """List what `model` may name."""
    found = in_thread(made_at, catalogue())
    return jsonify(object="list", data=[model_object(name, created) for name, created in (found | others()).items()])


@blueprint.get("/models/<path:model_id>")
@blueprint.response(200, shapes.ModelSchema)
@blueprint.doc(responses={**REFUSALS, "404": {"description": "There is no such model.", **FAILURE}})
def one_model(model_id: str) -> Response:
    """Look up one of the names that `model` may have."""
    there = in_thread(made_at, catalogue()) | others()
    name = next((name for name in (model_id, unquote(model_id)) if name in there), None)
    if name is None:
        raise not_found(model_id)
    return jsonify(model_object(name, there[name]))


def made_at(models: Catalogue) -> dict[str, int]:
    """Each checkpoint's name, and when its file was last changed; takes its time."""
    paths = {name: models.find("checkpoints", name) for name in models.checkpoints()}
    return {name: int(path.stat().st_mtime) if path else 0 for name, path in paths.items()}  # 0: on another machine


def others() -> dict[str, int]:
    """The names that are no checkpoints'."""
    return dict.fromkeys((*presets.names(), *aliases()), 0)


def model_object(name: str, created: int) -> dict[str, Any]:
    """A model as their clients read it."""
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}


def aliases() -> dict[str, str]:
    """The operator's names, and what each stands for."""
    found: dict[str, str] = current_app.config["OPENAI_MODEL_ALIASES"]
    return found


def resolved(name: str | None) -> tuple[dict[str, str], list[str]]:
    """The members that a model's name stands for, and notes.

    Raises:
        ImagesError: there is none of that name.
    """
    if name and (members := meant(name) or meant(aliases().get(name, ""))):
        return members, []
    if not name:
        return {}, []
    if THEIRS.match(name):
        return {}, [f"The model {name} is OpenAI's: the server's default was used in its place"]
    raise not_found(name)


def meant(name: str) -> dict[str, str]:
    """The member that names a checkpoint or a preset; nothing where there is none of that name."""
    there = catalogue().checkpoints()
    if name and len(found := matching(name, there)) == 1:
        return {"base_model_name": found[0]}
    return {"preset": name} if name in presets.names() else {}


def not_found(name: str) -> ImagesError:
    """The refusal of a model that is not here."""
    there = ", ".join([*catalogue().checkpoints(), *presets.names(), *aliases()])
    text = f"There is no model {name!r}; there are {there}. Leave it out for the server's default"
    return ImagesError(404, Told(text, INVALID, "model", "model_not_found"))


@blueprint.record_once
def check_aliases(state: BlueprintSetupState) -> None:
    """Refuse a start with aliases that stand for nothing."""
    app = cast(Flask, state.app)
    with app.app_context():
        check(app)


def check(app: Flask) -> None:
    """Go on only with aliases that stand for something.

    Raises:
        SettingError: one does not.
    """
    named = app.config["OPENAI_MODEL_ALIASES"]
    form = 'an object such as {"gpt-image-1": "anime"}'
    if not isinstance(named, dict) or not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise SettingError(f"OPENAI_MODEL_ALIASES is {named!r}; give {form}")
    known = addresses.sources_for(presets.INITIAL)
    for name, target in named.items():
        if not meant(target) and known.find("checkpoints", target) is None:
            there = ", ".join([*catalogue().checkpoints(), *presets.names()])
            raise SettingError(
                f"OPENAI_MODEL_ALIASES: {name} stands for {target!r}, which is neither a checkpoint nor a preset; "
                f"there are {there}"
            )
