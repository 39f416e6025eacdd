"""Upgrades of the tables: each is one transaction, made whole or not at all, wherever the process is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import gevent
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Connection, Engine

from fooocus_flask import server_lock
from fooocus_flask.errors import StartError
from fooocus_flask.extension import application

ONE_AT_A_TIME = 7866_0001
"""The name, among PostgreSQL's advisory locks, of the one that an upgrade holds."""

LEFT_HALF_DONE = {
    None: (("webhook_delivery", "generate_record"), ()),
    "0001": (("_alembic_tmp_generate_record",), ()),
    "0002": (("keys",), ("key_name",)),
    "0003": ((), ("downloads",)),
    "0004": ((), ("request_id",)),
}
"""Tables, and columns of tasks, that a killed upgrade of version 0.1.0 left on SQLite, by the revision it began at: its
statements were in no transaction before the first one that wrote rows."""
TASK = "generate_record"
TELL_EVERY = 1_000_000
"""Instructions of SQLite's machine, a few hundredths of a second, from one sign of life to the next."""


class UpgradeError(StartError):
    """The tables cannot be brought up to date; the text says why and what to do."""


def upgrade(app: Flask, engine: Engine) -> bool:
    """Bring the tables up to date; whether there was anything to do.

    Only who holds the server's lock may change them: a server of an earlier version may be at work.

    Raises:
        UpgradeError: a later version made them, or they are not this program's.
        LockHeld: another server is running on the database.
    """
    config: Config = app.extensions["migrate"].migrate.get_config()
    scripts = migrations(config.get_main_option("script_location") or "")
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision == scripts.get_current_head():
        return False
    if revision not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise UpgradeError(
            f"The database {server_lock.name_of(engine.url)} was made by a later version of this program (its revision "
            f"{revision} is not known here, the newest is {scripts.get_current_head()}): start that version, or put "
            "back a copy from before its upgrade"
        )
    with server_lock.holder.of(app).taken(), signs_of_life(app):
        command.upgrade(config, "head")
    return True


@cache
def migrations(folder: str) -> ScriptDirectory:
    """The migrations in this folder, which are read once."""
    return ScriptDirectory(folder)


@contextmanager
def signs_of_life(app: Flask) -> Iterator[None]:
    """Tell whoever watches over this process that it is alive, as far as the work inside lets others run."""

    def tell() -> None:
        while True:
            server_lock.standing_by.send(app)
            gevent.sleep(server_lock.TRY_EVERY)

    greenlet = gevent.spawn(tell)
    try:
        yield
    finally:
        greenlet.kill()


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """An upgrade's transaction: nobody else writes during it, and its tables change together, at its end."""
    if connection.dialect.name != "sqlite":
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
            yield
        return
    driver = connection.connection.dbapi_connection
    assert driver is not None
    app = application()

    def tell() -> int:
        server_lock.standing_by.send(app)
        return 0  # go on

    driver.set_progress_handler(tell, TELL_EVERY)  # SQLite lets nobody else run, and gunicorn ends what is silent
    driver.isolation_level = None  # Python's driver would begin a transaction before the first INSERT only
    # Where a table is made anew, dropping the old one would delete all that points at it. No effect in a transaction.
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        dangling = _dangling(connection)
        _drop_half_done(connection)
        yield
        if _dangling(connection) > dangling:
            raise UpgradeError("The upgrade would leave rows that point at none; nothing was changed: report this")
        connection.commit()
    finally:
        connection.rollback()
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        driver.isolation_level = ""
        driver.set_progress_handler(None, 0)


def _dangling(connection: Connection) -> int:
    """How many rows point at a row that is not there."""
    return len(connection.exec_driver_sql("PRAGMA foreign_key_check").all())


def _drop_half_done(connection: Connection) -> None:
    """Drop what a killed upgrade of version 0.1.0 left, which never held a row, so that it can be made.

    Raises:
        UpgradeError: a table of that name holds rows, so that it was no upgrade that made it.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    names, columns = LEFT_HALF_DONE.get(revision, ((), ()))
    there = sa.inspect(connection).get_table_names()
    for name in names:
        if name not in there:
            continue
        table = sa.table(name)
        if connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)):
            raise UpgradeError(
                f"The database {server_lock.name_of(connection.engine.url)} has a table {name} with rows that this "
                "program did not make: name another database, which is made if it is not there"
            )
        connection.exec_driver_sql(f"DROP TABLE {name}")
    if columns:
        present = {column["name"] for column in sa.inspect(connection).get_columns(TASK)}
        for column in present.intersection(columns):
            connection.exec_driver_sql(f"ALTER TABLE {TASK} DROP COLUMN {column}")
