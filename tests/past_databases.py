"""Databases as earlier versions left them: at each revision, filled, or half made by an upgrade that was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

from fooocus_flask.database import MIGRATIONS

PRAGMAS_0_1_0 = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "foreign_keys=ON")
ROWS = 3
SPECIAL: dict[str, Any] = {
    "req_params": {"prompt": "A Cat", "image_seed": 7},
    "task_status": "finished",
    "drawn_with": {"device": "cpu"},
    "downloads": None,
    "url": "https://Receiver.example./hook?token=1",
}
"""Values that the application reads more into than their column says."""


@cache
def scripts() -> ScriptDirectory:
    """The migrations, loaded once."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config)


REVISIONS = [script.revision for script in reversed(list(scripts().walk_revisions()))]
"""From the first to the newest."""
OF_0_1_0 = REVISIONS[: REVISIONS.index("0005") + 1]
"""Those whose upgrades could be interrupted in the middle."""


@contextmanager
def opened(address: str) -> Iterator[Engine]:
    """The database as 0.1.0 opened it."""
    engine = create_engine(address, poolclass=sa.NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda raw, _: [raw.execute(f"PRAGMA {pragma}") for pragma in PRAGMAS_0_1_0])
    yield engine
    engine.dispose()


def upgrade(address: str, target: str, before: Callable[[], object] = lambda: None) -> None:
    """Bring the tables to a revision as 0.1.0 did, and call `before` before each statement.

    Its statements were in no transaction until the first one that wrote rows: the driver began none before.
    """
    script = scripts()
    steps = lambda revision, _: script._upgrade_revs(target, revision)  # noqa: E731
    with opened(address) as engine, engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", lambda *_: before())
        with EnvironmentContext(Config(), script, fn=steps) as environment:
            environment.configure(connection=connection, render_as_batch=True)
            with environment.begin_transaction():
                environment.run_migrations()


def killed(path: Path, target: str, folder: Path) -> list[Path]:
    """Upgrade an SQLite file as 0.1.0 did; instance folders as it left them that was killed before each statement."""
    left: list[Path] = []

    def copy() -> None:
        left.append(folder / f"killed-{len(left)}")
        left[-1].mkdir()
        for file in path.parent.glob(f"{path.name}*"):
            if not file.name.endswith("-shm"):  # which SQLite makes anew
                shutil.copy(file, left[-1])

    upgrade(f"sqlite:///{path}", target, copy)
    return left


def fill(address: str, rows: int = ROWS) -> None:
    """Put so many rows into every table."""
    with opened(address) as engine, engine.begin() as connection:
        for table in tables(connection):
            connection.execute(table.insert(), [row(table, number) for number in range(1, rows + 1)])


def row(table: sa.Table, number: int) -> dict[str, Any]:
    """A row whose values are its column's own; what points at another table points at that one's row of this number."""
    return {column.name: value(column, number) for column in table.columns}


def value(column: sa.Column[Any], number: int) -> Any:
    """Something that fits the column."""
    if column.name in SPECIAL:
        return SPECIAL[column.name]
    if isinstance(column.type, sa.JSON):
        return [f"{column.name} {number}"]
    if isinstance(column.type, sa.Boolean):
        return number % 2 == 0
    if isinstance(column.type, sa.Float):
        return number / 4
    return number if isinstance(column.type, sa.Integer) else f"{column.name} {number}"


def contents(address: str) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows."""
    with opened(address) as engine, engine.connect() as connection:
        found = {}
        for table in tables(connection):
            rows = connection.execute(table.select().order_by(*table.primary_key.columns))
            found[table.name] = [dict(row._mapping) for row in rows]
        return found


def tables(connection: Connection) -> list[sa.Table]:
    """The tables, those that others point at first."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def schema(address: str) -> list[Any]:
    """What an SQLite database consists of; Alembic has constraints without a name in any order."""
    with opened(address) as engine, engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2")
        return [(kind, name, sorted(line.strip(" ,") for line in (sql or "").splitlines())) for kind, name, sql in rows]
