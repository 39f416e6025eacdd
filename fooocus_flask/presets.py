"""Presets: named bundles of parameters, shipped in `presets/` or added by the operator in the instance's `presets/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import current_app
from marshmallow import ValidationError

from schemas.faults import Fault, flat
from schemas.fields import fresh
from schemas.generate import DEFAULTS, GenerateSchema

SHIPPED = Path(__file__).with_name("presets")
INITIAL = "initial"

FIELDS = {
    "default_prompt": "prompt",
    "default_prompt_negative": "negative_prompt",
    "default_model": "base_model_name",
    "default_refiner": "refiner_model_name",
    "default_refiner_switch": "refiner_switch",
    "default_styles": "style_selections",
    "default_sample_sharpness": "sharpness",
    "default_sampler": "sampler_name",
    "default_scheduler": "scheduler_name",
    "default_performance": "performance_selection",
    "default_aspect_ratio": "aspect_ratios_selection",
    "default_vae": "vae_name",
    "default_cfg_scale": "guidance_scale",
    "default_cfg_tsnr": "adaptive_cfg",
    "default_clip_skip": "clip_skip",
    "default_loras": "loras",
    "default_inpaint_engine_version": "inpaint_engine",
    "default_overwrite_step": "overwrite_step",
    "default_overwrite_switch": "overwrite_switch",
    "default_image_number": "image_number",
    "default_save_metadata_to_images": "save_metadata_to_images",
}
"""Which parameter each key of a preset file sets (api.md section 8, last column)."""

NOT_AT_START = frozenset({"performance_selection", "image_number", "save_metadata_to_images"})
"""Parameters whose default stays fixed even when the server is started with a preset."""


class PresetError(Exception):
    """No preset has this name, or its file does not hold one; the text says which and what would work."""


def names() -> list[str]:
    """Values of the parameter `preset`, the one that changes nothing first."""
    return [INITIAL, *sorted(_files())]


def values(name: str) -> dict[str, Any]:
    """The parameters that a preset sets, checked like a request's; a key the file lacks changes nothing.

    Raises:
        PresetError: the name is unknown or the file unusable.
    """
    if name == INITIAL:
        return {}
    path = _files().get(name)
    if path is None:
        raise PresetError(f"There is no preset {name!r}; there are {', '.join(names())}")
    try:
        keys = json.loads(path.read_text("utf-8"))
        return GenerateSchema().load(
            {field: _as_sent(field, keys[key]) for key, field in FIELDS.items() if keys.get(key) is not None}
        )
    except ValidationError as error:
        reasons = "; ".join(f"{_place(fault)}: {fault.msg}" for fault in flat(error.messages, ()))
        raise PresetError(f"The preset {name!r} does not fit: {reasons}") from error
    except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise PresetError(f"The preset {name!r} cannot be read: {error}") from error


def global_defaults() -> dict[str, Any]:
    """What an absent parameter becomes: the contract's defaults under those of the preset the server started with.

    Raises:
        PresetError: the configured PRESET is unknown or unusable.
    """
    kept = current_app.extensions.setdefault("fooocus-global-defaults", {})
    if not kept:
        started_with = current_app.config.get("PRESET") or INITIAL
        at_start = {field: value for field, value in values(started_with).items() if field not in NOT_AT_START}
        kept.update(DEFAULTS | at_start)
    return {field: fresh(value) for field, value in kept.items()}


def _files() -> dict[str, Path]:
    """Every preset's file; the operator's stand in for shipped ones of the same name."""
    folders = (SHIPPED, Path(current_app.instance_path) / "presets")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.json"))}


def _as_sent(field: str, value: Any) -> Any:
    """A preset's value in a request's form: LoRAs are objects there."""
    if field != "loras":
        return value
    triples = ((True, *entry) if len(entry) == 2 else entry for entry in value)
    return [{"enabled": enabled, "model_name": name, "weight": weight} for enabled, name, weight in triples]


def _place(fault: Fault) -> str:
    return ".".join(str(step) for step in fault.loc)
