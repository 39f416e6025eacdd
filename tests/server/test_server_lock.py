"""One server per database: the second one ends with a sentence, or waits for the first one's end."""

import os
import signal
import subprocess

import pytest
from flask_migrate import downgrade
from sqlalchemy import create_engine

import fooocus_flask
from fooocus_flask.database import db
from fooocus_flask.server_lock import LockHeld, holder, lock_of
from tests import postgresql
from tests.patience import CEILING, children, gone
from tests.serving import GUNICORN, LAUNCHER, ROOT, engines

pytestmark = pytest.mark.sql("server_lock")

SENTENCE = "wsgi.py: Another server is running on the database "


def started(instance, command, **environ):
    """A server on this instance, of which nothing is expected."""
    here = {"FOOOCUS_INSTANCE": str(instance), "API_PORT": "0"}
    environ = {**os.environ, **here, **postgresql.environment(instance), **environ}
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(process):
    """What a server that ends by itself says."""
    try:
        return process.communicate(timeout=CEILING)[0]
    finally:
        process.kill()


@pytest.mark.parametrize(("command", "status"), [(LAUNCHER, 2), (GUNICORN, 3)])
def test_a_second_server_on_a_database_ends_with_a_sentence(server, command, status):
    second = started(server.instance, command)
    text = told(second)
    assert second.returncode == status
    assert SENTENCE in text and "--standby" in text and "Traceback" not in text
    assert server.draw().json["task_status"] == "finished"


def test_gunicorn_with_four_workers_ends_with_a_sentence(tmp_path, database):
    four = ["4" if word == "1" else word for word in GUNICORN]
    process = started(tmp_path, four)
    text = told(process)
    assert process.returncode and "4 workers were asked for" in text and "-w 1" in text and "Traceback" not in text
    assert not (tmp_path / "db.sqlite3").exists()


def test_a_standby_takes_over_what_waits_when_the_other_is_killed(make_server):
    """Even while the dead server's engine has not noticed yet."""
    server = make_server().ready()
    (engine,) = engines(server.process.pid)
    with started(server.instance, [*LAUNCHER, "--standby"], FOOOCUS_MODELS_PATH=str(server.models)) as standby:
        try:
            assert any("Standing by" in line for line in iter(standby.stdout.readline, ""))
            os.kill(engine, signal.SIGSTOP)
            task_id = server.submit()
            server.process.kill()
            assert any(f"task={task_id} " in line for line in iter(standby.stdout.readline, ""))
        finally:
            os.kill(engine, signal.SIGKILL)
            standby.terminate()


def test_a_standby_that_is_told_to_stop_ends(server):
    for command in (LAUNCHER, GUNICORN):
        standby = started(server.instance, command, FOOOCUS_STANDBY="1")
        assert any("Standing by" in line for line in iter(standby.stdout.readline, ""))
        standby.terminate()
        assert "Traceback" not in told(standby)


def test_a_reloaded_gunicorn_goes_on_with_a_new_worker(make_server):
    """The new worker waits for the old one's task."""
    server = make_server(GUNICORN).ready()
    (worker,) = children(server.process.pid)
    server.process.send_signal(signal.SIGHUP)
    assert gone(worker)
    assert server.draw().json["task_status"] == "finished"


def test_the_lock_is_free_again_once_the_server_is_closed(make_app):
    first, second = make_app(), make_app()
    holder.of(first).take()
    holder.of(first).take()
    with pytest.raises(LockHeld, match="--standby"):
        holder.of(second).take()
    fooocus_flask.close(first)
    holder.of(second).take()


def test_tables_are_not_changed_under_a_running_server(make_app):
    """A command of a later version would change them under an earlier one's server."""
    app = make_app()
    holder.of(app).take()
    with app.app_context():
        downgrade(revision="0005")
    with pytest.raises(LockHeld):
        make_app()


def test_tries_for_a_lock_that_is_held_leave_nothing_behind(make_app):
    """A standby tries twice a second, for weeks."""
    with make_app().app_context():
        url = db.engine.url
    if url.get_backend_name() != "postgresql":
        pytest.skip("a file's lock needs no connection")
    engine = create_engine(url)
    first, second = lock_of(engine), lock_of(engine)
    assert first.take() and not any(second.take() for _ in range(5))
    assert not any(record.finalize_callback for record in engine.pool._pool.queue)
    first.release()
    assert second.take()
    second.release()
    engine.dispose()
