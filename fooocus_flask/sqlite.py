"""SQLite, as many greenlets of one process use it, beside other processes that write to the same file at times.

SQLite waits for another process's lock inside C, and the whole server with it. So it waits for nothing here: what meets
a lock is tried again, and its greenlet sleeps in between. Only a transaction's first write can meet one; later ones,
and the commit, have the lock. Greenlets of this process never meet each other, as no transaction sleeps after its
first write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Literal

import gevent
from sqlalchemy import Engine, event

PRAGMAS = ("busy_timeout=0", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
"""What makes SQLite fast and safe for one writer and many readers. A lock may be met from the second one on."""
PATIENCE = 3.0
"""Seconds a statement waits for a lock; its execution option `patience` says otherwise."""
TRY_EVERY = 0.02
MOST_WAITING = 8
"""Statements that may wait at the same time; more fail at once. The pool's other connections are for those who read."""
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)
"""Another process has the lock. SQLITE_BUSY_SNAPSHOT is not meant: it does not pass, however often one tries."""


class Patience:
    """Tries statements until another process's lock is gone."""

    def __init__(self) -> None:
        self._waiting = 0

    def listen(self, engine: Engine) -> None:
        """Execute this engine's statements."""
        event.listen(engine, "connect", self._set_pragmas)
        event.listen(engine, "do_execute", self._execute)
        event.listen(engine, "do_executemany", self._execute_many)
        event.listen(engine, "do_execute_no_params", self._execute_no_params)

    def _set_pragmas(self, connection: sqlite3.Connection, _: Any) -> None:
        for pragma in PRAGMAS:
            self._try(partial(connection.execute, f"PRAGMA {pragma}"), PATIENCE)

    def _execute(self, cursor: sqlite3.Cursor, statement: str, values: Any, context: Any) -> Literal[True]:
        return self._try(partial(cursor.execute, statement, values), patience(context))

    def _execute_many(self, cursor: sqlite3.Cursor, statement: str, values: Any, context: Any) -> Literal[True]:
        return self._try(partial(cursor.executemany, statement, values), patience(context))

    def _execute_no_params(self, cursor: sqlite3.Cursor, statement: str, context: Any) -> Literal[True]:
        return self._try(partial(cursor.execute, statement), patience(context))

    def _try(self, execute: Callable[[], object], seconds: float) -> Literal[True]:
        """Do it; True tells SQLAlchemy that it is done.

        Raises:
            sqlite3.OperationalError: the lock is still there after so many seconds, or something else is wrong.
        """
        deadline = monotonic() + seconds
        while True:
            try:
                execute()
                return True
            except sqlite3.OperationalError as error:
                locked = getattr(error, "sqlite_errorcode", None) in BUSY
                if not locked or monotonic() >= deadline or self._waiting >= MOST_WAITING:
                    raise
            self._waiting += 1
            try:
                gevent.sleep(TRY_EVERY)
            finally:
                self._waiting -= 1


def patience(context: Any) -> float:
    """How many seconds this statement may wait."""
    return PATIENCE if context is None else context.execution_options.get("patience", PATIENCE)
