"""Pictures in a bucket, and copies on this machine of those that were used last."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import gevent
from flask import Flask
from gevent.event import Event
from werkzeug.security import safe_join

from engine.images import reading
from fooocus_flask.errors import StartError
from fooocus_flask.pictures.blocking import in_thread, put, used
from fooocus_flask.pictures.bucket import LONGEST_LINK, Bucket, BucketAddress
from fooocus_flask.pictures.folder_storage import INPUTS, OUTPUTS, Storage, StorageFault

log = logging.getLogger(__name__)

DAY = 24 * 3600.0
"""Seconds after which an input that is brought again is uploaded again: rules of the bucket count from then."""
IN_USE = 600.0
"""Seconds for which a copy stays that was just used, however many there are."""
PROBE_DELAY = 5.0
"""Seconds before a bucket is asked again that did not answer at the start."""
SPARE = 60
"""Seconds by which a browser forgets a redirect before its URL expires."""


class BucketStorage(Storage):
    """One application's bucket; its folders hold copies."""

    remote = True

    def __init__(self, app: Flask) -> None:
        self._folders = {OUTPUTS: Path(app.config["OUTPUT_PATH"]), INPUTS: Path(app.config["INPUT_PATH"])}
        self.bucket = Bucket(BucketAddress.of(app.config))
        self._most_bytes = int(app.config["STORAGE_CACHE_BYTES"])
        ttl = int(app.config["FILE_URL_TTL"])
        self._seconds = min(ttl, LONGEST_LINK) if ttl > 0 else LONGEST_LINK
        self._redirects = app.config["STORAGE_SERVE"] == "redirect"
        self._answered = False
        self._probing: gevent.Greenlet | None = None
        self._under_way: dict[str, Event] = {}

    @property
    def ready(self) -> bool:
        """Whether the bucket took something since the start."""
        return self._answered

    def start(self) -> None:
        """Try the bucket; one that does not answer is tried again beside.

        Raises:
            StartError: it refuses.
        """
        try:
            self.bucket.probe()
            self._answered = True
        except StorageFault as fault:
            if fault.refused:
                reason = fault.reason.rstrip(".")
                what = "its name, its address, the keys, or this machine's clock"
                text = f"The bucket of STORAGE_URL refuses: {reason}. Mend {what}"
                raise StartError(text) from fault
            log.error("The object storage does not answer, and is asked again: %s", fault.reason)
            self._probing = gevent.spawn(self._probe)

    def _probe(self) -> None:
        while not self._answered:
            gevent.sleep(PROBE_DELAY)
            try:
                self.bucket.probe()
                self._answered = True
                log.info("The object storage answers")
            except StorageFault as fault:
                log.error("The object storage does not work: %s", fault.reason)

    def close(self) -> None:
        """Try the bucket no more."""
        gevent.kill(self._probing) if self._probing else None
        self._probing = None

    def local(self, path: str) -> Path | None:
        """Where the picture's file lies or would lie on this machine; None if no picture can be called so."""
        kind, _, below = path.partition("/")
        joined = safe_join(str(self._folders[kind]), *below.split("/")) if "\0" not in below else None
        file = Path(joined) if joined else None
        return file if file and file.suffix[1:] in reading.MEDIA_TYPES else None

    def put(self, path: str) -> None:
        """Upload a picture of this machine.

        Raises:
            StorageFault: the bucket does not take it.
            OSError: it is not on this machine.
        """
        data, changed = in_thread(read, self._file(path))
        self.bucket.put(path, data, media_type_of(path), changed)

    def ensure(self, path: str) -> bool:
        """Upload it unless it is there: inputs are called by their bytes, results are never written over."""
        stored = self.bucket.head(path)
        size = in_thread(os.path.getsize, self._file(path))
        fresh = stored and (path.startswith(OUTPUTS) or time.time() - stored.uploaded < DAY)
        if stored and stored.size == size and fresh:
            return False
        self.put(path)
        return True

    def fetch(self, path: str) -> bool:
        """Have a copy on this machine, if the bucket has the picture; however many ask at once, it is loaded once.

        Raises:
            StorageFault: the bucket cannot be asked.
        """
        file = self.local(path)
        while file and not in_thread(used, file):
            if others := self._under_way.get(path):
                others.wait()
                continue
            self._under_way[path] = done = Event()
            try:
                return self._load(path, file)
            finally:
                del self._under_way[path]
                done.set()
        return False

    def _load(self, path: str, file: Path) -> bool:
        if (found := self.bucket.get(path)) is None:
            return False
        in_thread(write, file, *found)
        return True

    def link(self, path: str, media_type: str) -> tuple[str, int] | None:
        """A URL of the bucket's; None if the picture is not there (yet), or cannot be asked for now."""
        if not self._redirects or self.local(path) is None:
            return None
        try:
            if self.bucket.head(path) is None:
                return None
            return self.bucket.link(path, media_type, self._seconds), max(0, self._seconds - SPARE)
        except StorageFault as fault:
            log.warning("A picture is looked for on this machine: %s", fault.reason)
            return None

    def delete(self, path: str) -> None:
        """Delete it in the bucket.

        Raises:
            StorageFault: the bucket does not do it.
        """
        self.bucket.delete(path)

    def trim(self, needed: Collection[str]) -> int:
        """Delete the copies that were not used for longest until the others fit; none that is only here.

        Raises:
            StorageFault: the bucket does not take what was only here.
        """
        count = 0
        for path in in_thread(self._too_many, frozenset(needed)):
            try:
                self.ensure(path)
                in_thread(self._file(path).unlink)
            except FileNotFoundError:  # its task was deleted
                continue
            count += 1
        return count

    def _too_many(self, needed: frozenset[str]) -> list[str]:
        found = []
        for path in self.here():
            try:
                file = self._file(path).stat()
            except FileNotFoundError:
                continue
            found.append((file.st_atime, file.st_size, path))
        excess = sum(size for _, size, _ in found) - self._most_bytes
        chosen, before = [], time.time() - IN_USE
        for at, size, path in sorted(found):
            if excess <= 0 or at > before:
                break
            if path not in needed:
                chosen.append(path)
                excess -= size
        return chosen

    def stored(self) -> Iterator[str]:
        """The pictures in the bucket, as far as they can be called so here."""
        for kind in (OUTPUTS, INPUTS):
            yield from (path for path in self.bucket.paths(kind) if self.local(path))

    def here(self) -> list[str]:
        """The paths of the pictures that lie on this machine; takes its time."""
        found = [
            f"{kind}/{file.relative_to(self._folders[kind]).as_posix()}"
            for kind, pattern in ((OUTPUTS, "*/*"), (INPUTS, "*"))
            for file in self._folders[kind].glob(pattern)
            if file.suffix[1:] in reading.MEDIA_TYPES and not file.name.startswith(".") and is_plain(file)
        ]
        return sorted(found)

    def _file(self, path: str) -> Path:
        file = self.local(path)
        if file is None:
            raise FileNotFoundError(path)
        return file


def media_type_of(path: str) -> str:
    """The type of the picture that is called so."""
    return reading.MEDIA_TYPES[path.rpartition(".")[2]]


def read(file: Path) -> tuple[bytes, float]:
    """A file's bytes, and its time of change."""
    with file.open("rb") as opened:
        return opened.read(), os.fstat(opened.fileno()).st_mtime


def is_plain(file: Path) -> bool:
    """Whether it is a file, and no link to one, which may lie anywhere."""
    return file.is_file() and not file.is_symlink()


def write(file: Path, data: bytes, changed: float) -> None:
    """Write a copy, which has its picture's time of change."""
    put(file, data)
    os.utime(file, (time.time(), changed))
