"""The heartbeat: which stages the threads that draw are at, and whether they get on. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident


class Heartbeat:
    """Marks that the threads that draw and save leave, for the one that reports to the web process.

    A thread is at the innermost stage it has entered. Marks count what all threads together have done: entering and
    leaving a stage, a step, a tile, a part of a file. A number that stands still for long means that nothing goes on.
    """

    def __init__(self) -> None:
        self.marks = 0
        self._entered: dict[int, list[str]] = {}

    def mark(self) -> None:
        """Something was done. One mark of two that come together may be lost: the number changes all the same."""
        self.marks += 1

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """This thread is at a stage."""
        entered = self._entered.setdefault(get_ident(), [])
        entered.append(stage)
        self.mark()
        try:
            yield
        finally:
            entered.pop()
            if not entered:
                del self._entered[get_ident()]
            self.mark()

    def stages(self) -> list[str]:
        """What is under way now, by name; nothing where the engine waits for work."""
        return sorted({stage for entered in list(self._entered.values()) for stage in entered[-1:]})


class Stillness:
    """How long a heartbeat has stood still, counted in readings: so a process that slept as a whole was not still."""

    def __init__(self, heartbeat: Heartbeat, seconds: float) -> None:
        self._heartbeat, self._every = heartbeat, seconds
        self._marks, self._seconds = heartbeat.marks, 0.0

    def seconds_still(self) -> float:
        """Seconds since the last mark; to be called every `seconds`."""
        marks = self._heartbeat.marks
        self._seconds = self._seconds + self._every if marks == self._marks and self._heartbeat.stages() else 0.0
        self._marks = marks
        return self._seconds
