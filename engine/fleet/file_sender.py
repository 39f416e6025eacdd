"""Model files on their way from the head to a machine: through Ray, part after part, from where the last try ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import ray

from engine.fleet.file_store import FleetFile

log = logging.getLogger(__name__)

CHUNK = 8 << 20
AHEAD = 2
"""Parts that are on their way at once; a card writes them in their order."""
PATIENCE = 120.0
"""Seconds that one part may take; a machine that is gone is told by Ray, long before."""
TELL_EVERY = 0.5

Tell = Callable[[str], object]
"""Told in words how far a file is, for any client: they name no machine. It raises what is to end the transfer."""


class FileSender:
    """Those from the head to one machine: two of its cards do not ask for the same file at once."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self._lock = Lock()

    def bring(self, actor: Any, files: Sequence[FleetFile], tell: Tell = lambda text: None) -> bool:
        """Have the card's machine have these files; whether one of them had to come.

        Raises:
            TransferError: one of them did not come whole.
            OSError: the head cannot read one.
            RayError: the card is gone.
        """
        if not ray.get(actor.missing.remote(files)):
            return False
        tell("Waiting for model files")
        with self._lock:
            for file, there in ray.get(actor.missing.remote(files)):
                log.info("%s is copied to %s, from byte %d of %d", file.name, self.machine, there, file.size)
                self._send(actor, file, there, tell)
        return True

    def _send(self, actor: Any, file: FleetFile, there: int, tell: Tell) -> None:
        under_way: list[Any] = []
        told = 0.0
        with Path(file.path).open("rb") as stream:
            stream.seek(there)
            while there < file.size:
                data = stream.read(CHUNK)
                if not data:  # it has become shorter; its hash will tell
                    break
                under_way.append(actor.write.remote(file, there, data))
                there += len(data)
                if len(under_way) >= AHEAD:
                    ray.get(under_way.pop(0), timeout=PATIENCE)
                if monotonic() - told >= TELL_EVERY:
                    told = monotonic()
                    tell(f"Copying {file.name} to the card: {_gigabytes(there)} of {_gigabytes(file.size)} GB")
        ray.get(under_way, timeout=PATIENCE)
        ray.get(actor.finish.remote(file))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f}"
