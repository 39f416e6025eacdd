"""SQLite beside another process that writes: who waits for its lock sleeps, and lets everybody else go on."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import gevent
import pytest
from sqlalchemy.exc import OperationalError

from fooocus_flask import sqlite
from fooocus_flask.access import keys
from fooocus_flask.tasks import queue
from tests.patience import CEILING
from tests.serving import GENERATE, small

pytestmark = pytest.mark.sqlite("one writer locks the whole database there only")


@contextmanager
def locked(instance):
    """The database, to which another connection writes."""
    with closing(sqlite3.connect(instance / "db.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def pause(app):
    """Write something."""
    with app.app_context():
        queue.pause()


def test_a_request_waits_for_another_process_s_lock_and_others_are_answered_meanwhile(server):
    with ThreadPoolExecutor() as pool, locked(server.instance) as other:
        waiting = pool.submit(server.draw, {"async_process": True})
        for path in ("/ping", "/health", "/tasks"):
            assert server.get(path).status == 200
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result().status == 200
    assert server.ended(waiting.result().json["task_id"])["task_status"] == "finished"


def test_a_lock_that_stays_is_told_and_nothing_is_kept(server):
    with locked(server.instance):
        refused = server.draw({"async_process": True})
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert server.get("/tasks").json["pending"] == []
    assert server.draw().json["task_status"] == "finished"


def test_a_write_is_made_when_the_lock_is_gone(app, tmp_path):
    with locked(tmp_path / "instance"):
        writing = gevent.spawn(pause, app)
        gevent.sleep(3 * sqlite.TRY_EVERY)
        assert not writing.ready()
    writing.get(timeout=CEILING)
    with app.app_context():
        assert queue.paused()


def test_those_who_wait_leave_connections_for_those_who_read(app, tmp_path):
    with locked(tmp_path / "instance"):
        writing = [gevent.spawn(pause, app) for _ in range(3 * sqlite.MOST_WAITING)]
        gevent.sleep(3 * sqlite.TRY_EVERY)
        waiting = [greenlet for greenlet in writing if not greenlet.ready()]
        with app.app_context():
            assert not queue.paused()
    gevent.joinall(writing, timeout=CEILING)
    assert len(waiting) == sqlite.MOST_WAITING
    assert {type(one.exception) for one in writing if one not in waiting} == {OperationalError}
    assert {one.exception for one in waiting} == {None}


def test_a_key_s_last_use_waits_for_nobody(app, tmp_path):
    with app.app_context():
        secret = keys.add("studio", ["read"])
    with locked(tmp_path / "instance"):
        asking = gevent.spawn(app.test_client().get, "/tasks", headers={"X-API-KEY": secret})
        gevent.sleep(0)  # nobody else's turn is needed
        assert asking.ready() and asking.get().status_code == 200


def test_a_limit_holds_while_those_who_submit_wait_for_a_lock(make_app, tmp_path):
    """Who counts and then waits counts again, so that all of them together keep to the limit."""
    app = make_app(QUEUE_LIMIT=2)
    with app.app_context():
        queue.pause()
    statuses = []

    def submit():
        statuses.append(app.test_client().post(GENERATE, json=small(async_process=True)).status_code)

    with locked(tmp_path / "instance"):
        submitting = [gevent.spawn(submit) for _ in range(4)]
        gevent.sleep(3 * sqlite.TRY_EVERY)
    gevent.joinall(submitting, timeout=CEILING)
    assert sorted(statuses) == [200, 200, 429, 429]
