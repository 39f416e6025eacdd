"""Where pictures lie, and how they are called: a folder a day, a name nobody had before."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from flask import current_app

from engine.modes import most_pictures
from engine.params import GenerateParams
from fooocus_flask.pictures import removals
from fooocus_flask.pictures.folder_storage import OUTPUTS
from fooocus_flask.pictures.storage import storage


def folder() -> Path:
    """The outputs folder."""
    return Path(current_app.config["OUTPUT_PATH"])


def fetched(paths: Iterable[str]) -> list[Path]:
    """The files of these results, on this machine as far as they are kept anywhere.

    Raises:
        StorageFault: the bucket cannot be asked for one that is not here.
    """
    here, paths = storage.current(), list(paths)
    for path in paths:
        here.fetch(f"{OUTPUTS}/{path}")
    return [folder() / path for path in paths]


def names(params: GenerateParams, now: dt.datetime, *, stem: str = "", taken: Collection[str] = ()) -> list[str]:
    """A path below the outputs folder for each picture a task may give.

    They are named by the request's name for them, else by `stem`, else by the moment. Nothing lies there yet, and none
    is `taken` by a task that is drawn beside. In a bucket a request's name gets a random number behind it.
    """
    saved, ending, number = params.save_name or stem, params.output_format, most_pictures(params)
    if params.save_name and storage.current().remote:  # what a bucket has by this name is not known without asking
        saved = f"{saved}_{secrets.token_hex(4)}"
    return named(saved, number, ending, now, taken) if saved else numbered(number, ending, now, taken)


def numbered(number: int, ending: str, now: dt.datetime, taken: Collection[str] = ()) -> list[str]:
    """`2024-07-05/2024-07-05_09-31-10_1752.png`: the moment, and a random number."""
    found: list[str] = []
    while len(found) < number:
        path = f"{now:%Y-%m-%d}/{now:%Y-%m-%d_%H-%M-%S}_{random_number()}.{ending}"
        if path not in found and is_free(path, taken):
            found.append(path)
    return found


def named(saved: str, number: int, ending: str, now: dt.datetime, taken: Collection[str] = ()) -> list[str]:
    """`2024-07-05/cat-0.png` for the name cat, `pets/cat-0.png` for ../pets/cat; if taken, with a random number."""
    place, stem = saved.split("/")[1:] if saved.startswith("../") else (f"{now:%Y-%m-%d}", saved)
    for name in candidates(stem):
        paths = [f"{place}/{name}-{index}.{ending}" for index in range(number)]
        if all(is_free(path, taken) for path in paths):
            return paths
    raise AssertionError("candidates never end")


def is_free(path: str, taken: Collection[str]) -> bool:
    """Whether a picture may have this path."""
    return path not in taken and not (folder() / path).exists() and not removals.is_owed(f"{OUTPUTS}/{path}")


def candidates(stem: str) -> Iterator[str]:
    """The name, then names like it."""
    yield stem
    while True:
        yield f"{stem}_{random_number()}"


def random_number() -> int:
    """A number from 1000 to 9999; from the system's source, so that no seed decides it."""
    return 1000 + secrets.randbelow(9000)


def below(path: str) -> str:
    """An absolute path of the engine's as the database keeps it."""
    return Path(path).relative_to(folder()).as_posix()
