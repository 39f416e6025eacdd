"""Where this installation's model files, word lists and styles lie: its own folders, or those of an existing Fooocus.

An existing Fooocus says in `config.txt` where its folders are; environment variables of the same names go before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from engine.files import builtin_set
from engine.files.catalogue import MODEL_FOLDERS, Catalogue, Folders
from engine.prompt.styles import Styles, styles_in
from fooocus_flask.extension import Extension
from fooocus_flask.model_files import config_txt
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.model_files.fleet_files import fleet_files

log = logging.getLogger(__name__)

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


NOT_USED = {
    "path_outputs": "results lie in {}, as the setting OUTPUT_PATH or the flag --output-path says",
    "temp_path": "nothing is kept there; results lie in {}, as the setting OUTPUT_PATH or the flag --output-path says",
}
"""Keys of `config.txt` that name folders whose place another setting decides, and which does."""


def configured(app: Flask) -> Folders:
    """The folders of each kind: as the environment or `config.txt` says, else below the models folder.

    Raises:
        ConfigError: `config.txt` is there and no JSON object.
    """
    models, instance = Path(app.config["MODELS_PATH"]), Path(app.instance_path)
    config = config_txt.path_of(app)
    found = config_txt.read(config)
    _warn_of_others({**found, **config_txt.from_environment(NOT_USED)}, config.parent, app)
    named = dict(_named(found, config.parent))
    usual = {kind: (models / place,) for kind, place in MODEL_FOLDERS.items()}
    usual |= {"wildcards": (instance / "wildcards",), "styles": (instance / "sdxl_styles",)}
    if fooocus := app.config.get("PATH"):
        usual |= {"wildcards": (Path(fooocus, "wildcards"),), "styles": (Path(fooocus, "sdxl_styles"),)}
    return Folders(usual | named)


folders = Extension("fooocus-folders", configured)


def model_catalogue(app: Flask) -> Catalogue:
    """The model files of this server, as they lie there now; the built-in model where our own engine draws.

    Names of those that only machines of the fleet have are told too.
    """
    builtin = None if checkout.of(app) else builtin_set.CHECKPOINT
    return Catalogue(folders.of(app), builtin, fleet_files.of(app).names())


def styles() -> Styles:
    """The styles that a request may name: the shipped ones and the user's own, or those of the Fooocus that draws."""
    return styles_in(folders.current()["styles"], shipped=checkout.current() is None)


def style_names() -> list[str]:
    """Every style that a request may name."""
    return styles().names()


def _warn_of_others(config: Mapping[str, Any], start: Path, app: Flask) -> None:
    """Say what decides in place of the folders that Fooocus's keys name and that are not used."""
    where = app.config.get("OUTPUT_PATH")
    for key, instead in NOT_USED.items():
        named = config.get(key)
        same = isinstance(named, str) and start / Path(named).expanduser() == Path(str(where))
        if named and not same:
            log.warning("%s is %r and is not used: %s", key, named, instead.format(where))


def _named(config: Mapping[str, Any], start: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The kinds whose folders somebody named, with those that exist."""
    config = {**config, **config_txt.from_environment(KEYS.values())}
    for kind, key in KEYS.items():
        named = config.get(key) or []
        listed = [named] if isinstance(named, str) else named
        if not (isinstance(listed, list) and all(isinstance(folder, str) for folder in listed)):
            log.warning("%s is %r: it should be a folder, or a list of folders", key, named)
            continue
        places = [start / Path(folder).expanduser() for folder in listed]
        there = tuple(place for place in places if place.is_dir())
        for place in places:
            if place not in there:
                if not str(place).isprintable():
                    log.warning("%s names %r: double the backslashes of paths: C:\\\\models", key, str(place))
                used = ", ".join(map(str, there)) or "the usual one"
                log.warning("%s names the folder %s, which is not there; used instead: %s", key, place, used)
        if there:
            yield kind, there
