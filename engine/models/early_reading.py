"""A checkpoint read while the engine's libraries are still imported, which takes as long as reading it."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event, Thread

import torch
from safetensors import safe_open
from torch import Tensor

from engine.gpu.device_memory import free_bytes
from engine.models.eight_bit import is_packed

log = logging.getLogger(__name__)

WORKING_ROOM = 6 << 30
"""Bytes of a GPU's memory that must be free beside twice the file, for it to be read straight there."""
CHUNK = 16 << 20


class EarlyReader(Thread):
    """Reads a checkpoint's file on a thread of its own: to a GPU that has ample room, else into the host's page cache.

    It ends early, and holds nothing, once it is `given_up`. `straight` says whether the GPU may be used at all.
    """

    def __init__(self, path: Path, device: torch.device, given_up: Event, *, straight: bool) -> None:
        super().__init__(name="early-reader", daemon=True)
        self.path, self.device, self.given_up, self.straight = path, device, given_up, straight
        self._tensors: dict[str, Tensor] | None = None

    def run(self) -> None:
        """Read the file; where that fails it is read again, and told of, by whoever needs it."""
        try:
            if self.straight and roomy(self.path, self.device) and _plain(self.path):
                self._tensors = self._to_device()
                self._drop_if_given_up()
            else:
                self._through()
        except Exception as error:
            log.info("%s is not read early: %s", self.path.name, error)

    def take(self, path: Path) -> dict[str, Tensor] | None:
        """The file's tensors on the device, once they are all there; None if they are not kept, or were taken.

        Who takes another file's gives this one up.
        """
        if path != self.path:
            self.given_up.set()
            self._drop_if_given_up()
            return None
        self.join()
        tensors, self._tensors = self._tensors, None
        return tensors

    def _drop_if_given_up(self) -> None:
        if self.given_up.is_set():
            self._tensors = None

    def _to_device(self) -> dict[str, Tensor] | None:
        tensors: dict[str, Tensor] = {}
        with safe_open(self.path, framework="pt", device=str(self.device)) as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                if self.given_up.is_set():
                    return None
                tensors[name] = file.get_tensor(name)
        return tensors

    def _through(self) -> None:
        buffer = bytearray(CHUNK)
        with self.path.open("rb", buffering=0) as file:
            while not self.given_up.is_set() and file.readinto(buffer):
                pass


def roomy(path: Path, device: torch.device) -> bool:
    """Whether a device with memory of its own has room for the file, what is made of it, and drawing."""
    free = free_bytes(device)
    return free is not None and free >= 2 * path.stat().st_size + WORKING_ROOM


def _plain(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" and not is_packed(path)
