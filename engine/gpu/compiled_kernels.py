"""Which GPU kernels of our own are in use: those that are compiled, which takes some seconds, once a machine."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import torch

log = logging.getLogger(__name__)


class Kernels:
    """The kernels, which must be compiled once a machine; until then, and where that fails, the library's are used.

    What is compiled while a picture is drawn is in use from the next one on: pictures of a machine's first seconds
    differ from later ones by rounding. Where an earlier start has compiled them, the first picture waits for them, a
    second or two, and is as all others.
    """

    def __init__(self) -> None:
        self._compiled: ModuleType | None = None
        self._thread: Thread | None = None
        self._kept = False
        self.now: ModuleType | None = None
        """What is in use."""

    def start_compiling(self, device: torch.device, folder: Path | None = None) -> None:
        """Compile them on a thread of their own, or load what lies compiled in the folder."""
        mark = None if folder is None else folder / f"compiled by torch {torch.__version__} for {_name_of(device)}"
        self._kept = mark is not None and mark.exists()
        self._thread = Thread(target=self._compile, args=(device, mark), name="kernels", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when they are compiled, or cannot be."""
        if self._thread is not None:
            self._thread.join()

    def adopt(self) -> None:
        """Use what is compiled; what an earlier start has compiled is waited for."""
        if self._kept:
            self.wait()
        self.now = self._compiled

    def _compile(self, device: torch.device, mark: Path | None) -> None:
        try:
            from engine.gpu import kernels

            with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream(device)):
                for dtype in (torch.float16, torch.bfloat16):
                    kernels.try_all(device, dtype)
            torch.cuda.synchronize(device)
        except Exception as error:  # whatever it is, drawing goes on without them
            log.warning("the GPU kernels are not used, steps take longer: %s (a C compiler is needed: gcc)", error)
            return
        self._compiled = kernels
        if mark is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def _name_of(device: torch.device) -> str:
    """The GPU's name, as a file's."""
    return torch.cuda.get_device_name(device).replace("/", " ")


def kernels_in_use(module: Any) -> ModuleType | None:
    """The kernels that a module computes with at the moment; None for one that is not fused."""
    kernels: Kernels | None = getattr(module, "kernels", None)
    return None if kernels is None else kernels.now
