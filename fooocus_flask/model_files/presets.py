"""Presets: named bundles of parameters, shipped in `presets/` or added by the operator in the instance's `presets/`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flask import Flask, current_app
from marshmallow import ValidationError

from engine.files import known_files
from engine.files.catalogue import SUFFIXES, Catalogue, has_suffix, stays_inside
from engine.files.known_files import KnownFile
from fooocus_flask.errors import StartError
from fooocus_flask.extension import Extension
from fooocus_flask.model_files import config_txt
from fooocus_flask.model_files.folders import folders, style_names
from schemas.faults import Fault, flat
from schemas.fields import fresh
from schemas.generate import DEFAULTS, GenerateSchema

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("presets")
INITIAL = "initial"
PREVIOUS = "previous_default_models"
DOWNLOADS = {
    "checkpoint_downloads": "checkpoints",
    "embeddings_downloads": "embeddings",
    "lora_downloads": "loras",
    "vae_downloads": "vae",
}
"""Keys of a preset that say where files of a kind can be had."""

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
"""Which parameter each key of a preset file sets."""

NOT_AT_START = frozenset({"performance_selection", "image_number", "save_metadata_to_images"})
"""Parameters whose default stays fixed even when the server is started with a preset."""

AT_START = {key: field for key, field in FIELDS.items() if field not in NOT_AT_START} | {
    "default_output_format": "output_format",
    "default_black_out_nsfw": "black_out_nsfw",
}
"""Which parameter's default each key sets that Fooocus's `config.txt`, the environment or the start's preset has."""


class PresetError(StartError):
    """No preset has this name, or its file does not hold one; the text says which and what would work."""


def names() -> list[str]:
    """Values of the parameter `preset`, the one that changes nothing first."""
    return [INITIAL, *sorted(_files())]


def values(name: str) -> dict[str, Any]:
    """The parameters that a preset sets, checked like a request's; a key the file lacks changes nothing.

    Raises:
        PresetError: the name is unknown or the file unusable.
    """
    return _loaded(name, FIELDS)


def keys(name: str) -> dict[str, Any]:
    """What the preset's file holds.

    Raises:
        PresetError: the name is unknown or the file unusable.
    """
    if name == INITIAL:
        return {}
    path = _files().get(name)
    if path is None:
        raise PresetError(f"There is no preset {name!r}; there are {', '.join(names())}")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PresetError(f"The preset {name!r} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise PresetError(f"The preset {name!r} cannot be read: it should be a JSON object")
    return found


def downloads(name: str) -> list[KnownFile]:
    """The model files that a preset says where to get.

    Raises:
        PresetError: the name is unknown, the file unusable, or what it says is no file name or no address.
    """
    return _downloads(keys(name), f"The preset {name!r}")


def standing_downloads() -> list[KnownFile]:
    """The same of `config.txt` and of the preset the server was started with, which goes before; settled once.

    Raises:
        PresetError: the configured PRESET is unusable.
        ConfigError: `config.txt` is there and no JSON object.
    """
    return _downloads_kept.current()


def global_defaults() -> dict[str, Any]:
    """What an absent parameter becomes; settled once.

    The contract's defaults lie under those of `config.txt`, these under those of the preset the server started with,
    and environment variables of the keys' names on top.

    Raises:
        PresetError: the configured PRESET is unknown or unusable.
        ConfigError: `config.txt` is there and no JSON object.
    """
    return {field: fresh(value) for field, value in _defaults_kept.current().items()}


def installed_model(model: str, previous: Sequence[str], models: Catalogue) -> str:
    """The checkpoint, or where it is not there the first of its `previous` versions that is."""
    if models.find("checkpoints", model):
        return model
    return next((name for name in previous if models.find("checkpoints", name)), model)


def _standing(app: Flask) -> dict[str, Any]:
    path, started_with = config_txt.path_of(app), app.config.get("PRESET") or INITIAL
    config, environment = config_txt.read(path), config_txt.from_environment(AT_START)
    values = DEFAULTS | _fitting(config, path) | _loaded(started_with, AT_START)
    values |= _fitting(environment, "the environment")
    wanted, models = values["base_model_name"], Catalogue(folders.of(app))
    model = installed_model(wanted, _previous(config, keys(started_with)), models)
    if model != wanted:
        log.info("The default checkpoint is %s, as %s is not on this server", model, wanted)
    return values | {"base_model_name": model}


def _standing_downloads(app: Flask) -> list[KnownFile]:
    path = config_txt.path_of(app)
    found = downloads(app.config.get("PRESET") or INITIAL)
    try:
        return [*_downloads(config_txt.read(path), str(path)), *found]
    except PresetError as error:
        log.warning("Nothing is fetched from the addresses there: %s", error)
        return found


_defaults_kept = Extension("fooocus-global-defaults", _standing)
_downloads_kept = Extension("fooocus-standing-downloads", _standing_downloads)


def _downloads(found: Mapping[str, Any], source: str) -> list[KnownFile]:
    """The files of these keys; only http and https lead anywhere."""
    files = []
    for key, kind in DOWNLOADS.items():
        listed = found.get(key) or {}
        if not isinstance(listed, dict):
            raise PresetError(f"{source} does not fit: {key} should be an object of file names and addresses")
        for file, url in listed.items():
            legal = stays_inside(file) and has_suffix(PurePosixPath(file), SUFFIXES[kind])
            if not (legal and isinstance(url, str) and url.startswith(("https://", "http://"))):
                raise PresetError(f"{source} does not fit: {key} has {file!r} from {url!r}")
            name = file.replace("\\", "/")
            known = known_files.by_name(kind, name)
            files.append(known if known and known.url == url else KnownFile(kind, name, url))
    return files


def _previous(*layers: Mapping[str, Any]) -> list[str]:
    """Older versions of the default checkpoint, as the last layer says that says something."""
    shipped = json.loads((SHIPPED / "default.json").read_text("utf-8"))
    previous = next(layer[PREVIOUS] for layer in (*layers[::-1], shipped) if PREVIOUS in layer)
    return [name for name in previous if isinstance(name, str)] if isinstance(previous, list) else []


def _loaded(name: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that a preset's keys set."""
    try:
        return _parameters(keys(name), fields)
    except ValidationError as error:
        raise PresetError(f"The preset {name!r} does not fit: {_reasons(error)}") from error
    except (ValueError, TypeError) as error:
        raise PresetError(f"The preset {name!r} cannot be read: {error}") from error


def _fitting(found: Mapping[str, Any], source: Path | str) -> dict[str, Any]:
    """The defaults that these keys set; one that does not fit is logged and left out."""
    fitting: dict[str, Any] = {}
    for key, field in AT_START.items():
        try:
            fitting |= _parameters(found, {key: field})
        except ValidationError as error:
            log.warning("%s of %s is left out: %s", key, source, _reasons(error))
        except (ValueError, TypeError) as error:
            log.warning("%s of %s is left out: %s", key, source, error)
    return fitting


def _parameters(found: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The values of these keys, checked like a request's."""
    sent = {field: _as_sent(field, found[key]) for key, field in fields.items() if found.get(key) is not None}
    checked: dict[str, Any] = GenerateSchema(style_names=style_names).load(sent)
    return checked


def _reasons(error: ValidationError) -> str:
    return "; ".join(f"{_place(fault)}: {fault.msg}" for fault in flat(error.messages, ()))


def _files() -> dict[str, Path]:
    """Every preset's file; the operator's stand in for shipped ones of the same name."""
    places = (SHIPPED, Path(current_app.instance_path) / "presets")
    return {path.stem: path for folder in places for path in sorted(folder.glob("*.json"))}


def _as_sent(field: str, value: Any) -> Any:
    """A preset's value in a request's form: LoRAs are objects there."""
    if field != "loras":
        return value
    triples = ((True, *entry) if len(entry) == 2 else entry for entry in value)
    return [{"enabled": enabled, "model_name": name, "weight": weight} for enabled, name, weight in triples]


def _place(fault: Fault) -> str:
    return ".".join(str(step) for step in fault.loc)
