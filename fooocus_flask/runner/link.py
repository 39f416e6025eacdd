"""What a lane speaks to: a local engine process, or a card of the fleet by way of its driver."""

from __future__ import annotations

from typing import Protocol

from engine import messages


class EngineLink(Protocol):
    """An engine that runs, as long as it does."""

    def send(self, message: messages.Message) -> None:
        """Give the engine something to do.

        Raises:
            OSError: it is gone.
        """

    def kill(self) -> None:
        """End the engine by force, for it may not hear."""

    def close(self) -> object:
        """Have nothing more to do with the engine, which ends."""

    def reason(self) -> str:
        """Why the engine is gone, once it is."""
