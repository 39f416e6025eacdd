"""Waiting that follows signs of life: on a busy machine what works is slow, and only what hangs is still.

A clock cannot tell the two apart; processor time can. What works uses it, however little it is given; what waits
for something that never comes uses next to none.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import gevent

QUIET = 60.0
"""Seconds without a sign of life after which nothing is expected any more."""
WORK = 1.0
"""Processor seconds that are a sign of life: what waits uses less in `QUIET` seconds, for its timers."""
CEILING = 600.0
"""Seconds after which even what works is given up; the limit of a whole test, `timeout` of pytest, is longer."""
TICK = 0.5
"""Seconds between two looks."""

Found = TypeVar("Found")


class Patience:
    """Lasts while a process and all that it started work; without a process, while all that this one started does."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid, self._begun, self._looks = pid, monotonic(), 0
        self._renew(self._used())

    def _used(self) -> float:
        roots = children(os.getpid()) if self._pid is None else [self._pid]
        return sum(map(processor_seconds, roots))

    def _renew(self, used: float) -> None:
        self._mark, self._looks = used, 0

    def lasts(self) -> bool:
        """Whether there is reason to wait on; to be asked every TICK.

        Quiet is counted in looks: a process that is given no time to look is no sign that others are still.
        """
        used = self._used()
        if abs(used - self._mark) >= WORK:  # less than before where a process has ended
            self._renew(used)
        self._looks += 1
        return self._looks * TICK < QUIET and monotonic() - self._begun < CEILING


def patiently(attempt: Callable[[float], Found | None], what: str, pid: int | None = None) -> Found:
    """What the attempt finds, which waits that many seconds each time it is called.

    Raises:
        TimeoutError: patience ended before it found anything.
    """
    patience = Patience(pid)
    while not (found := attempt(TICK)):
        if not patience.lasts():
            raise TimeoutError(what)
    return found


def eventually(find: Callable[[], Found | None], what: str, pid: int | None = None) -> Found:
    """What a function finds, which is called less and less often, for what it asks for is work too.

    Raises:
        TimeoutError: patience ended before it found anything.
    """
    pauses = chain((TICK / 2**times for times in range(5, 0, -1)), repeat(TICK))
    return patiently(lambda _: find() or sleep(next(pauses)), what, pid)


@contextmanager
def patience(what: str = "nothing works, and it has not come") -> Iterator[None]:
    """Let greenlets wait inside for as long as there is patience; in place of `gevent.Timeout`."""
    waiter, loop = gevent.getcurrent(), gevent.get_hub().loop

    def watch() -> None:
        patience = Patience()
        while patience.lasts():
            gevent.sleep(TICK)
        loop.run_callback(waiter.throw, TimeoutError(what))

    watcher = gevent.spawn(watch)
    try:
        yield
    finally:
        watcher.kill()


def readable(descriptor: int | socket.socket, what: str, pid: int | None = None) -> None:
    """Return when there is something to read."""
    patiently(lambda seconds: select.select([descriptor], [], [], seconds)[0], what, pid)


def taken(box: queue.Queue[Any], what: str) -> Any:
    """The next thing in a queue that a thread fills."""

    def attempt(seconds: float) -> list[Any]:
        with suppress(queue.Empty):
            return [box.get(timeout=seconds)]
        return []

    return patiently(attempt, what)[0]


def exit_status(process: subprocess.Popen[Any], alone: bool = True) -> int:
    """The status of a process that ends now, or, not alone, once others that this one started have done their work."""

    def attempt(seconds: float) -> list[int]:
        with suppress(subprocess.TimeoutExpired):
            return [process.wait(seconds)]
        return []

    return patiently(attempt, f"process {process.pid} does not end", process.pid if alone else None)[0]


def gone(pid: int) -> bool:
    """Whether the process ends, which works no longer."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable(descriptor, f"process {pid} does not end", pid)
    except TimeoutError:
        return False
    finally:
        os.close(descriptor)
    return True


def children(of: int) -> list[int]:
    """The processes that this one started."""
    return [int(pid) for pid in Path(f"/proc/{of}/task/{of}/children").read_text().split()]


def processor_seconds(pid: int) -> float:
    """What a process and all that it started have used; 0 where it is gone."""
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    used = sum(map(int, numbers[11:15]))  # its own and its ended children's, user and system
    return used / os.sysconf("SC_CLK_TCK") + sum(map(processor_seconds, started))
