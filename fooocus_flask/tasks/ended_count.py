"""How many tasks have ended: counted seldom, for PostgreSQL counts row by row, and kept by adding up what changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from flask import Flask
from sqlalchemy import func, select

from fooocus_flask.database import db
from fooocus_flask.extension import Extension
from fooocus_flask.tables import PENDING, RUNNING, Task

RECOUNT = 5.0
"""Seconds after which rows are counted again: nobody else should change them while a server runs, but could."""


class Change:
    """What a transaction does to the number: `by` is set once it is committed."""

    by = 0


class EndedCount:
    """One application's; every transaction that ends or deletes tasks is made within `changing`."""

    def __init__(self, app: Flask) -> None:
        self._known: int | None = None
        self._counted = -math.inf
        self._open, self._closed = 0, 0
        """Changes under way, and all that there were."""

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A change; one that fails may have been committed, so the rows are counted again."""
        change, whole = Change(), False
        self._open += 1
        try:
            yield change
            whole = True
        finally:
            self._open -= 1
            self._closed += 1
            self._known = self._known + change.by if whole and self._known is not None else None

    def value(self) -> int:
        """How many there are.

        A count is kept only if no change was under way meanwhile: who knows whether it is in it.
        """
        if self._known is None or monotonic() - self._counted > RECOUNT:
            quiet, closed = not self._open, self._closed
            counted = counted_ended()
            if not quiet or self._open or closed != self._closed:
                return counted
            self._known, self._counted = counted, monotonic()
        return self._known


ended_count = Extension("fooocus-ended-count", EndedCount)


def counted_ended() -> int:
    """All tasks less those that have not ended: a table is counted ten times as fast as what fits a condition."""
    everything = select(func.count()).select_from(Task)
    still = everything.where(Task.task_status.in_((PENDING, RUNNING)))
    return db.session.scalar(select(everything.scalar_subquery() - still.scalar_subquery())) or 0
