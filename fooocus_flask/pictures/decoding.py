"""Room in the memory for pictures that are decoded: whatever many requests bring at once, clients take turns for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event

MOST_BYTES = 256_000_000
"""Of all pictures that the web process decodes at once; the largest one takes 200 MB."""
MOST_AT_ONCE = 3
"""Pictures at once, however small: each thread that reads one takes turns with the hub, which is late by so much."""


class Room:
    """So many bytes and places, handed to clients in turn, and to each in the order in which it asks.

    Who asks for more bytes than all gets all.
    """

    def __init__(self, size: int, places: int = MOST_AT_ONCE) -> None:
        self.size = self.free = size
        self.places = places
        self._waiting: dict[str, deque[tuple[int, Event]]] = {}
        """By client, the one whose turn is next first."""

    @contextmanager
    def of(self, size: int, client: str = "") -> Iterator[None]:
        """Have this many bytes inside; waits until they are free, and those whose turn is before have been served."""
        size = min(size, self.size)
        place = size, Event()
        self._waiting.setdefault(client, deque()).append(place)
        self._serve()
        try:
            place[1].wait()
            yield
        finally:
            if place[1].is_set():
                self.free += size
                self.places += 1
            else:  # given up while waiting
                self._waiting[client].remove(place)
                if not self._waiting[client]:
                    del self._waiting[client]
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self.places:
            client = next(iter(self._waiting))
            size, turn = self._waiting[client][0]
            if size > self.free:
                return
            places = self._waiting.pop(client)
            places.popleft()
            if places:
                self._waiting[client] = places  # behind the others
            self.free -= size
            self.places -= 1
            turn.set()


room = Room(MOST_BYTES)
"""The process's."""
