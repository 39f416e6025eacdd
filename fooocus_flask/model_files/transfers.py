"""Model files on their way to this server: a thread each, and how far they are. Needs no database.

A thread tells by plain numbers, which others read when they like.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
from flask import Flask
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from engine.files.downloads import DownloadError, download, sentence, shown
from engine.files.known_files import KnownFile
from engine.interruption import Interruption, Stopped
from fooocus_flask.extension import Extension
from fooocus_flask.model_files.fleet_files import ComingFile, comes_from_fleet, fleet_files

log = logging.getLogger(__name__)

AT_ONCE = 3
"""Files under way at the same time."""

CLOSE_SECONDS = 2.0
Place = tuple[str, str]
Outcome = Exception | None
"""The result of a transfer: None if the file is there, `Stopped`, or the error."""


class Transfer:
    """One file on its way; `done` of `size` bytes are here, as far as that is known."""

    def __init__(self, file: KnownFile, target: Path, delays: Sequence[float]) -> None:
        self.file, self.target, self._delays = file, target, delays
        self.done, self.size = 0, file.size
        self._first: tuple[float, int] | None = None
        self._interruption = Interruption()
        self._result: AsyncResult | None = None

    def start(self, pool: ThreadPool, ended: Callable[[], object]) -> None:
        """Start the transfer; `ended` is called when it finishes or fails."""
        log.info("Downloading %s/%s to %s", self.file.kind, self.file.name, self.target)
        self._result = pool.spawn(self._run)
        self._result.rawlink(lambda _: ended())

    def stop(self) -> None:
        """Have it end soon; what came is kept."""
        self._interruption.stop()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._result is not None and self._result.ready()

    @property
    def outcome(self) -> Outcome:
        """The result, once the transfer has ended."""
        return self._result.get() if self._result is not None else None

    @property
    def seconds_left(self) -> float | None:
        """A guess from its speed so far; None while there is none."""
        if self._first is None or self.size is None:
            return None
        since, before = self._first
        came, took = self.done - before, monotonic() - since
        return (self.size - self.done) * took / came if came > 0 else None

    def sentence(self) -> str:
        """How far it is, for people."""
        return sentence(self.file.name, self.done, self.size)

    def _run(self) -> Outcome:
        """In a thread."""
        try:
            download(self.file, self.target, self._tell, self._interruption, self._delays)
        except (Stopped, DownloadError) as ended:
            return ended
        except Exception as error:  # whoever waits for the file must hear of it; a log's lock is no thread's business
            return error
        return None

    def _tell(self, done: int, size: int | None) -> None:
        self.done, self.size = done, size
        if self._first is None:
            self._first = monotonic(), done


class FleetTransfer(Transfer):
    """One that comes from a machine of the fleet, once `fetch` asks for it; who hears of it calls `hear` and `end`."""

    def __init__(self, file: KnownFile, target: Path, fetch: Callable[[ComingFile], object]) -> None:
        super().__init__(file, target, ())
        self._fetch = fetch

    def start(self, pool: ThreadPool, ended: Callable[[], object]) -> None:
        """Ask for the file; `ended` is called when it is here, or will not come."""
        log.info("Copying %s/%s from the fleet to %s", self.file.kind, self.file.name, self.target)
        self._result = AsyncResult()
        self._result.rawlink(lambda _: ended())
        self._fetch(self)

    def stop(self) -> None:
        """Wait for it no longer; it comes all the same."""
        self.end(Stopped())

    def hear(self, done: int) -> None:
        """So many bytes are here."""
        self._tell(done, self.file.size)

    def end(self, outcome: Outcome) -> None:
        """Have it ended so, unless it has."""
        if self._result is not None and not self._result.ready():
            self._result.set(outcome)

    def sentence(self) -> str:
        """How far it is, for people."""
        return sentence(self.file.name, self.done, self.size).replace("Downloading", "Copying", 1)


class Transfers:
    """The files under way, by their places: what several wait for is fetched once."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._by_place: dict[Place, Transfer] = {}
        self._pool: ThreadPool | None = None

    def __iter__(self) -> Iterator[Transfer]:
        return iter(list(self._by_place.values()))

    def __len__(self) -> int:
        return len(self._by_place)

    def find(self, place: Place) -> Transfer | None:
        """The transfer that goes there."""
        return self._by_place.get(place)

    def begin(self, file: KnownFile, target: Path, ended: Callable[[], object]) -> None:
        """Fetch a file, unless it is on its way, or as many are as may be."""
        if file.place in self._by_place or len(self) >= AT_ONCE or (transfer := self._made(file, target)) is None:
            return
        if self._pool is None:
            self._pool = ThreadPool(AT_ONCE)
        self._by_place[file.place] = transfer
        transfer.start(self._pool, ended)

    def _made(self, file: KnownFile, target: Path) -> Transfer | None:
        """A transfer of this file; None while no machine of the fleet has it that is to give it."""
        if not comes_from_fleet(file):
            return Transfer(file, target, self._app.config["DOWNLOAD_DELAYS"])
        fleet = fleet_files.of(self._app)
        return FleetTransfer(file, target, fleet.fetch) if fleet.fetch and fleet.cards(file) else None

    def forget(self, transfer: Transfer) -> None:
        """Remove a transfer that has ended from the table."""
        del self._by_place[transfer.file.place]

    def serialise(self, file: KnownFile) -> dict[str, Any]:
        """A file that is waited for and how far it is, for `DownloadSchema`."""
        transfer = self.find(file.place)
        return {
            "file": "/".join(file.place),
            "url": shown(file.url),
            "bytes_done": transfer.done if transfer else 0,
            "bytes_total": transfer.size if transfer else file.size,
        }

    def seconds_left(self, files: Iterable[KnownFile]) -> float | None:
        """A guess of when all of these are here; None where one of them gives none."""
        under_way = [self.find(file.place) for file in files]
        left = [transfer.seconds_left if transfer else None for transfer in under_way]
        return max((seconds for seconds in left if seconds is not None), default=0.0) if None not in left else None

    def close(self) -> None:
        """End them; what came is kept. A host that is silent just now is not waited for."""
        for transfer in self:
            transfer.stop()
        deadline = monotonic() + CLOSE_SECONDS
        while not all(transfer.over for transfer in self) and monotonic() < deadline:
            gevent.sleep(CLOSE_SECONDS / 100)
        pool, self._pool = self._pool, None
        if pool is not None and all(transfer.over for transfer in self):
            pool.kill()
        self._by_place.clear()


transfers = Extension("fooocus-transfers", Transfers)
