"""A start that cannot be ends with one sentence that says what to do, and no traceback."""

import os
import resource
import sqlite3
import subprocess
from contextlib import closing

import pytest

import fooocus_flask
from fooocus_flask.errors import StartError
from fooocus_flask.server import launcher
from tests import past_databases
from tests.patience import CEILING
from tests.serving import GUNICORN, LAUNCHER, ROOT

pytestmark = pytest.mark.sql("database")


def damaged(instance):
    """A database whose file was overwritten."""
    (instance / "db.sqlite3").write_bytes(b"no database at all, though it is long enough to be one" * 100)


def cut_off(instance):
    """A database that lost its second half."""
    path = instance / "db.sqlite3"
    past_databases.upgrade(f"sqlite:///{path}", "0005")
    past_databases.fill(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    os.truncate(path, path.stat().st_size // 2)


def newer(instance):
    """A database of a version to come."""
    path = instance / "db.sqlite3"
    past_databases.upgrade(f"sqlite:///{path}", "0005")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


def a_folder(instance):
    """Something else under the database's name."""
    (instance / "db.sqlite3").mkdir()


def empty_secret(instance):
    """What a full disk left of a secret in earlier versions."""
    (instance / "file_secret").write_text("")


def empty_webhook_secret(instance):
    """The same for webhooks."""
    (instance / "webhook_secret").write_text("")


BROKEN = [
    (damaged, "is no database of SQLite; put a copy"),
    (cut_off, "is damaged"),
    (newer, "later version .* 9999 .*: start that version"),
    (a_folder, "cannot be opened; its folder must be there"),
    (empty_secret, "file_secret holds no secret .* restore it, or delete it"),
    (empty_webhook_secret, "webhook_secret holds no secret"),
]


@pytest.fixture
def instance(tmp_path):
    """An empty instance folder."""
    folder = tmp_path / "instance"
    folder.mkdir()
    return folder


@pytest.mark.sqlite("its file is broken")
@pytest.mark.parametrize(("do", "sentence"), BROKEN)
def test_what_is_broken_is_told(make_app, instance, do, sentence):
    do(instance)
    with pytest.raises(StartError, match=sentence):
        launcher.checked(make_app())


def test_a_server_makes_its_secrets(make_app, instance):
    """A command makes none: `tests/access/test_keys.py`."""
    app = make_app()
    assert not [*instance.glob("*_secret")]
    launcher.checked(app)
    assert {path.name for path in instance.glob("*_secret")} == {"file_secret", "webhook_secret"}


@pytest.mark.sqlite("its file is opened for reading")
def test_a_database_that_may_only_be_read_is_told(make_app, instance):
    make_app()
    address = f"sqlite:///file:{instance / 'db.sqlite3'}?mode=ro&uri=true"
    with pytest.raises(StartError, match="cannot be written; let this user write the file"):
        make_app(SQLALCHEMY_DATABASE_URI=address)


@pytest.mark.sqlite("one writer locks the whole database there only")
def test_a_database_that_another_process_writes_to_is_told(make_app, instance):
    make_app()
    with closing(sqlite3.connect(instance / "db.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StartError, match="locked by another process; end that one"):
            make_app()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("postgresql+psycopg://user:secret@127.0.0.1:1/name", "cannot be used: .*; see whether it runs"),
        ("no address", "is no address of a database; give one such as postgresql://"),
        ("nothing://host/name", "is no address of a database"),
    ],
)
def test_an_address_that_leads_to_no_database_is_told_without_its_password(make_app, address, sentence):
    with pytest.raises(StartError, match=sentence) as error:
        make_app(SQLALCHEMY_DATABASE_URI=address)
    assert "secret" not in str(error.value)


@pytest.mark.sqlite("it is an SQLite file that is named")
def test_the_predecessors_variable_names_the_database_and_ours_goes_before_it(make_app, tmp_path, monkeypatch):
    for variable, name in (("FOOOCUS_DB_CONF", "theirs"), ("DATABASE_URL", "ours")):
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setenv(variable, f"sqlite:///{tmp_path / name}")
        make_app(INSTANCE=tmp_path / "instance")
        assert (tmp_path / name).stat().st_size


def test_an_instance_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot be made or written: Not a directory; .*FOOOCUS_INSTANCE"):
        fooocus_flask.create_app(INSTANCE=tmp_path / "file" / "instance", SQLALCHEMY_DATABASE_URI="sqlite://")


def full():
    """Let the files of this process not grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def ended(instance, command, before=None):
    """Start a server that ends by itself: its exit status, and what it said."""
    here = {"FOOOCUS_INSTANCE": str(instance), "API_PORT": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | here
    done = subprocess.run(
        command, cwd=ROOT, env=environ, preexec_fn=before, capture_output=True, text=True, timeout=CEILING
    )
    return done.returncode, done.stderr


@pytest.mark.sqlite("its file is broken")
@pytest.mark.parametrize(("command", "status"), [(LAUNCHER, 2), (GUNICORN, 3)])
def test_a_server_ends_with_the_sentence(instance, database, command, status):
    damaged(instance)
    code, told = ended(instance, command)
    assert code == status
    assert [line for line in told.splitlines() if line.startswith("wsgi.py: The database ")] and "Traceback" not in told


@pytest.mark.sqlite("the file that cannot grow is the server's own")
def test_a_full_disk_is_told_at_the_start(instance, database):
    unmeasured = ["env", "-u", "COVERAGE_PROCESS_CONFIG", *LAUNCHER]  # its figures need a disk too
    code, told = ended(instance, unmeasured, full)
    assert code == 2 and told.startswith("wsgi.py: ") and told.count("\n") == 1
    assert "disk is full" in told or "with space" in told
