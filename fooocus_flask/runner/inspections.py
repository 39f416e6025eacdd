"""Inspections of pictures that clients wait for: sent to the engine process, answered by it, or given up with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from gevent.event import AsyncResult

from engine import messages
from fooocus_flask import request_ids
from fooocus_flask.errors import FooocusError
from fooocus_flask.runner.link import EngineLink

MOST_WAITING = 16
RETRY_AFTER = {"Retry-After": "5"}
STATUSES = {"memory": 507, "space": 507}
"""The answers' statuses by cause of failure; 500 for all others."""


class EngineAway(FooocusError):
    """There is no engine to look at pictures now."""

    status = 503

    def __init__(self, reason: str):
        super().__init__(f"{reason}; try again in a few seconds", headers=RETRY_AFTER)


class NoUsableEngine(FooocusError):
    """No engine can look at pictures as the settings have it; the text says which setting, and what would work."""

    status = 503


class TooManyInspections(FooocusError):
    """More clients wait for a mask or a description than are let wait."""

    status = 429

    def __init__(self) -> None:
        text = f"{MOST_WAITING} masks and descriptions are waiting, which is the limit; try again later"
        super().__init__(text, headers=RETRY_AFTER)


class Inspections:
    """The inspections under way in one engine process after another."""

    def __init__(self) -> None:
        self._waiting: dict[str, AsyncResult] = {}

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._waiting)

    def take(self, engine: EngineLink, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have the engine look, and wait for what it sees.

        Raises:
            FooocusError: it failed, is gone, or has too much to look at.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise TooManyInspections
        look = messages.Look(uuid4().hex, purpose, dict(options), picture, request_ids.current())
        waiting = self._waiting[look.look_id] = AsyncResult()
        try:
            try:
                engine.send(look)
            except OSError as error:
                raise EngineAway("The engine process ended") from error
            seen: messages.Seen = waiting.get()
        finally:
            del self._waiting[look.look_id]
        if seen.error is not None:
            raise FooocusError(seen.error, status=STATUSES.get(seen.cause or "", 500))
        return seen

    def answer(self, seen: messages.Seen) -> None:
        """Hand on what the engine saw; its client may be gone."""
        if seen.look_id in self._waiting:
            self._waiting[seen.look_id].set(seen)

    def give_up(self) -> None:
        """Tell all who wait that the engine is gone."""
        for waiting in list(self._waiting.values()):
            waiting.set_exception(EngineAway("The engine process ended while it looked at the picture"))
