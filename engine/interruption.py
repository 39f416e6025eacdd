"""What may come between two steps of a task: a person's wish, set by one thread and read by another, or other work."""

from __future__ import annotations

from collections.abc import Callable


class Stopped(Exception):
    """The task is to end now."""


class Skipped(Exception):
    """The picture under way is not wanted."""


class Interruption:
    """The wishes that concern one task; they end with it.

    A skip concerns the picture that is being drawn when it comes, or the first one if none has begun. `other_work` is
    what else wants its turn on the thread that draws; it does one piece of it, if there is any.
    """

    def __init__(self, other_work: Callable[[], object] = lambda: None) -> None:
        self._stop = self._skip = False
        self.give_way = other_work

    def stop(self) -> None:
        """Ask for the task's end."""
        self._stop = True

    def skip(self) -> None:
        """Ask for the next picture in place of this one."""
        self._skip = True

    @property
    def stopping(self) -> bool:
        """Whether the task is to end."""
        return self._stop

    def take_skip(self) -> bool:
        """Whether the picture under way is to be dropped; each skip is reported once."""
        skip, self._skip = self._skip, False
        return skip
