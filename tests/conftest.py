"""The real application, on a real database file, with the real engine and a toy checkpoint of random weights."""

from __future__ import annotations

import datetime as dt
import fcntl
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

import fooocus_flask
from fooocus_flask.database import db
from fooocus_flask.pictures.storage import storage
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tables import Prompt, Task
from fooocus_flask.tasks.ended_count import ended_count
from schemas.generate import GenerateSchema
from tests import garbage, postgresql
from tests import gateway as gateways
from tests.empty_models import EMPTY_MODEL
from tests.receiving import Receiver, receiving
from tests.serving import Server, small

PICTURES = ("/outputs/", "/inputs/", "/files/", "/v1/tools/")
"""How the paths of requests begin that read pictures."""
SLOW_FIXTURES = frozenset({"database", "pipeline"})
"""Whatever starts an application or a server has the first, whatever draws in the test's own process the second."""


def pytest_addoption(parser):
    """Options that choose tests, or the database of their applications."""
    parser.addoption("--postgresql", action="store_true", help="keep tasks in a PostgreSQL server of the tests' own")
    parser.addoption("--bucket", action="store_true", help="keep pictures in an S3 server of the tests' own")
    parser.addoption("--screenshots", action="store_true", help="write the pictures of the web page into docs/pictures")
    parser.addoption("--quick", action="store_true", help="leave out what starts servers or draws pictures")


LONGEST = tuple(
    Path(__file__).parent / name
    for name in ("wire", "webui", "runner", "faults", "training", "test_install.py", "test_upgrades.py")
)
"""Tests that would keep one worker busy after all others have ended if they came last."""

gc.disable()  # while thousands of modules and tests are loaded, none of which becomes garbage
os.environ["OMP_NUM_THREADS"] = "1"  # tests share their machine: two threads beside a busy process take longer than one


def pytest_collection_finish():
    """Look for garbage again."""
    garbage.settle()


def pytest_ignore_collect(collection_path, config):
    """Import no test module, and so no torch, that has nothing of what is asked for; None leaves it to others."""
    wanted = [mark for option, mark in (("--postgresql", "sql"), ("--bucket", "pictures")) if config.getoption(option)]
    if wanted and collection_path.match("test_*.py"):
        text = collection_path.read_text("utf-8")
        return True if not all(f"mark.{mark}" in text for mark in wanted) else None
    return None


def pytest_collection_modifyitems(config, items):
    """Run what is asked for, the longest first: the quick tests; on PostgreSQL those of what speaks SQL; with a bucket
    those of pictures."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in LONGEST))
    if config.getoption("--quick"):
        choose(config, items, is_quick)
    if config.getoption("--bucket"):
        choose(config, items, lambda item: "database" in item.fixturenames and item.get_closest_marker("pictures"))
        skip(items, "folder", "about pictures in folders")
    if not config.getoption("--postgresql"):
        return
    choose(config, items, lambda item: "database" in item.fixturenames and item.get_closest_marker("sql") is not None)
    skip(items, "sqlite", "about SQLite")


def skip(items, name, why):
    """Skip the tests with this marker, whose argument says why."""
    for item in items:
        if marker := item.get_closest_marker(name):
            item.add_marker(pytest.mark.skip(reason=f"{why}: {marker.args[0]}"))


def choose(config, items, wanted):
    """Leave these tests only."""
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


def is_quick(item):
    """Whether a test neither starts servers nor draws pictures, as its fixtures and its marker tell."""
    return SLOW_FIXTURES.isdisjoint(item.fixturenames) and item.get_closest_marker("slow") is None


@pytest.fixture(scope="session")
def database(request):
    """Where the applications of the tests keep their tasks: every test that starts one has this fixture."""
    if not request.config.getoption("--postgresql"):
        yield "SQLite"
        return
    with postgresql.PostgreSQL():
        yield "PostgreSQL"


@pytest.fixture(scope="session")
def bucket(request, tmp_path_factory):
    """Where the pictures of the tests' applications and servers lie, if it is no folder: a running S3 server."""
    if not request.config.getoption("--bucket"):
        yield None
        return
    program = gateways.binary()
    assert program, "no S3 server is installed; run `make clients`"
    gateway = gateways.Gateway(tmp_path_factory.mktemp("bucket"), program)
    with pytest.MonkeyPatch.context() as patch:
        for name, key in gateways.KEYS.items():
            patch.setenv(name, key)
        yield gateway
    gateway.stop()


@pytest.fixture(autouse=True)
def nobodys_database(request, monkeypatch):
    """Fail what would open a database that the test has not asked for, or another than the one it runs on."""
    if "database" not in request.fixturenames or request.config.getoption("--postgresql"):
        monkeypatch.setenv("DATABASE_URL", "use_the_fixture_database_and_postgresql.environment://")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A models folder with a toy checkpoint, and one that nothing draws with."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "checkpoints").mkdir()
    shutil.copyfile(shared_toy(tmp_path_factory), folder / "checkpoints" / "toy.safetensors")
    (folder / "checkpoints" / "broken.safetensors").write_bytes(EMPTY_MODEL)
    return folder


def shared_toy(tmp_path_factory) -> Path:
    """The toy checkpoint, which one worker of a run makes: for it, libraries are imported for seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    toy = folder / "toy.safetensors"
    with (folder / "toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not toy.exists():
            from tests.toy import toy_checkpoint

            toy_checkpoint(toy)
    return toy


class Client(FlaskClient):
    """Asks an application, and reads answers to their end."""

    def open(self, *args, buffered=True, **kwargs):
        return super().open(*args, buffered=buffered, **kwargs)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory, database) -> Path | None:
    """An SQLite file after all migrations, of which applications of the tests begin with a copy.

    PostgreSQL copies it by itself.
    """
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)
        fooocus_flask.close(fooocus_flask.create_app(INSTANCE=folder, **postgresql.settings(folder)))
    if database == "SQLite":
        return folder / "db.sqlite3"
    postgresql.make_template(folder)
    return None


class BucketClient(Client):
    """The same; pictures that it asks for lie in the bucket alone, which no test here says."""

    def open(self, *args, **kwargs):
        kept = storage.of(self.application)
        if kept.remote and args and str(args[0]).startswith(PICTURES):
            with self.application.app_context():
                for path in kept.here():
                    kept.ensure(path)
                    kept.local(path).unlink()
        return super().open(*args, **kwargs)


def new_app(instance: Path, models: Path, empty_database: Path | None, **settings) -> Flask:
    """An application whose state lies in this folder, with a database of its own."""
    file = instance / "db.sqlite3"
    if empty_database and "SQLALCHEMY_DATABASE_URI" not in settings and not file.exists():
        instance.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(empty_database, file)
    standing = {"INSTANCE": instance, "MODELS_PATH": str(models), "ENGINE_THREADS": 1}
    app = fooocus_flask.create_app(**standing | postgresql.settings(instance) | settings)
    app.test_client_class = Client
    return app


@pytest.fixture
def make_app(tmp_path, models, empty_database, bucket):
    """Makes applications with these settings; their state lies in the test's own folder."""
    made = []

    def make(INSTANCE=tmp_path / "instance", **settings):
        kept = bucket.settings(INSTANCE) if bucket else {}
        made.append(new_app(INSTANCE, models, empty_database, **kept | settings))
        if bucket:
            made[-1].test_client_class = BucketClient
        return made[-1]

    yield make
    for app in made:
        fooocus_flask.close(app)


@pytest.fixture
def app(make_app):
    """An application that does not draw yet: its engine starts with its first task."""
    return make_app()


@pytest.fixture
def client(app):
    """Asks the application."""
    return app.test_client()


@pytest.fixture
def add(app):
    """Puts a task into the database as if it had been through its life: `add("finished", hours_ago=2)`."""

    def add(status="finished", hours_ago=0, pictures=0, params=(), **columns):
        queued = int((dt.datetime.now().timestamp() - hours_ago * 3600) * 1000)
        with app.app_context():
            prepared = prepare(GenerateSchema().load(small(**dict(params))))
            task = Task(task_id=uuid4().hex, in_queue_mills=queued, task_status=status, base_url="http://h", **columns)
            task.req_params, task.checkpoint = prepared.params.to_dict(), prepared.checkpoint
            if status in ("finished", "failed", "stop"):
                task.start_mills = task.finish_mills = queued
                task.result = [picture(app, f"{task.task_id}-{number}.png") for number in range(pictures)]
                task.pictures_done = pictures
            with ended_count.of(app).changing() as change:
                db.session.add(task)
                db.session.flush()
                db.session.add(Prompt(record_id=task.id, prompt=prepared.params.prompt.lower()))
                db.session.commit()
                change.by = int(task.ended)
            return task.task_id

    return add


def picture(app, name: str, folder: str = "2024-07-05", size=(16, 8)) -> str:
    """A red picture in the outputs folder; its path below it."""
    path = Path(app.config["OUTPUT_PATH"]) / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return f"{folder}/{name}"


@pytest.fixture(scope="session")
def server(tmp_path_factory, models, database, bucket) -> Iterator[Server]:
    """A server with a ready engine, shared by the tests that leave it as they found it."""
    instance = tmp_path_factory.mktemp("instance")
    server = Server(instance, models, **bucket.environment(instance) if bucket else {}).ready()
    yield server
    server.stop()


@pytest.fixture
def make_server(tmp_path, models, database, bucket):
    """Starts servers for tests that end them, or need settings of their own."""
    made = []

    def make(*command, **environment):
        kept = bucket.environment(tmp_path) if bucket else {}
        started = Server(tmp_path / "instance", models, *command, **kept | environment)
        made.append(started)
        return started

    yield make
    for server in made:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on a real port."""
    with receiving() as receiver:
        yield receiver
