"""Presets: named bundles of parameters, shipped in `presets/` or added by the operator in the instance's `presets/`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flask import Flask, current_app

from engine.choices import NO_MODEL
from engine.files import known_files
from engine.files.catalogue import SUFFIXES, Catalogue, has_suffix, named_in_text, stays_inside
from engine.files.known_files import KnownFile
from engine.files.text_files import read_text
from fooocus_flask.errors import StartError
from fooocus_flask.extension import Extension
from fooocus_flask.model_files import config_txt
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.model_files.folders import model_catalogue, style_names
from schemas.faults import Fault, flat
from schemas.fields import fresh
from schemas.generate import DEFAULTS, MOST_LORAS, GenerateSchema

log = logging.getLogger(__name__)

PLACE = "presets"
SHIPPED = Path(__file__).with_name(PLACE)
INITIAL = "initial"
OF_ALL = "default"
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

SCHEMA = GenerateSchema(style_names=style_names)
"""What a preset's values must fit, made once: making one copies all its fields."""
DEPRECATED_LORA = "default_lora"
"""How presets of Fooocus of its first months named their one LoRA; with `_weight` behind it, its weight."""
MOST_KEYS, LONGEST_KEY = 8, 64
"""Keys without effect that a note names, and their characters."""


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
    return values_and_notes(name)[0]


def values_and_notes(name: str) -> tuple[dict[str, Any], list[str]]:
    """The same, with notes on what does not fit: such keys, and such entries of lists and downloads, change nothing.

    Raises:
        PresetError: the name is unknown or the file unusable.
    """
    notes: list[str] = []
    found, source = keys(name), f"the preset {name}"
    fitting = _fitting(found, FIELDS, source, notes)
    _downloads(found, source, notes)
    return fitting, notes + _unused(found, FIELDS, source)


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
        found = json.loads(read_text(path))
    except OSError as error:
        raise PresetError(f"The preset {name!r} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PresetError(f"The preset {name!r} cannot be read: {config_txt.why_no_json(error)}") from error
    if not isinstance(found, dict):
        raise PresetError(f"The preset {name!r} cannot be read: it should be a JSON object")
    return found


def downloads(name: str) -> list[KnownFile]:
    """The model files that a preset says where to get; what is no file name or no address is left out.

    Raises:
        PresetError: the name is unknown or the file unusable.
    """
    return _downloads(keys(name), f"the preset {name}", [])


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
    preset, notes = keys(started_with), list[str]()
    values = dict(DEFAULTS)
    if checkout.of(app):
        values |= _fitting(_defaults_of_all(), AT_START, f"the preset {OF_ALL}", notes)
    values |= _fitting(config, AT_START, str(path), notes)
    values |= _fitting(preset, AT_START, f"the preset {started_with}", notes)
    values |= _fitting(environment, AT_START, "the environment", notes)
    for note in [*notes, *_unused(preset, AT_START | FIELDS, f"the preset {started_with}")]:
        log.warning("%s", note)
    wanted, models = values["base_model_name"], model_catalogue(app)
    model = installed_model(wanted, _previous(config, preset), models)
    if model != wanted:
        log.info("The default checkpoint is %s, as %s is not on this server", model, wanted)
    return values | {"base_model_name": model}


def _standing_downloads(app: Flask) -> list[KnownFile]:
    path, started_with, notes = config_txt.path_of(app), app.config.get("PRESET") or INITIAL, list[str]()
    found = _downloads(config_txt.read(path), str(path), notes)
    found += _downloads(keys(started_with), f"the preset {started_with}", notes)
    for note in notes:
        log.warning("%s", note)
    return found


_defaults_kept = Extension("fooocus-global-defaults", _standing)
_downloads_kept = Extension("fooocus-standing-downloads", _standing_downloads)


def _downloads(found: Mapping[str, Any], source: str, notes: list[str]) -> list[KnownFile]:
    """The files of these keys; only http and https lead anywhere. Notes tell of the entries that are left out."""
    files = []
    for key, kind in DOWNLOADS.items():
        listed = found.get(key) or {}
        if not isinstance(listed, dict):
            notes.append(f"{key} of {source} is left out: it should be an object of file names and addresses")
            continue
        for file, url in listed.items():
            if not (stays_inside(file) and has_suffix(PurePosixPath(file), SUFFIXES[kind])):
                suffixes = ", ".join(SUFFIXES[kind])
                notes.append(f"{key} of {source}: {file} is left out: it should be a file name that ends in {suffixes}")
            elif not (isinstance(url, str) and url.startswith(("https://", "http://"))):
                notes.append(f"{key} of {source}: {file} is left out: {url!r} is no http:// or https:// address")
            else:
                name = file.replace("\\", "/")
                known = known_files.by_name(kind, name)
                files.append(known if known and known.url == url else KnownFile(kind, name, url))
    return files


def _defaults_of_all() -> dict[str, Any]:
    """The preset whose values Fooocus has under all others: that of the Fooocus that draws, or the shipped one."""
    found = checkout.current()
    folder = found.root / PLACE if found else SHIPPED
    return dict(config_txt.read(folder / f"{OF_ALL}.json"))


def _previous(*layers: Mapping[str, Any]) -> list[str]:
    """Older versions of the default checkpoint, as the last layer says that says something."""
    previous: Any = next((layer[PREVIOUS] for layer in (*layers[::-1], _defaults_of_all()) if PREVIOUS in layer), [])
    return [name for name in previous if isinstance(name, str)] if isinstance(previous, list) else []


def _fitting(found: Mapping[str, Any], fields: Mapping[str, str], source: str, notes: list[str]) -> dict[str, Any]:
    """The parameters that these keys set, checked like a request's; notes tell of what does not fit and is left out."""
    fitting: dict[str, Any] = {}
    for key, field in fields.items():
        if found.get(key) is not None:
            fitting |= _checked(field, found[key], f"{key} of {source}", notes)
    if DEPRECATED_LORA in found and "default_loras" not in found:
        instead = [[found[DEPRECATED_LORA], found.get(f"{DEPRECATED_LORA}_weight", 1.0)]]
        notes.append(f"{DEPRECATED_LORA} of {source} is left out: write default_loras: {json.dumps(instead)}")
    return fitting


def _unused(found: Mapping[str, Any], fields: Mapping[str, str], source: str) -> list[str]:
    """What to tell of a preset's keys that set none of these parameters; those that begin with `_` are remarks."""
    known = {*fields, *DOWNLOADS, PREVIOUS, DEPRECATED_LORA, f"{DEPRECATED_LORA}_weight"}
    unused = [key[:LONGEST_KEY] for key in found if key not in known and not key.startswith("_")]
    if not unused:
        return []
    more = f" and {len(unused) - MOST_KEYS} more" if len(unused) > MOST_KEYS else ""
    return [f"Keys of {source} that set nothing here: {', '.join(unused[:MOST_KEYS])}{more}"]


def _checked(field: str, value: Any, place: str, notes: list[str]) -> dict[str, Any]:
    """The parameter, if the value fits; of a list that which fits."""
    told = len(notes)
    if field == "loras" and isinstance(value, list | tuple):
        value = _loras(value, place, notes)
    faults = list(flat(SCHEMA.validate({field: value}), ()))
    unfit = {step: fault.msg for fault in faults for step in fault.loc[1:2] if isinstance(step, int)}
    if isinstance(value, list) and len(unfit) > 0:
        notes += [f"{place}: {_named(value[index])} is left out: {reason}" for index, reason in unfit.items()]
        value = [entry for index, entry in enumerate(value) if index not in unfit]
        faults = list(flat(SCHEMA.validate({field: value}), ()))
    if faults:
        notes.append(f"{place} is left out: {_reasons(faults)}")
    if faults or (value == [] and len(notes) > told):  # of a list of which nothing fits, nothing is meant
        return {}
    checked: dict[str, Any] = SCHEMA.load({field: value})
    return checked


def _loras(listed: Iterable[Any], place: str, notes: list[str]) -> list[dict[str, Any]]:
    """A preset's LoRAs in a request's form, empty slots left out; those that are on go first where some do not fit."""
    loras = []
    for entry in listed:
        triple = [True, *entry] if isinstance(entry, list | tuple) and len(entry) == 2 else entry
        if not (isinstance(triple, list | tuple) and len(triple) == 3):
            form = "[name, weight] or [true or false, name, weight]"
            notes.append(f"{place}: {entry!r} is left out: it should be {form}")
        elif str(triple[1]).casefold() not in ("", NO_MODEL.casefold()):
            loras.append(dict(zip(("enabled", "model_name", "weight"), triple, strict=True)))
    active = [lora for lora in loras if lora["enabled"]]
    kept = loras if len(loras) <= MOST_LORAS else active[:MOST_LORAS]
    for lora in active[len(kept) :]:
        notes.append(f"{place}: {lora['model_name']} is left out: at most {MOST_LORAS} LoRAs act at a time")
    return kept


def _named(entry: Any) -> str:
    return str(entry.get("model_name")) if isinstance(entry, dict) else str(entry)


def _reasons(faults: Sequence[Fault]) -> str:
    return "; ".join(f"{_place(fault)}: {fault.msg}" for fault in faults)


def _files() -> dict[str, Path]:
    """Every preset's file; the operator's stand in for shipped ones of the same name.

    Those of the Fooocus that draws, and no others, if one does.
    """
    found = checkout.current()
    places = (found.root / PLACE,) if found else (SHIPPED, Path(current_app.instance_path) / PLACE)
    return {path.stem: path for folder in places for path in sorted(named_in_text(folder.glob("*.json")))}


def _place(fault: Fault) -> str:
    return ".".join(str(step) for step in fault.loc)
