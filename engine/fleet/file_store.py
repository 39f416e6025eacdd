"""The model files of one machine of the fleet: its own, those of the head where it sees them, and copies of them.

A copy lies under its hash, so it is found whatever it is called, and one that broke off goes on where it ended. A card
draws with a view: folders of links that hold exactly what the head has for its task, wherever that lies here.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from engine.files.catalogue import MODEL_FOLDERS, SUFFIXES, Catalogue, Folders
from engine.files.hashes import FileState, HashCache, file_hash

PART = ".part"
SHARED = tuple(kind for kind in MODEL_FOLDERS if kind not in ("embeddings", "prompt_expansion"))
"""Kinds of which the head gets what only another machine has: those that a request names, or a feature does."""


class TransferError(Exception):
    """A model file did not come to a machine whole; the text is for the client."""


@dataclass(frozen=True)
class FleetFile:
    """A model file of the head: its kind, its name there, what is in it, and where and in which state it lies.

    `hash` is that of `engine.files.hashes`. `path` and `mtime_ns` tell a machine that sees the head's disk that it has
    the very file.
    """

    kind: str
    name: str
    size: int
    hash: str
    path: str
    mtime_ns: int

    @property
    def place(self) -> tuple[str, str]:
        """Kind and name."""
        return self.kind, self.name


class FileStore:
    """Those of the machine whose own models folder this is, laid out like Fooocus's; copies go below `root`."""

    def __init__(self, root: Path, models: Path | None = None) -> None:
        self.root, self.models = root, models
        self.hashes = HashCache(root / "hash_cache.txt")
        (root / "files").mkdir(parents=True, exist_ok=True)

    def find(self, file: FleetFile) -> Path | None:
        """Where this machine has the file; hashes its own of that name and size, which takes a while the first time."""
        if self._is_heads(file):
            return Path(file.path)
        copy = self._copy(file)
        if copy.is_file():
            return copy
        own = self._own(file)
        return own if own is not None and self.hashes.hash(own) == file.hash else None

    def seems_here(self, file: FleetFile) -> bool:
        """Whether this machine has the file, or one of its name and size; takes no time."""
        return self._is_heads(file) or self._copy(file).is_file() or self._own(file) is not None

    def received(self, file: FleetFile) -> int:
        """How many bytes of a copy came before it broke off."""
        part = self._part(file)
        return min(part.stat().st_size, file.size) if part.is_file() else 0

    def write(self, file: FleetFile, offset: int, data: bytes) -> None:
        """Write a part of a copy, whose beginning is there; two cards of one machine may write the same."""
        handle = os.open(self._part(file), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                written = os.pwrite(handle, rest, offset)
                offset, rest = offset + written, rest[written:]
        finally:
            os.close(handle)

    def finish(self, file: FleetFile) -> None:
        """Give a copy its name, once all of it is there.

        Raises:
            TransferError: its hash is not the head's; it is dropped.
        """
        part, copy = self._part(file), self._copy(file)
        if copy.is_file():  # the other card was quicker
            return
        if part.stat().st_size != file.size or file_hash(part) != file.hash:
            part.unlink()
            raise TransferError(f"{file.name} did not come whole to the card that was to draw: its hash is another one")
        part.replace(copy)
        self.hashes.hash(copy)

    def own_files(self) -> dict[str, dict[str, int]]:
        """The bytes of each model file in the machine's own folder, by kind and name."""
        if self.models is None:
            return {}
        own = Catalogue(Folders.below(self.models), builtin=None)
        return {
            kind: {name: path.stat().st_size for name in own.names(kind) if (path := own.find(kind, name))}
            for kind in SHARED
        }

    def own_path(self, kind: str, name: str) -> Path:
        """Where one of them lies.

        Raises:
            TransferError: it is gone.
        """
        path = Catalogue(Folders.below(self.models), builtin=None).find(kind, name) if self.models else None
        if path is None:
            raise TransferError(f"{name} is gone from the machine that had it")
        return path

    def _is_heads(self, file: FleetFile) -> bool:
        try:
            state = FileState.of_file(Path(file.path))
        except OSError:
            return False
        return (state.size, state.mtime_ns) == (file.size, file.mtime_ns)

    def _own(self, file: FleetFile) -> Path | None:
        """The machine's own file of this name and size."""
        if self.models is None or file.kind not in MODEL_FOLDERS:
            return None
        path = self.models / MODEL_FOLDERS[file.kind] / file.name
        return path if path.is_file() and path.stat().st_size == file.size else None

    def _copy(self, file: FleetFile) -> Path:
        return self.root / "files" / f"{file.hash}-{file.size}"

    def _part(self, file: FleetFile) -> Path:
        copy = self._copy(file)
        return copy.with_name(copy.name + PART)


class FileView:
    """What one card sees of its machine's store: a folder of each kind, of links to files."""

    def __init__(self, store: FileStore, root: Path) -> None:
        self.store, self.root = store, root
        shutil.rmtree(root, ignore_errors=True)
        for kind in SUFFIXES:
            (root / kind).mkdir(parents=True)
        self._shown: dict[tuple[str, str], FleetFile] = {}
        self._besides: Counter[tuple[str, str]] = Counter()
        """How many users each place has besides the task."""
        self._lock = Lock()

    @property
    def folders(self) -> Folders:
        """The folders of each kind."""
        return Folders({kind: (self.root / kind,) for kind in SUFFIXES})

    def path(self, kind: str, name: str) -> Path:
        """Where a file stands in the view, if it is shown."""
        return self.root / kind / name

    def show(self, files: Iterable[FleetFile]) -> None:
        """Show these files for a task, and no others but those that are used besides.

        Raises:
            TransferError: one of them is not here.
        """
        wanted = {file.place: file for file in files}
        with self._lock:
            for place in self._shown.keys() - wanted.keys() - (+self._besides).keys():
                self.path(*place).unlink(missing_ok=True)
                del self._shown[place]
            self._add(wanted.values())

    @contextmanager
    def besides(self, files: Iterable[FleetFile]) -> Iterator[None]:
        """Show these files too, whatever tasks begin meanwhile.

        Raises:
            TransferError: one of them is not here.
        """
        wanted = {file.place: file for file in files}
        with self._lock:
            self._add(wanted.values())
            self._besides.update(wanted.keys())
        try:
            yield
        finally:
            with self._lock:
                self._besides.subtract(wanted.keys())

    def _add(self, files: Iterable[FleetFile]) -> None:
        for file in files:
            link = self.path(*file.place)
            if self._shown.get(file.place) == file and link.is_file():
                continue
            found = self.store.find(file)
            if found is None:
                raise TransferError(f"{file.name} is gone from the card that was to draw; send the request again")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(found)
            self._shown[file.place] = file
