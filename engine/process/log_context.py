"""Which request a line of the log belongs to: the name that its task or look came with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from engine.log_lines import LineFormatter

NONE = "-"
THREADS = ("gpu", "outbox")
"""How the names of the threads begin that work for a request; one request at a time."""


class LogContext(logging.Filter):
    """Adds the name of the request under way to log records, as `request`; `-` where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._name = NONE

    @contextmanager
    def request(self, name: str) -> Iterator[None]:
        """Log records made inside belong to the request of this name; blocks may be nested."""
        before, self._name = self._name, name
        try:
            yield
        finally:
            self._name = before

    def filter(self, record: logging.LogRecord) -> bool:
        """Set `record.request`; every record passes."""
        record.request = self._name if (record.threadName or "").startswith(THREADS) else NONE
        return True


def set_up_logging(who: str) -> LogContext:
    """Have all that is logged written to standard error, each line with who writes it and which request it is for."""
    log_context = LogContext()
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(LineFormatter(f"%(asctime)s {who} %(levelname)s %(name)s [%(request)s]: %(message)s"))
        handler.addFilter(log_context)
    return log_context
