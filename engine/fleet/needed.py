"""Which of the head's model files a task or a look may use, with what is in them. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from engine.choices import EXPANSION_STYLE
from engine.errors import CheckpointError
from engine.files.catalogue import Catalogue
from engine.files.file_sets import file_set
from engine.files.hashes import FileState, HashCache, file_hash
from engine.fleet.file_store import FleetFile
from engine.messages import Draw, Look
from engine.params import GenerateParams
from engine.prompt.files import files_below
from engine.prompt.lora_tags import tagged_loras
from engine.required_files import description_needs, mask_needs

SMALL = 1 << 20
"""Bytes up to which a file's hash is not kept for the next start."""
INPUTS = "/inputs/"
"""How the paths of input pictures begin in a request's parameters."""
TEXTS = {"wildcards": ".txt", "styles": ".json"}
"""Kinds of which all files go along: which of them a prompt means shows only when it is read."""


class HeadFiles:
    """The files of the head's folders."""

    def __init__(self, catalogue: Catalogue, hashes: HashCache) -> None:
        self.catalogue, self.hashes = catalogue, hashes
        self._small: dict[FileState, str] = {}

    def of_task(self, task: Draw) -> list[FleetFile]:
        """Those that a task may use, its checkpoint first, if it has one.

        What is missing here is left out, and told by whoever looks for it.

        Raises:
            FileNotFoundError: the checkpoint is gone.
        """
        params = GenerateParams.from_dict(task.params)
        files = file_set(self.catalogue, task.checkpoint)
        found = [] if task.checkpoint is None else [self.checkpoint(task.checkpoint)]
        found += self._texts()
        for need in files.needs(params):
            name = next((name for name in need.names if self.catalogue.find(need.kind, name)), None)
            found += [self._named(need.kind, name)] if name else []
        tags = set(tagged_loras(params))
        found += [self._named("loras", name) for name in self.catalogue.loras() if PurePosixPath(name).stem in tags]
        if files.takes_sdxl_files:
            found += [self._named(kind, name) for kind in ("embeddings", "vae_approx") for name in self._names(kind)]
        if EXPANSION_STYLE in params.style_selections:
            found += self._expansion()
        return list({file.place: file for file in found}.values())

    def of_look(self, look: Look) -> list[FleetFile]:
        """Those that a look uses."""
        needs = (
            description_needs(look.options.get("kind", "Photo"))
            if look.purpose == "describe"
            else mask_needs(look.options["model"], look.options.get("sam_model", "vit_b"))
        )
        return [self._named(need.kind, need.name) for need in needs if self.catalogue.find(need.kind, need.name)]

    def checkpoints(self) -> list[FleetFile]:
        """All checkpoints; those whose hash is not known have an empty one."""
        found = []
        for name in self.catalogue.names("checkpoints"):
            with suppress(OSError, CheckpointError):  # gone since
                found.append(self.checkpoint(str(self.catalogue.path("checkpoints", name)), hashed=False))
        return found

    def checkpoint(self, path: str, *, hashed: bool = True) -> FleetFile:
        """The checkpoint with this path; where it need not be `hashed`, the hash is empty unless it is known."""
        return self._file("checkpoints", self.catalogue.name("checkpoints", path), Path(path), hashed=hashed)

    def _names(self, kind: str) -> list[str]:
        return self.catalogue.names(kind)

    def _named(self, kind: str, name: str) -> FleetFile:
        return self._file(kind, name, self.catalogue.path(kind, name))

    def _texts(self) -> Iterator[FleetFile]:
        for kind, suffix in TEXTS.items():
            for folder in reversed(self.catalogue.folders[kind]):  # earlier folders win
                for path in files_below(folder, suffix):
                    yield self._file(kind, path.relative_to(folder).as_posix(), path)

    def _expansion(self) -> list[FleetFile]:
        """Everything beside the model that expands prompts."""
        kind = "prompt_expansion"
        folder = next((folder for folder in self.catalogue.folders[kind] if folder.is_dir()), None)
        paths = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
        return [self._file(kind, path.name, path) for path in paths]

    def _file(self, kind: str, name: str, path: Path, *, hashed: bool = True) -> FleetFile:
        state = FileState.of_file(path)
        digest = self._hash(path, state) if hashed else self.hashes.known(path) or ""
        return FleetFile(kind, name, state.size, digest, str(path), state.mtime_ns)

    def _hash(self, path: Path, state: FileState) -> str:
        if state.size > SMALL:
            return self.hashes.hash(path)
        if state not in self._small:
            self._small[state] = file_hash(path)
        return self._small[state]


def input_pictures(task: Draw) -> dict[str, bytes]:
    """The input pictures that a task names, file by name; one that is gone is told by whoever reads it."""
    paths = (Path(task.inputs) / PurePosixPath(text).name for text in _references(task.params))
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _references(values: Any) -> Iterator[str]:
    """Every reference to an input picture among the parameters."""
    if isinstance(values, str):
        yield from [values] if values.startswith(INPUTS) else []
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _references(value)
    elif isinstance(values, Sequence):
        for value in values:
            yield from _references(value)
