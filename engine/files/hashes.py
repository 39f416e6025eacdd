"""Hashes of model files, computed once per file and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

log = logging.getLogger(__name__)

DIGITS = 10
CHUNK = 8 << 20

TICK = 1.0
"""Seconds between two looks at how far another thread is whose hash is waited for."""

Progress = Callable[[int, int], None]
"""Told after every chunk: bytes read so far, bytes in all."""


def file_hash(file: Path, progress: Progress | None = None) -> str:
    """The first 10 hex digits of the file's SHA-256; for a model of 7 GB that takes seconds to minutes."""
    digest, done, size = hashlib.sha256(), 0, file.stat().st_size
    buffer = memoryview(bytearray(CHUNK))
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if progress:
                progress(done, size)
    return digest.hexdigest()[:DIGITS]


@dataclass(frozen=True)
class FileState:
    """A file, and the size and time by which a change of it is noticed."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of_file(cls, file: Path) -> FileState:
        """The file's state now.

        Raises:
            OSError: it is not there.
        """
        file = file.resolve()
        stat = file.stat()
        return cls(str(file), stat.st_size, stat.st_mtime_ns)


class Hashing:
    """A hash that one thread computes, for which others may wait."""

    def __init__(self) -> None:
        self.outcome: Future[str] = Future()
        self.done = 0
        """Bytes read so far."""

    def told_to(self, progress: Progress | None) -> Progress:
        """What the computing thread tells of its progress, which goes on to `progress` too."""

        def told(done: int, size: int) -> None:
            self.done = done
            if progress:
                progress(done, size)

        return told

    def awaited(self, progress: Progress | None, size: int) -> str:
        """The hash, once it is there; `progress` is told when more was read, and nothing of a thread that hangs."""
        told = 0
        while True:
            try:
                return self.outcome.result(TICK)
            except TimeoutError:
                if self.outcome.done():
                    raise
            if progress and self.done > told:
                told = self.done
                progress(told, size)


class HashCache:
    """Hashes kept in a file, one JSON object a line; a file that changed in size or time is hashed again.

    Safe to use from several threads of one process; of those that want the same hash one computes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._hashes = dict(_read(path))
        self._under_way: dict[FileState, Hashing] = {}

    def known(self, file: Path) -> str | None:
        """The file's hash if it was computed before and the file is still the same; takes no time."""
        try:
            return self._hashes.get(FileState.of_file(file))
        except OSError:
            return None

    def hash(self, file: Path, progress: Progress | None = None) -> str:
        """The file's hash, computed and kept if it is not known.

        Raises:
            OSError: the file cannot be read, or the cache not written.
        """
        state = FileState.of_file(file)
        with self._lock:
            if state not in self._hashes:
                self._hashes = dict(_read(self.path)) | self._hashes  # another engine may have computed it
            if state in self._hashes:
                return self._hashes[state]
            under_way = self._under_way.get(state)
            if under_way is None:
                mine = self._under_way[state] = Hashing()
        if under_way is not None:
            return under_way.awaited(progress, state.size)
        try:
            mine.outcome.set_result(self._computed(file, state, mine.told_to(progress)))
        except BaseException as error:
            mine.outcome.set_exception(error)
        finally:
            del self._under_way[state]
        return mine.outcome.result()

    def _computed(self, file: Path, state: FileState, progress: Progress) -> str:
        computed = file_hash(file, progress)
        with self._lock:
            everything = dict(_read(self.path)) | self._hashes  # other engines write there, too
            others = {known: value for known, value in everything.items() if known.path != state.path}
            self._hashes = {**others, state: computed}
            self._write()
        return computed

    def _write(self) -> None:
        there = sorted(
            (asdict(state) | {"hash": value} for state, value in self._hashes.items() if Path(state.path).is_file()),
            key=lambda entry: entry["path"],
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.write_text("".join(json.dumps(entry) + "\n" for entry in there), "utf-8")
        draft.replace(self.path)


def hash_all(cache: HashCache, files: Iterable[Path], threads: int) -> None:
    """Put the hashes of these files into the cache, several at a time; one that cannot be read is logged."""

    def hash_one(file: Path) -> None:
        try:
            cache.hash(file)
        except OSError as error:
            log.warning("no hash of %s: %s", file, error)

    with ThreadPoolExecutor(threads, "hashes") as pool:
        count = len(list(pool.map(hash_one, files)))
    log.info("%d model files are hashed", count)


def _read(path: Path) -> list[tuple[FileState, str]]:
    """The cache's entries; a line that is none (of an older kind, or cut short) is passed over."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return [entry for line in lines if (entry := _entry(line))]


def _entry(line: str) -> tuple[FileState, str] | None:
    try:
        values = json.loads(line)
        return FileState(values["path"], values["size"], values["mtime_ns"]), values["hash"]
    except (ValueError, KeyError, TypeError):
        return None
