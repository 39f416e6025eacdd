"""The database: SQLAlchemy on an SQLite file that several greenlets share, and its migrations.

One function is one short write transaction: nothing between its first write and its commit may wait for anything,
or the next writer stands still inside SQLite and the whole server with it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import flask_migrate
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase

MIGRATIONS = Path(__file__).with_name("migrations")
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "foreign_keys=ON")


class TableBase(DeclarativeBase):
    """Every table's base."""


# Rows stay readable after their commit: they travel in signals and answers as plain values.
db = SQLAlchemy(model_class=TableBase, session_options={"expire_on_commit": False})
migrate = Migrate(directory=str(MIGRATIONS), render_as_batch=True)


def init_app(app: Flask) -> None:
    """Connect the database and bring its tables up to date.

    Flask's own command line (`flask db …`) finds the tables as they are.
    """
    Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", set_pragmas)
        if db.engine.dialect.name == "postgresql":
            event.listen(db.engine, "do_connect", set_encoding)
        if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
            flask_migrate.upgrade()


def close(app: Flask) -> None:
    """Give back the connections; whoever asks again gets new ones."""
    with app.app_context():
        db.engine.dispose()


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


def set_pragmas(connection: Any, _: Any) -> None:
    """What makes SQLite fast and safe for one writer and many readers."""
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
