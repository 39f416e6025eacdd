"""What a request takes of a card's memory and of the machine's, and how often its memory plan was stepped down."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from engine.gpu.device_memory import give_back
from engine.memory_plan import GIB

INTERVAL = 0.02
"""Seconds from one look at the process's memory to the next."""
STEPS_DOWN = ("the task ran out of memory", "decoding ran out of memory")
"""How warnings begin after which a task goes on under a smaller plan."""
SHORT = ("out of memory", "not enough memory")
"""What warnings say after which other parts leave, or, where that is not enough, work is done in pieces."""
STATUS = Path("/proc/self/status")


def host_bytes(status: Path = STATUS) -> int:
    """Bytes that this process holds of the machine's memory: its own pages, pinned ones with them, and those that CUDA
    pinned for torch, which are no process's; files that are mapped are not counted, for the machine may drop them."""
    lines = status.read_text().splitlines()
    own = next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))
    pinned = torch.cuda.host_memory_stats().get("allocated_bytes.current", 0) if torch.cuda.is_initialized() else 0
    return own + int(pinned)


class Meters(logging.Handler):
    """While a request is drawn: the most that the process held on the card and of the machine's memory."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(logging.WARNING)
        self.device, self.cuda = device, device.type == "cuda"
        self.steps_down = self.short = self.most = self._before = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_stats().get("num_alloc_retries", 0)
        logging.getLogger("engine").addHandler(self)
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._watch.join()
        logging.getLogger("engine").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a failure for want of memory, after which the engine goes on."""
        said = record.getMessage()
        down = said.startswith(STEPS_DOWN)
        self.steps_down += down
        self.short += not down and any(words in said for words in SHORT)

    def figures(self) -> dict[str, Any]:
        """GiB on the card at most and afterwards, and of the machine's memory; how often memory was short.

        `short` counts how often others had to leave for work without a change of plan, `retries` how often torch had to
        give unused memory back before it got what it wanted.
        """
        host = {
            "steps_down": self.steps_down,
            "short": self.short,
            "host_gib": round(host_bytes() / GIB, 2),
            "host_peak_gib": round(self.most / GIB, 2),
        }
        if not self.cuda:
            return host
        peak, retries = torch.cuda.max_memory_reserved(), torch.cuda.memory_stats().get("num_alloc_retries", 0)
        give_back(self.device)
        held = round(torch.cuda.memory_allocated() / GIB, 3)
        return {"peak_gib": round(peak / GIB, 2), "gpu_gib": held, "retries": retries - self._before, **host}

    def _look(self) -> None:
        while True:
            self.most = max(self.most, host_bytes())
            if self._over.wait(INTERVAL):
                return
