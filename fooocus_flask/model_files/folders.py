"""Where this installation's model files, word lists and styles lie: its own folders, or those of an existing Fooocus.

An existing Fooocus says in `config.txt` where its folders are; environment variables of the same names go before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from engine.files.catalogue import MODEL_FOLDERS, Folders
from fooocus_flask.model_files import config_txt
from schemas.generate import STYLE_FOLDERS

log = logging.getLogger(__name__)

EXTENSION = "fooocus-folders"
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
    config = config_txt.path_of(app)
    named = dict(_named(config_txt.read(config), config.parent))
    usual = {kind: (models / place,) for kind, place in MODEL_FOLDERS.items()}
    usual |= {"wildcards": (instance / "wildcards",), "styles": (instance / "sdxl_styles",)}
    return Folders(usual | named)


def _named(config: Mapping[str, Any], start: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The kinds whose folders somebody named, with those that exist."""
    config = {**config, **config_txt.from_environment(KEYS.values())}
    for kind, key in KEYS.items():
        named = config.get(key) or []
        folders = [named] if isinstance(named, str) else named
        if not (isinstance(folders, list) and all(isinstance(folder, str) for folder in folders)):
            log.warning("%s is %r: it should be a folder, or a list of folders", key, named)
            continue
        places = [start / Path(folder).expanduser() for folder in folders]
        there = tuple(place for place in places if place.is_dir())
        for place in places:
            if place not in there:
                used = ", ".join(map(str, there)) or "the usual one"
                log.warning("%s names the folder %s, which is not there; used instead: %s", key, place, used)
        if there:
            yield kind, there
