"""Whose work a line of the log tells of: the name of the request that a task or a look came with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

NONE = "-"
THREADS = ("gpu", "outbox")
"""How the names of the threads begin that work for a request; one request at a time."""


class Named(logging.Filter):
    """Gives log records the name of the request that is worked for, as `request`; `-` where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._name = NONE

    @contextmanager
    def after(self, name: str) -> Iterator[None]:
        """Work inside is for the request of this name; what comes between is for its own."""
        before, self._name = self._name, name
        try:
            yield
        finally:
            self._name = before

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all pass."""
        record.request = self._name if (record.threadName or "").startswith(THREADS) else NONE
        return True
