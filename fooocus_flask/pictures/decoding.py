"""Room in the memory for pictures that are decoded: whatever many requests bring at once, they take turns for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event

MOST_BYTES = 256_000_000
"""Of all pictures that the web process decodes at once; the largest one takes 200 MB."""


class Room:
    """So many bytes, handed out in the order in which they are asked for; who asks for more than all gets all."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._waiting: deque[tuple[int, Event]] = deque()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Have this many bytes inside; waits until they are free, and everyone who came before has been served."""
        size = min(size, self.size)
        place = size, Event()
        self._waiting.append(place)
        self._serve()
        try:
            place[1].wait()
            yield
        finally:
            if place[1].is_set():
                self.free += size
            else:  # given up while waiting
                self._waiting.remove(place)
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            size, turn = self._waiting.popleft()
            self.free -= size
            turn.set()


room = Room(MOST_BYTES)
"""The process's."""
