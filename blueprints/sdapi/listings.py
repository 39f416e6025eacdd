"""What there is to choose from, in AUTOMATIC1111's shapes; paths are told as far as the models folder only.

Whoever may draw may read the names; styles are told with their templates, to those who may look.
"""

from __future__ import annotations

from typing import Any

from blueprints.sdapi import names
from blueprints.sdapi.group import blueprint
from engine.images.metadata import stem
from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.model_files import folders
from fooocus_flask.submission.prepare import catalogue
from schemas.other_apis.sdapi import (
    LatentModeSchema,
    LoraFileSchema,
    PromptStyleSchema,
    SamplerSchema,
    SchedulerSchema,
    SdModelSchema,
    SdVaeSchema,
    UpscalerSchema,
)


@blueprint.get("/sd-models")
@blueprint.response(200, SdModelSchema(many=True))
@scopes.needs(READ, DRAW)
def sd_models() -> list[dict[str, Any]]:
    """List the checkpoints by title."""
    hashes = names.titles(catalogue())
    return [
        {
            "title": names.title(name, hash),
            "model_name": stem(name),
            "hash": hash,
            "sha256": None,
            "filename": f"checkpoints/{name}",
            "config": None,
        }
        for name, hash in hashes.items()
    ]


@blueprint.get("/sd-vae")
@blueprint.response(200, SdVaeSchema(many=True))
@scopes.needs(READ, DRAW)
def sd_vae() -> list[dict[str, Any]]:
    """List the VAE files."""
    return [{"model_name": name, "filename": f"vae/{name}"} for name in catalogue().vaes()]


@blueprint.get("/loras")
@blueprint.response(200, LoraFileSchema(many=True))
@scopes.needs(READ, DRAW)
def loras() -> list[dict[str, Any]]:
    """List the LoRAs by the names that prompts call them."""
    found = [(stem(name), name) for name in catalogue().loras()]
    return [{"name": tag, "alias": tag, "path": f"loras/{name}", "metadata": {}} for tag, name in found]


@blueprint.get("/samplers")
@blueprint.response(200, SamplerSchema(many=True))
@scopes.needs(READ, DRAW)
def samplers() -> list[dict[str, Any]]:
    """List the samplers by AUTOMATIC1111's names."""
    return names.samplers()


@blueprint.get("/schedulers")
@blueprint.response(200, SchedulerSchema(many=True))
@scopes.needs(READ, DRAW)
def schedulers() -> list[dict[str, Any]]:
    """List the noise schedules by AUTOMATIC1111's names."""
    return names.schedulers()


@blueprint.get("/upscalers")
@blueprint.response(200, UpscalerSchema(many=True))
@scopes.needs(READ, DRAW)
def upscalers() -> list[dict[str, Any]]:
    """List the upscalers: there is one."""
    scales = {names.NO_UPSCALER: 1, names.UPSCALER: names.UPSCALER_FACTOR}
    rest = dict.fromkeys(("model_name", "model_path", "model_url"))
    return [{"name": name, **rest, "scale": scale} for name, scale in scales.items()]


@blueprint.get("/latent-upscale-modes")
@blueprint.response(200, LatentModeSchema(many=True))
@scopes.needs(READ, DRAW)
def latent_upscale_modes() -> list[dict[str, Any]]:
    """List the latent upscale modes: there are none, for pictures are enlarged by a network."""
    return []


@blueprint.get("/prompt-styles")
@blueprint.response(200, PromptStyleSchema(many=True))
def prompt_styles() -> list[dict[str, Any]]:
    """List the styles with their templates."""
    styles = folders.styles()
    found = [(name, styles.template(name)) for name in styles.names()]
    return [{"name": name, "prompt": style.prompt, "negative_prompt": style.negative_prompt} for name, style in found]
