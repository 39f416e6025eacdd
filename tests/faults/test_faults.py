"""Promises kept while things break: each fault once; `python -m tests.faults` plays many rounds."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time

import gevent
import pytest

from fooocus_flask.database import db
from fooocus_flask.following import webhooks
from fooocus_flask.tables import Delivery
from fooocus_flask.tasks import queue
from tests.faults import bucket, starts
from tests.faults.rounds import ONE_OF_SEVERAL, SETTINGS, STATES, VICTIMS, delivered, play
from tests.gateway import Gateway, binary
from tests.patience import CEILING, patience
from tests.serving import Server, engines, held

speaks_sql = pytest.mark.sql("runner/runner", "following/webhooks")


@pytest.fixture(scope="module")
def one_server(tmp_path_factory, models, database):
    """A server that is hurt again and again, and must be well after each test: the next one goes on with it."""
    server = Server(tmp_path_factory.mktemp("hurt"), models, **SETTINGS)
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def server(one_server):
    """The server, started again if the test before has left it dead."""
    if one_server.process.poll() is not None:
        one_server.start()
    return one_server


@pytest.mark.parametrize("state", [state for state in STATES if state != "pending"])
@pytest.mark.parametrize(
    "victim", [pytest.param(victim, marks=speaks_sql if victim == "server" else ()) for victim in VICTIMS]
)
def test_a_killed_process_loses_nothing(server, receiver, victim, state):
    """Tasks are pending in each of the states, and most of them where a webhook is due."""
    play(server, receiver, victim, state)


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory, models, database):
    """A server that draws on two lanes, and is hurt again and again."""
    server = Server(tmp_path_factory.mktemp("two"), models, FOOOCUS_ENGINES="2", **SETTINGS)
    yield server
    server.stop()


@pytest.mark.parametrize(("victim", "state"), [(ONE_OF_SEVERAL, "pending"), ("engine", "sampling")])
def test_killed_engines_of_several_lose_nothing(two_engines, receiver, victim, state):
    play(two_engines, receiver, victim, state)


@pytest.fixture(scope="module")
def bucket_server(tmp_path_factory, models, database):
    """A server whose pictures lie in a bucket, and which is hurt as the bucket is."""
    program = binary()
    if program is None:
        pytest.skip("no S3 server is installed; run `make clients`")
    gateway, place = Gateway(tmp_path_factory.mktemp("gateway"), program), tmp_path_factory.mktemp("kept")
    server = bucket.BucketServer(place, models, **SETTINGS, **gateway.environment(place))
    server.gateway = gateway
    yield server
    server.stop()
    gateway.stop()


@pytest.mark.parametrize(("victim", "state"), [(bucket.BUCKET_VICTIM, "sampling"), ("server", "saving")])
def test_with_pictures_in_a_bucket_a_kill_loses_nothing(bucket_server, receiver, victim, state):
    play(bucket_server, receiver, victim, state, bucket.BucketRound)


@speaks_sql
def test_a_webhook_that_is_due_outlives_the_server(server, receiver):
    """The receiver is down when the task ends; the next server finds it up."""
    receiver.answers = [503]
    task_id = server.ready().submit(webhook_url=receiver.url)
    first = receiver.take()[1]["webhook-id"]
    server.stop(signal.SIGKILL)
    receiver.answers = [200]
    server.start()
    delivered(server, task_id)  # a little later than the receiver is told, and again if its first answer was lost
    heard = receiver.rest()
    assert heard
    for _, headers, body in heard:
        assert (headers["webhook-id"], body["task_id"], body["task_status"]) == (first, task_id, "finished")


def test_a_full_disk_fails_the_task_and_the_next_one_is_drawn(server):
    server.ready()
    (engine,) = engines(server.process.pid)
    limits = resource.prlimit(engine, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    reply = server.draw()
    assert reply.status == 500 and "too large" in reply.json["error"]
    assert reply.json["task_status"] == "failed" and reply.json["result"] == []
    resource.prlimit(engine, resource.RLIMIT_FSIZE, limits)
    assert server.draw().json["task_status"] == "finished"
    assert engines(server.process.pid) == [engine]


def test_outputs_that_cannot_be_written_fail_the_task(server):
    server.ready()
    outputs = server.instance / "outputs"
    outputs.mkdir(exist_ok=True)
    outputs.rename(aside := server.instance / "aside")
    outputs.write_text("no folder")  # as good as read-only, for root too
    reply = server.draw()
    assert (reply.status, reply.json["task_status"]) in ((500, "failed"), (422, "failed")) and reply.json["error"]
    outputs.unlink()
    aside.rename(outputs)
    assert server.draw().json["task_status"] == "finished"


def test_a_locked_database_costs_time_and_no_task(server):
    server.ready()
    (engine,) = engines(server.process.pid)
    with held(server) as (stream,):
        other, before = sqlite3.connect(server.instance / "db.sqlite3", isolation_level=None), len(server.lines)
        other.execute("BEGIN IMMEDIATE")
    server.said("The database is asked again", before)
    other.execute("ROLLBACK")
    other.close()
    assert len(stream.events()[-1]["images"]) == 1
    assert engines(server.process.pid) == [engine]
    assert server.draw().json["task_status"] == "finished"


@speaks_sql
@pytest.mark.parametrize("jump", [-7 * 24 * 3600, 7 * 24 * 3600])
def test_a_clock_that_jumps_leaves_nobody_waiting(app, add, monkeypatch, jump):
    with app.app_context():
        before = [add("pending", rank=int(time.time() * 1000)) for _ in range(2)]
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() + jump * 10**9)
        after = add("pending", rank=time.time_ns() // 10**6)
        drawn = []
        while (task := queue.claim()) is not None:
            drawn.append(task.task_id)
            assert queue.end(task.task_id, "finished") is not None
        assert sorted(drawn) == sorted([*before, after])
        assert app.test_client().get("/tasks").json["pending"] == []
        assert db.session.query(Delivery).count() == 0


@speaks_sql
def test_a_clock_set_back_delays_no_webhook(make_app, add, receiver, monkeypatch):
    app, now = make_app(ALLOW_PRIVATE_ADDRESSES=True), time.time_ns
    tried = now() // 10**6
    with app.app_context():
        task = queue.find(add("finished", webhook_url=receiver.url))
        moments = {"made_mills": tried - 10, "tried_mills": tried, "due_mills": tried + 5000}
        db.session.add(Delivery(record_id=task.id, url=receiver.url, attempts=1, **moments))
        db.session.commit()
    monkeypatch.setattr(time, "time_ns", lambda: now() - 7 * 24 * 3600 * 10**9)
    with app.app_context():
        webhooks.sender.of(app).wake()
    with patience():
        while True:
            with app.app_context():
                if not webhooks.owed():
                    break
            gevent.sleep(0.01)
    assert receiver.take()[2]["task_id"] == task.task_id


def test_a_disk_full_for_the_database_refuses_and_forgets_nothing(server):
    """Nothing that was acknowledged is lost, nothing is acknowledged that is not kept, and it goes on by itself."""
    before = int(server.ready().get("/tasks").headers["X-Total-Count"])
    with held(server) as (stream,):
        lines = len(server.lines)
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = server.draw({"async_process": True})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5") and "database" in refused.json["detail"]
    server.said("The database is asked again", lines)
    assert server.get("/ping").status == 200
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    assert len(stream.events()[-1]["images"]) == 1
    assert server.draw().json["task_status"] == "finished"
    reply = server.get("/tasks")
    assert (reply.json["pending"], reply.json["current"]) == ([], [])
    assert int(reply.headers["X-Total-Count"]) == before + 2


def test_the_program_kills_starts_and_upgrades(database):
    """At few moments; by itself it does so at every 10 ms."""
    command = [sys.executable, "-m", "tests.faults", "--start", "--every", "0.3", "--rows", "10"]
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0 and done.stdout.count(" 0 broken") == len(starts.BEGINNINGS), done.stdout + done.stderr


def test_the_program_plays_rounds(database):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--rounds", "0", "--engines", "2"],
        capture_output=True,
        text=True,
        timeout=CEILING,
    )
    assert done.returncode == 0 and done.stdout.count("0/0 kept") == len(STATES) * (len(VICTIMS) + 1), done.stderr
