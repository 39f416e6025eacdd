"""The model files of an installation: which there are, where each lies, and where a new one goes. No torch."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

from engine.choices import BUILTIN_CHECKPOINT
from engine.errors import CheckpointError
from engine.files import builtin_set

log = logging.getLogger(__name__)

MODEL_SUFFIXES = (".pth", ".ckpt", ".bin", ".safetensors")
AUXILIARY_SUFFIXES = (*MODEL_SUFFIXES, ".pt")
SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "checkpoints": MODEL_SUFFIXES,
        "loras": MODEL_SUFFIXES,
        "embeddings": (".safetensors", ".pt", ".bin"),
        "vae": MODEL_SUFFIXES,
        "vae_approx": AUXILIARY_SUFFIXES,
        "upscale_models": AUXILIARY_SUFFIXES,
        "inpaint": (*AUXILIARY_SUFFIXES, ".patch", ".onnx"),
        "controlnet": (*AUXILIARY_SUFFIXES, ".onnx"),
        "clip_vision": (*AUXILIARY_SUFFIXES, ".onnx", ".csv"),
        "prompt_expansion": AUXILIARY_SUFFIXES,
        "safety_checker": AUXILIARY_SUFFIXES,
        "sam": AUXILIARY_SUFFIXES,
        "wildcards": (".txt",),
        "styles": (".json",),
    }
)
"""The kinds of folder, and the suffixes that files of a kind have."""
MODEL_FOLDERS: Mapping[str, str] = MappingProxyType(
    {kind: kind for kind in SUFFIXES if kind not in ("wildcards", "styles")}
    | {"prompt_expansion": "prompt_expansion/fooocus_expansion"}
)
"""Where each kind lies below a models folder laid out like Fooocus's."""

HASH_SUFFIX = re.compile(r" \[[0-9a-fA-F]{8,64}\]$")


@dataclass(frozen=True)
class Folders:
    """The folders of each kind, in the order they are searched."""

    by_kind: Mapping[str, tuple[Path, ...]]

    def __post_init__(self) -> None:
        unknown = self.by_kind.keys() - SUFFIXES.keys()
        if unknown:
            raise ValueError(f"there is no kind of folder called {', '.join(sorted(unknown))}")
        object.__setattr__(self, "by_kind", MappingProxyType(dict(self.by_kind)))

    def __getitem__(self, kind: str) -> tuple[Path, ...]:
        """The folders of a kind, none if it has none.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in SUFFIXES:
            raise ValueError(f"there is no kind of folder called {kind}")
        return self.by_kind.get(kind, ())

    @classmethod
    def below(cls, models: Path) -> Folders:
        """Those of one models folder laid out like Fooocus's."""
        return cls({kind: (models / place,) for kind, place in MODEL_FOLDERS.items()})

    def to_json(self) -> str:
        """The folders as text for another process."""
        return json.dumps({kind: [str(folder) for folder in folders] for kind, folders in self.by_kind.items()})

    @classmethod
    def from_json(cls, text: str) -> Folders:
        """The inverse of `to_json`."""
        return cls({kind: tuple(map(Path, folders)) for kind, folders in json.loads(text).items()})


class Catalogue:
    """The files in these folders, read from the disk at each call; `builtin` is the built-in model's file, if there is.

    `elsewhere` are names of each kind that `names` tells besides, of files that can be had from other machines.

    Names are paths relative to a folder of their kind, with `/` between the parts. Where several folders of a kind
    have a file of the same name, the first one's is meant.
    """

    def __init__(
        self,
        folders: Folders,
        builtin: Path | None = builtin_set.CHECKPOINT,
        elsewhere: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.folders, self.builtin, self._elsewhere = folders, builtin, elsewhere

    @property
    def has_builtin(self) -> bool:
        """Whether there is a built-in model."""
        return self.builtin is not None and self.builtin.is_file()

    def names(self, kind: str) -> list[str]:
        """The names of a kind, folder after folder; in each, sub-folders come first and case does not count."""
        return list(dict.fromkeys([*self._names_here(kind), *self._elsewhere.get(kind, ())]))

    def _names_here(self, kind: str) -> list[str]:
        return list(dict.fromkeys(name for folder in self.folders[kind] for name in _names_below(folder, kind)))

    def find(self, kind: str, name: str) -> Path | None:
        """The path of the file of this kind and name, or None; a name that leads out of its folder finds nothing.

        Where no file has that very name, the only one that `matching` it finds is meant.
        """
        found = next((path for path in self._places(kind, name) if path.is_file()), None)
        if found is None and (kind, name) == ("checkpoints", BUILTIN_CHECKPOINT) and self.has_builtin:
            return self.builtin
        if found is None and stays_inside(name.replace("\\", "/")):
            meant = matching(name, self._names_here(kind))
            places = self._places(kind, meant[0]) if len(meant) == 1 else []
            found = next((path for path in places if path.is_file()), None)
        return found

    def path(self, kind: str, name: str) -> Path:
        """The path of the file of this kind and name.

        Raises:
            CheckpointError: there is no such file; the text says where to look.
        """
        path = self.find(kind, name)
        if path is None:
            raise CheckpointError(
                f"{name} is not in the models folder {kind}; GET /v1/engines/all-models lists what is"
            )
        return path

    def name(self, kind: str, path: str) -> str:
        """The name of the file at this path: the inverse of `find`; of one in no folder of its kind, its last part."""
        places = [folder for folder in self.folders[kind] if Path(path).is_relative_to(folder)]
        return Path(path).relative_to(places[0]).as_posix() if places else Path(path).name

    def target(self, kind: str, name: str) -> Path:
        """The path for a downloaded file: that of the copy there is, else one in the kind's first folder.

        Raises:
            ValueError: the kind has no folder, or no file of it can have this name.
        """
        places = self._places(kind, name)
        if not places:
            raise ValueError(f"no file of {kind} can be called {name!r}")
        return next((path for path in places if path.is_file()), places[0])

    def checkpoints(self) -> list[str]:
        """The checkpoints' names, the built-in model last."""
        names = self.names("checkpoints")
        if self.has_builtin and BUILTIN_CHECKPOINT not in names:
            names.append(BUILTIN_CHECKPOINT)
        return names

    def loras(self) -> list[str]:
        """The LoRAs' names."""
        return self.names("loras")

    def vaes(self) -> list[str]:
        """The names of VAEs that can replace a checkpoint's own."""
        return self.names("vae")

    def _places(self, kind: str, name: str) -> list[Path]:
        """Where a file of this name may lie; nowhere if the name leads out or has no suffix of its kind."""
        folders, name = self.folders[kind], name.replace("\\", "/")
        if not stays_inside(name) or not has_suffix(PurePosixPath(name), SUFFIXES[kind]):
            return []
        return [folder / name for folder in folders]


def matching(name: str, there: Sequence[str]) -> list[str]:
    """The files that a name means: the one of that very name or path, else all of that name in any folder.

    Web UIs and other programs write names without their suffix, with folders of their own, with `\\` for `/`, or with
    a hash in brackets behind them.
    """
    name = HASH_SUFFIX.sub("", name.strip()).replace("\\", "/")
    spelled = {file: file.replace("\\", "/") for file in there}
    exact = [file for file, path in spelled.items() if path == name]
    exact = exact or [file for file, path in spelled.items() if path.casefold() == name.casefold()]
    if exact or not stays_inside(name):
        return exact[:1]
    paths = {file: PurePosixPath(path) for file, path in spelled.items()}
    within = [file for file, path in paths.items() if str(path.with_suffix("")) == name]
    bare = PurePosixPath(name).name
    return within[:1] or [file for file, path in paths.items() if bare in (path.name, path.stem)]


def _names_below(folder: Path, kind: str) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in files_with(folder, SUFFIXES[kind]))


def files_with(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Every file below a folder with one of these suffixes: sub-folders first, each sorted without case.

    Links are followed, except to a folder that they lie in. Names that are not UTF-8 are left out, and logged.
    """
    yield from _files_with(folder, suffixes, ())


def _files_with(folder: Path, suffixes: tuple[str, ...], above: tuple[Path, ...]) -> Iterator[Path]:
    place = folder.resolve()
    if not folder.is_dir() or place in above:
        return
    entries = sorted(named_in_text(folder.iterdir()), key=lambda entry: (entry.name.casefold(), entry.name))
    for entry in entries:
        if entry.is_dir():
            yield from _files_with(entry, suffixes, (*above, place))
    for entry in entries:
        if entry.is_file() and has_suffix(entry, suffixes):
            yield entry


def named_in_text(entries: Iterable[Path]) -> Iterator[Path]:
    """The files and folders whose names are UTF-8; no answer could name the others, which are logged once."""
    for entry in entries:
        if _is_text(entry.name):
            yield entry
        else:
            _tell_unnamable(entry)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=1000)
def _tell_unnamable(path: Path) -> None:
    log.warning("%r is left out of the listings: its name is not UTF-8; rename it", os.fsencode(path))


def has_suffix(path: PurePosixPath | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's last suffix is one of these, whatever its case."""
    return path.suffix.casefold() in suffixes


LONGEST_PART, LONGEST_PATH = 255, 1024
"""Bytes of a file's name, and characters of the way to it below a folder: more is an error of the system."""


def stays_inside(name: str) -> bool:
    """Whether a relative name cannot lead out of its folder, whatever system reads it, and is none that no disk has."""
    windows = PureWindowsPath(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = windows.drive or windows.root or name.startswith("/") or ".." in parts
    too_long = len(name) > LONGEST_PATH or any(len(part.encode("utf-8", "replace")) > LONGEST_PART for part in parts)
    return bool(name) and not outside and not too_long and "\0" not in name
