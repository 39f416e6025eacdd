"""The events of one task on their way from a card: of progress that was not taken yet, only the newest counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Condition
from time import monotonic

from engine.images.picture_file import PictureFile
from engine.messages import Ended, Message, Progressed

Event = Message | PictureFile

PREVIEW_GAP = 0.2
"""Least seconds between two previews of a task."""


class Outlet:
    """Events are put in by the threads that draw, and taken by iterating, up to the task's end.

    While nobody follows the task (`followed`), its previews are dropped. `dropped` is the mark of a task that nobody
    hears of any more.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.followed = self.dropped = False
        self._clock, self._previewed = clock, -PREVIEW_GAP
        self._events: deque[Event] = deque()
        self._changed = Condition()

    def put(self, event: Event) -> None:
        """Have an event taken after all before it, or in place of the progress that stands last."""
        with self._changed:
            if isinstance(event, Progressed):
                event = self._paced(event)
                last = self._events[-1] if self._events else None
                if isinstance(last, Progressed):
                    event = replace(event, preview=event.preview or last.preview)
                    self._events.pop()
            self._events.append(event)
            self._changed.notify()

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._events))
                event = self._events.popleft()
            yield event
            if isinstance(event, Ended):
                return

    def _paced(self, progress: Progressed) -> Progressed:
        """The progress, without its preview where it is not wanted or comes too soon."""
        if not progress.preview:
            return progress
        now = self._clock()
        if self.followed and now - self._previewed >= PREVIEW_GAP:
            self._previewed = now
            return progress
        return replace(progress, preview=b"")
