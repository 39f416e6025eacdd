"""A PostgreSQL server of the tests' own, on a socket in a folder, with a database for each instance folder.

`settings` and `environment` are empty where the tests run on SQLite.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, LiteralString

from sqlalchemy import NullPool

from fooocus_flask.database import with_driver

SOCKETS = "TEST_POSTGRESQL"
"""The variable that names the server's folder: tests use PostgreSQL where it is set."""
QUIET = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"]
NO_POOL = {"poolclass": NullPool}


def program(name: str) -> str | None:
    """Where one of PostgreSQL's programs lies."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))


def user() -> str | None:
    """Whom it runs as: root may not run it."""
    return "postgres" if os.geteuid() == 0 else None


class PostgreSQL:
    """A running server; a context manager that ends it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        if user():
            entry = pwd.getpwnam("postgres")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)

    def __enter__(self) -> PostgreSQL:
        self._run("initdb", "-D", self.data, "-U", "tests", "-A", "trust", "--no-sync")
        options = " ".join([*QUIET, "-c", f"unix_socket_directories={self.folder}"])
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", options, "start")
        os.environ[SOCKETS] = str(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ[SOCKETS]
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _run(self, name: str, *words: str | Path) -> None:
        path = program(name)
        if path is None:
            raise FileNotFoundError(f"{name} is not here; on Debian: apt-get install postgresql")
        environment = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        subprocess.run(
            [path, *words], user=user(), env=environment, cwd=self.folder, check=True, stdout=subprocess.DEVNULL
        )


_template: str | None = None
"""The database that new ones are copies of."""


def make_template(instance: Path) -> None:
    """Have databases made from now on begin as copies of the one of this instance folder."""
    global _template
    _template = name_of(instance)


def name_of(instance: Path) -> str:
    """What the database of an instance folder is called."""
    return "t" + hashlib.sha256(str(instance).encode()).hexdigest()[:24]


def address(instance: Path, options: LiteralString = "") -> str | None:
    """The address of the database that belongs to an instance folder, made if it is new; None without PostgreSQL."""
    folder = os.environ.get(SOCKETS)
    if folder is None:
        return None
    import psycopg

    name, template = name_of(instance), f"TEMPLATE {_template}" if _template and not options else ""
    with psycopg.connect(host=folder, user="tests", dbname="postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(f"CREATE DATABASE {name} {options} {template}")
    return f"postgresql://tests@/{name}?host={folder}"


def settings(instance: Path) -> dict[str, Any]:
    """The settings by which an application with this instance folder keeps its tasks in the folder's database."""
    found = address(instance)
    # without a pool, an application leaves nothing open
    return {"SQLALCHEMY_DATABASE_URI": with_driver(found), "SQLALCHEMY_ENGINE_OPTIONS": NO_POOL} if found else {}


def environment(instance: Path) -> dict[str, str]:
    """The same for a process."""
    found = address(instance)
    return {"DATABASE_URL": found} if found else {}
