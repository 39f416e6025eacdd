"""Where this installation's model files, word lists and styles lie: its own folders, or those of an existing Fooocus.

An existing Fooocus says in `config.txt` where its folders are; environment variables of the same names go before it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from engine.models.catalogue import MODEL_FOLDERS, Folders
from schemas.generate import STYLE_FOLDERS

log = logging.getLogger(__name__)

EXTENSION = "fooocus-folders"
CONFIG, CONFIG_PATH = "config.txt", "config_path"
"""The file, in the instance folder unless the environment's variable names another."""
KEYS = {
    "checkpoints": "path_checkpoints",
    "loras": "path_loras",
    "embeddings": "path_embeddings",
    "vae": "path_vae",
    "vae_approx": "path_vae_approx",
    "upscale_models": "path_upscale_models",
    "inpaint": "path_inpaint",
    "controlnet": "path_controlnet",
    "clip_vision": "path_clip_vision",
    "prompt_expansion": "path_fooocus_expansion",
    "wildcards": "path_wildcards",
    "safety_checker": "path_safety_checker",
    "sam": "path_sam",
}
"""Which key of Fooocus's `config.txt` names the folder, or the folders, of each kind."""


class ConfigError(Exception):
    """`config.txt` cannot be used; the text says where and what would work."""


def init_app(app: Flask) -> None:
    """Settle the folders.

    Raises:
        ConfigError: `config.txt` is there and no JSON object.
    """
    app.extensions[EXTENSION] = found = settled(app)
    app.extensions[STYLE_FOLDERS] = found["styles"]


def of(app: Flask) -> Folders:
    """The application's folders."""
    return app.extensions[EXTENSION]


def current() -> Folders:
    """The folders of the application at hand."""
    return of(current_app._get_current_object())  # type: ignore[attr-defined]


def settled(app: Flask) -> Folders:
    """The folders of each kind: as the environment or `config.txt` says, else below the models folder."""
    models, instance = Path(app.config["MODELS_PATH"]), Path(app.instance_path)
    config = Path(os.environ.get(CONFIG_PATH) or instance / CONFIG)
    named = dict(_named(_read(config), config.parent))
    usual = {kind: (models / place,) for kind, place in MODEL_FOLDERS.items()}
    usual |= {"wildcards": (instance / "wildcards",), "styles": (instance / "sdxl_styles",)}
    return Folders(usual | named)


def _read(config: Path) -> Mapping[str, Any]:
    """What `config.txt` holds; nothing if it is not there."""
    if not config.is_file():
        return {}
    try:
        found = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{config} is no JSON: {error}. Backslashes in paths must be doubled: C:\\\\models"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f'{config} should hold a JSON object, such as {{"path_checkpoints": "/models/checkpoints"}}')
    return found


def _named(config: Mapping[str, Any], start: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The kinds whose folders somebody named, with those that exist."""
    for kind, key in KEYS.items():
        value = os.environ.get(key) or config.get(key)
        if not value:
            continue
        folders = [start / Path(folder).expanduser() for folder in ([value] if isinstance(value, str) else value)]
        there = tuple(folder for folder in folders if folder.is_dir())
        for folder in folders:
            if folder not in there:
                log.warning("%s names the folder %s, which is not there", key, folder)
        if there:
            yield kind, there
