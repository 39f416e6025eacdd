"""A person's wish to end a task or to drop the picture under way, set by one thread and read by another."""

from __future__ import annotations


class Interruption:
    """The wishes that concern one task; they end with it.

    A skip concerns the picture that is being drawn when it comes, or the first one if none has begun.
    """

    def __init__(self) -> None:
        self._stop = self._skip = False

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
        """Whether the picture under way is to be dropped; a skip is told once."""
        skip, self._skip = self._skip, False
        return skip
