"""How long to wait before something that failed is tried again: longer each time, up to a bound."""

from __future__ import annotations


class Backoff:
    """Seconds to wait before the next try: `first`, then doubled each time, but never more than `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self.first, self.longest = first, longest
        self.seconds = first
        """How long the next wait is."""

    def next(self) -> float:
        """Return how long to wait now; the wait after this one is twice as long."""
        seconds, self.seconds = self.seconds, min(2 * self.seconds, self.longest)
        return seconds

    def reset(self) -> None:
        """Begin with the first wait again: the work succeeded."""
        self.seconds = self.first
