"""The database: SQLAlchemy on an SQLite file that several greenlets share, or on PostgreSQL, and its migrations.

One function is one short write transaction: nothing between its first write and its commit may wait for anything,
or the next writer meets its lock.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase

from fooocus_flask import server_lock, sqlite, upgrades
from fooocus_flask.errors import StartError

MIGRATIONS = Path(__file__).with_name("migrations")
DAMAGED = "is damaged, or is no database of SQLite; put a copy from before in its place, or move it away to begin anew"
SPACE = "could not be written: its disk is full or broken; free some space, then start again"
REASONS = {
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_FULL: SPACE,
    sqlite3.SQLITE_IOERR: SPACE,
    sqlite3.SQLITE_READONLY: "cannot be written; let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; its folder must be there, with space, and this user may write there",
    sqlite3.SQLITE_BUSY: "is locked by another process; end that one (a backup, an open sqlite3), then start again",
}
"""What is wrong with an SQLite file, and what to do, by the last eight bits of SQLite's result code."""


class DatabaseFault(StartError):
    """The database cannot be used."""


class TableBase(DeclarativeBase):
    """Every table's base."""


FRESH = {"populate_existing": True}
"""An option of statements: rows come from the database even where the session knows them."""
UNSYNCHRONISED = {"synchronize_session": False}
"""An option of updates: the session does not work out itself what they change of the rows that it knows."""

# Rows stay readable after their commit: they travel in signals and answers as plain values.
db = SQLAlchemy(model_class=TableBase, session_options={"expire_on_commit": False})
migrate = Migrate(directory=str(MIGRATIONS), render_as_batch=True)


def init_app(app: Flask) -> None:
    """Connect the database and bring its tables up to date.

    Flask's own command line (`flask db …`) finds the tables as they are.

    Raises:
        DatabaseFault: it is damaged, full, locked, away, or may not be written.
        UpgradeError: its tables are a later version's, or not this program's.
        LockHeld: its tables are an earlier version's, of which a server is running.
    """
    with explained(app):
        Path(app.instance_path).mkdir(parents=True, exist_ok=True)
        db.init_app(app)
        migrate.init_app(app, db)
        with app.app_context():
            if db.engine.dialect.name == "sqlite":
                sqlite.Patience().listen(db.engine)
            if db.engine.dialect.name == "postgresql":
                event.listen(db.engine, "do_connect", set_encoding)
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        upgrade(app)


def upgrade(app: Flask) -> None:
    """Bring the tables up to date, and make sure that they can be written.

    Raises:
        StartError: as `init_app` does.
    """
    with explained(app), app.app_context():
        if not upgrades.upgrade(app, db.engine):
            check_writable()


def lock(app: Flask) -> None:
    """Make this process the database's only server; a standby waits until it is.

    Raises:
        LockHeld: another server is running on it.
        DatabaseFault: it cannot be used.
    """
    with explained(app):
        server_lock.holder.of(app).take()


def check_writable() -> None:
    """Write something, and take it back: SQLite begins a transaction to write even where it may only read.

    Raises:
        DBAPIError: the database may only be read, or others keep it locked.
    """
    with db.engine.connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        connection.rollback()


@contextmanager
def explained(app: Flask) -> Iterator[None]:
    """What the database's drivers raise becomes a sentence.

    Raises:
        DatabaseFault: they raised something.
    """
    try:
        yield
    except DBAPIError as error:
        with app.app_context():
            raise DatabaseFault(f"The database {server_lock.name_of(db.engine.url)} {reason(error.orig)}") from error
    except (ArgumentError, NoSuchModuleError) as error:
        problem = (
            "DATABASE_URL, FOOOCUS_DB_CONF or SQLALCHEMY_DATABASE_URI is no address of a database; give one such as "
        )
        raise DatabaseFault(f"{problem}postgresql://user:password@host/name, or none for an SQLite file") from error
    except ModuleNotFoundError as error:
        problem = f"The database needs a driver that is not installed ({error.name})"
        raise DatabaseFault(f'{problem}; for PostgreSQL: pip install -e ".[postgres]"') from error
    except OSError as error:
        problem = f"{error.filename or app.instance_path} cannot be made or written: {error.strerror}"
        raise DatabaseFault(f"{problem}; let this user write there, or set FOOOCUS_INSTANCE") from error


def reason(error: BaseException | None) -> str:
    """What is wrong, and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return REASONS.get(code & 0xFF, f"cannot be used: {error}; see whether its file is whole")
    return f"cannot be used: {' '.join(str(error).split())}; see whether it runs, and DATABASE_URL is right"


def close(app: Flask) -> None:
    """Give back the connections and the server's lock; whoever asks again gets new connections."""
    with app.app_context():
        db.engine.dispose()
    server_lock.holder.of(app).release()


def begin_write() -> None:
    """Have nobody else write between what this transaction reads and what it writes, on SQLite.

    Its first write might have to sleep until another process's lock is gone. PostgreSQL's rows are locked one by one.
    """
    if db.engine.dialect.name == "sqlite":
        db.session.execute(text("BEGIN IMMEDIATE"))


def commit() -> None:
    """Commit, or leave the session usable."""
    try:
        db.session.commit()
    except Exception:
        db.session.rollback()
        raise


def with_driver(address: str) -> str:
    """A database's address with the driver that is used here, as hosts hand them out without (`postgres://…`)."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", address)


def set_encoding(_: Any, __: Any, ___: Any, arguments: dict[str, Any]) -> None:
    """Have texts sent as texts by a database whose encoding is SQL_ASCII, as one made where LANG is unset is."""
    arguments.setdefault("client_encoding", "utf8")
