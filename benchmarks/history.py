"""How long questions about many tasks take: `python -m benchmarks.history [--rows 100000] [--database ADDRESS]`.

Asks the application itself, without a socket, about tasks that look as real ones do; the database is a new file, or an
empty one of PostgreSQL's at this address.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from flask import Flask
from sqlalchemy import insert, text

import fooocus_flask
from fooocus_flask.database import db, with_driver
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tables import FINISHED, Prompt, Task
from schemas.generate import GenerateSchema

A_DAY = 1000
"""Tasks that are queued in a day."""
AT_A_TIME = 1000
TIMES = 50
WORDS = ("cat", "dog", "castle", "forest", "portrait", "oil painting", "neon", "mist", "golden hour", "close-up", "8k")
TARGETS = {"by id": 5.0, "first page": 5.0, "middle page": 5.0, "last page": 5.0, "one page of a day's range": 20.0}
"""Milliseconds; the median must stay below."""


def main() -> None:
    """Fill a database and print the medians, and how they stand to their targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="ended tasks in the database")
    parser.add_argument("--database", metavar="ADDRESS", help="an empty database of PostgreSQL's: postgresql://…")
    args = parser.parse_args()
    rows, settings = args.rows, {"SQLALCHEMY_DATABASE_URI": with_driver(args.database)} if args.database else {}
    with tempfile.TemporaryDirectory() as folder:
        app = fooocus_flask.create_app(INSTANCE=folder, **settings)
        ids = fill(app, rows)
        print(f"{rows} tasks, {size(app) / 1e6:.0f} MB, {'PostgreSQL' if args.database else 'SQLite'}")
        for name, path in questions(ids, rows):
            report(name, app, path)
        fooocus_flask.close(app)


def size(app: Flask) -> int:
    """Bytes of the database."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            return (Path(app.instance_path) / "db.sqlite3").stat().st_size
        return int(db.session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def fill(app: Flask, count: int) -> list[str]:
    """Put ended tasks into the database, a minute and a half apart; their ids."""
    chance, ids = random.Random(1), [uuid4().hex for _ in range(count)]
    step = 24 * 3600 * 1000 // A_DAY
    begun = int(dt.datetime.now().timestamp() * 1000) - count * step
    with app.app_context():
        params = prepare(GenerateSchema().load({})).params.to_dict()
        for first in range(0, count, AT_A_TIME):
            numbers = range(first, min(first + AT_A_TIME, count))
            prompts = [", ".join(chance.choices(WORDS, k=12)) for _ in numbers]
            rows = [
                row(n, ids[n], begun + n * step, params | {"prompt": p}) for n, p in zip(numbers, prompts, strict=True)
            ]
            db.session.execute(insert(Task), rows)
            searched = [{"record_id": n + 1, "prompt": p} for n, p in zip(numbers, prompts, strict=True)]
            db.session.execute(insert(Prompt), searched)
            db.session.commit()
        if db.engine.dialect.name != "sqlite":
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))  # as PostgreSQL does by itself, within a minute or two
    return ids


def row(number: int, task_id: str, queued: int, params: dict[str, Any]) -> dict[str, Any]:
    """One ended task."""
    drawn = {"task_status": FINISHED, "progress": 100, "pictures_done": 1, "result": [f"2024-07-05/{task_id}.png"]}
    moments = {"in_queue_mills": queued, "rank": queued, "start_mills": queued + 5, "finish_mills": queued + 3000}
    return {"id": number + 1, "task_id": task_id, "req_params": params, "notes": [], "work": 1e6} | drawn | moments


def questions(ids: list[str], rows: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each with a name: a path to ask, another one each time."""
    chance = random.Random(2)
    pages, now = rows // 10, dt.datetime.now()

    def day() -> str:
        start = now - dt.timedelta(days=chance.uniform(1, rows / A_DAY))
        end = start + dt.timedelta(days=1)
        return f"/tasks?query=history&start_at={start.isoformat()}&end_at={end.isoformat()}"

    yield "by id", lambda: f"/tasks/{chance.choice(ids)}"
    yield "first page", lambda: "/tasks?query=history"
    yield "middle page", lambda: f"/tasks?query=history&page={pages // 2 + chance.randrange(-9, 9)}"
    yield "last page", lambda: f"/tasks?query=history&page={pages - 1 - chance.randrange(9)}"
    yield "one page of a day's range", day
    yield "of one state", lambda: "/tasks?query=history&status=finished&page=100"
    yield "by words of the prompt", lambda: f"/tasks?query=history&prompt={chance.choice(WORDS)}+{chance.choice(WORDS)}"


def report(name: str, app: Flask, path: Callable[[], str]) -> None:
    """Ask, and print one line."""
    client, times = app.test_client(), []
    for _ in range(TIMES):
        asked, begun = path(), perf_counter()
        reply = client.get(asked)
        times.append((perf_counter() - begun) * 1e3)
        assert reply.status_code == 200, reply.json
    middle = statistics.median(times)
    target = TARGETS.get(name)
    ratio = f"   {middle / target:5.2f} of {target:.0f} ms" if target else ""
    print(f"{name:28} p50 {middle:7.2f} ms   p99 {sorted(times)[int(TIMES * 0.99)]:7.2f} ms{ratio}")


if __name__ == "__main__":
    main()
