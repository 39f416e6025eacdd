"""One server per database: a lock for the server's life, which is free at once when the server dies, however it does.

Two servers would both draw what waits, and tell each other's tasks that they were lost. Commands (`flask --app wsgi …`)
only read and write rows, and need no lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import gevent
from blinker import signal as named_signal
from flask import Flask
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from fooocus_flask.errors import StartError
from fooocus_flask.extension import Extension

log = logging.getLogger(__name__)

ADVISORY = 7866_0000
"""The lock's name among PostgreSQL's advisory locks, which each database has for itself."""
KEEPALIVES = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""Seconds, and tries, after which PostgreSQL frees the lock of a machine that lost its power or its network."""
TRY_EVERY = 0.5
LOOK_EVERY = 5.0
"""Seconds between two looks whether PostgreSQL still knows of the lock."""

standing_by = named_signal("fooocus-standing-by")
"""Sent again and again while a server waits for the lock or upgrades the tables. Sender: the application. It is one of
blinker's own signals: gunicorn's configuration listens before anything of this package may be imported."""


class LockHeld(StartError):
    """Another server is running on the database; the text says what to do."""


class Lock(Protocol):
    """A lock that one server can have."""

    def take(self) -> bool:
        """Take it if it is free; whether it is this server's now."""

    def held(self) -> bool:
        """Whether it is still this server's."""

    def release(self) -> None:
        """Give it back."""


class FileLock:
    """A lock on a file beside an SQLite database; programs that the server starts do not inherit it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take it if it is free; whether it is this server's now."""
        if self._file is None:
            file = self._path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._file = file
        return True

    def held(self) -> bool:
        """Whether it is still this server's."""
        return self._file is not None

    def release(self) -> None:
        """Give it back; the file stays, for another server may be waiting for this very file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class AdvisoryLock:
    """A lock in PostgreSQL, which lasts as long as a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Take it if it is free; whether it is this server's now."""
        if self._connection is None:
            connection = self._engine.connect()
            connection.detach()  # from the pool, which would give it to others
            # By the driver itself: the pool would keep what undoes an option of the engine's, one more at each try.
            driver: Any = connection.connection.dbapi_connection
            driver.autocommit = True
            for name, value in KEEPALIVES.items():
                connection.exec_driver_sql(f"SET {name} = {value}")
            if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({ADVISORY})").scalar():
                connection.close()
                return False
            self._connection = connection
        return True

    def held(self) -> bool:
        """Whether it is still this server's: PostgreSQL may have been restarted."""
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
                return True
            except SQLAlchemyError:
                self.release()
        return False

    def release(self) -> None:
        """Give it back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()


class Holder:
    """The lock of one application's database, and the watch over it."""

    def __init__(self, app: Flask) -> None:
        with app.app_context():
            engine: Engine = app.extensions["sqlalchemy"].engine
        self.app = app
        self.database = name_of(engine.url)
        self._lock = lock_of(engine)
        self._watch: gevent.Greenlet | None = None

    @property
    def held(self) -> bool:
        """Whether this server has the lock, or needs none."""
        return self._lock is None or self._lock.held()

    def take(self) -> None:
        """Take the lock, once; a standby waits for it.

        Raises:
            LockHeld: another server has it.
        """
        if self.held:
            return
        waits = False
        while not self._is_free(waits):
            if not self.app.config["STANDBY"]:
                raise LockHeld(
                    f"Another server is running on the database {self.database}: stop it first, or give this one an "
                    "instance folder or a database of its own (FOOOCUS_INSTANCE, DATABASE_URL), or have it wait for "
                    "the other's end with --standby (FOOOCUS_STANDBY=1)"
                )
            if not waits:
                log.warning("Standing by: another server is running on the database %s", self.database)
                waits = True
            standing_by.send(self.app)
            gevent.sleep(TRY_EVERY)
        if isinstance(self._lock, AdvisoryLock):
            self._watch = gevent.spawn(self._look)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have the lock for a while, or for as long as before.

        Raises:
            LockHeld: another server has it.
        """
        before = self.held
        self.take()
        try:
            yield
        finally:
            if not before:
                self.release()

    def _is_free(self, waits: bool) -> bool:
        """Take the lock if it is free; who stands by waits for the database too."""
        try:
            return self._lock is None or self._lock.take()
        except SQLAlchemyError as error:
            if not waits:
                raise
            log.warning("The lock on the database cannot be asked for: %s", error)
            return False

    def release(self) -> None:
        """Give the lock back."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.kill()
        if self._lock is not None:
            self._lock.release()

    def _look(self) -> None:
        """End the server when another one has taken over."""
        while True:
            gevent.sleep(LOOK_EVERY)
            try:
                if self.held or self._is_free(False):
                    continue
            except SQLAlchemyError as error:
                log.warning("The lock on the database cannot be looked after: %s", error)
                continue
            log.critical("Another server took over the database %s while it was away; this one ends", self.database)
            os.kill(os.getpid(), signal.SIGTERM)


holder = Extension("fooocus-server-lock", Holder)
"""The lock of each application's database, which is taken when serving begins."""


def lock_of(engine: Engine) -> Lock | None:
    """What locks this database for one server; None for one in memory, which nobody else can open."""
    if engine.dialect.name == "postgresql":
        return AdvisoryLock(engine)
    path = file_of(engine.url)
    return FileLock(path.with_name(f"{path.name}.lock")) if path else None


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database; None if it has none."""
    name = (url.database or "").removeprefix("file:")
    return Path(name) if url.get_backend_name() == "sqlite" and name and ":memory:" not in name else None


def name_of(url: URL) -> str:
    """A database's name for people, without its password."""
    return str(file_of(url) or url.set(password=None).render_as_string())
