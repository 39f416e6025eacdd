"""Kills in the middle of a first start and of upgrades: the next start works, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blueprints
import fooocus_flask
from fooocus_flask.server import launcher
from fooocus_flask.tasks import history
from tests import past_databases
from tests.past_databases import REVISIONS

BEGINNINGS = (None, *REVISIONS[:-1])
"""From no database at all, and from each revision that is not the newest."""
MOST_SECONDS = 60.0


def play(revision: str | None, every: float, rows: int) -> tuple[int, list[str]]:
    """Kill starts from this revision, each so many seconds later than the last, until one ends first: how many were
    killed, and what was broken."""
    list(blueprints.discover())  # imported here, once
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = past(folder / "before", revision, rows)
        kills, failures = 0, []
        while True:
            instance = Path(shutil.copytree(folder / "before", folder / f"killed-{kills}"))
            killed = start(instance, every * kills) == signal.SIGKILL
            failures += [f"killed after {every * kills:.3f} s: {text}" for text in broken(instance, before)]
            shutil.rmtree(instance)
            if not killed or every * kills > MOST_SECONDS:
                return kills, failures
            kills += 1


def past(instance: Path, revision: str | None, rows: int) -> dict[str, list[dict[str, Any]]]:
    """An instance folder whose database has this revision: the rows of its tables."""
    instance.mkdir()
    if revision is None:
        return {}
    past_databases.upgrade(address(instance), revision)
    past_databases.fill(address(instance), rows)
    return past_databases.contents(address(instance))


def address(instance: Path) -> str:
    """Where the instance's database is."""
    return f"sqlite:///{instance / 'db.sqlite3'}"


def start(instance: Path, seconds: float = MOST_SECONDS) -> int:
    """Start the application in a process that is killed after so many seconds: its status, or what killed it.

    The process is a fork of this one, for most of a start is imports, in which nothing can be lost.
    """
    child = os.fork()
    if child == 0:
        try:
            app = launcher.checked(fooocus_flask.create_app(INSTANCE=instance))
            with app.app_context():
                history.ended(0, 10)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.001)


def broken(instance: Path, before: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What is wrong with an instance whose start was killed."""
    if status := start(instance):
        yield f"it does not start again (status {status})"
        return
    after = past_databases.contents(address(instance))
    for name, rows in before.items():
        if [{column: row[column] for column in rows[0]} for row in after.get(name, [])] != rows:
            yield f"rows of {name} are lost or changed"
