"""A bound on the processor time of a piece of work; what waits, or shares its processor, is not hurried."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TooSlow(Exception):
    """A text took more than its time."""


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Raise TooSlow inside once this much processor time is used up; regular expressions let signals through."""

    def give_up(_number, _frame):
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
