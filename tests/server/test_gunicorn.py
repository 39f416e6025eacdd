"""The same application under gunicorn."""

import os
import re
import subprocess
from urllib.request import urlopen

import pytest

from tests import postgresql
from tests.blueprints.images_api import connected, request, until
from tests.patience import gone
from tests.serving import GUNICORN, LASTING, ROOT, Server, engines, one_by_one


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory, models, database):
    """gunicorn with a ready engine, which waits for no picture when it is told to stop; others could reach it."""
    command = [*GUNICORN, "-b", "0.0.0.0:0"]
    server = Server(tmp_path_factory.mktemp("gunicorn"), models, command, FOOOCUS_SHUTDOWN_DEADLINE="0").ready()
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_picture_is_drawn(gunicorn):
    reply = gunicorn.draw(Accept="image/webp")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/webp")
    assert gunicorn.get("/ready").json["ready"]


def test_events_come_one_by_one_and_headers_before_them(gunicorn):
    stream = gunicorn.follow()
    assert stream.header("X-Accel-Buffering") == "no" and stream.header("X-Task-Id")
    assert stream.events()[-1]["message"] == "Finished"
    assert any(one_by_one(gunicorn) for _ in range(10))


def test_a_client_is_seen_to_leave(gunicorn):
    gunicorn.ask("POST", "/v1/engine/queue/pause")
    connection = connected(gunicorn, request(prompt="left"))
    until(gunicorn, "left", "pending")
    connection.close()
    assert until(gunicorn, "left", "history")["task_status"] == "stop"
    gunicorn.ask("POST", "/v1/engine/queue/resume")


def warnings(lines):
    """How they begin."""
    return [line[:12] for line in lines if "WARNING:" in line]


def test_an_open_server_is_warned_of(gunicorn):
    assert warnings(gunicorn.lines) == ["*  WARNING: "]


def test_a_server_with_a_key_is_not_warned_of(tmp_path, database):
    """`Server` waits for an address of 127.0.0.1, and this one listens on all of them."""
    command = [word.replace("127.0.0.1", "0.0.0.0") for word in GUNICORN]
    here = {"FOOOCUS_INSTANCE": str(tmp_path), **postgresql.environment(tmp_path)}
    environ = {**os.environ, **here, "FOOOCUS_API_KEY": "k"}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if listening := re.search(r"Listening at: http://0\.0\.0\.0:(\d+)", line):
                with urlopen(f"http://127.0.0.1:{listening[1]}/ping"):  # answered once the application is there
                    process.terminate()
    assert warnings(told) == []


def test_there_is_one_engine_and_an_open_stream_does_not_hold_the_stop(gunicorn):
    before = len(gunicorn.lines)
    (engine,) = engines(gunicorn.process.pid)
    stream = gunicorn.follow(image_number=32, **LASTING)
    stream.event()
    assert gunicorn.stop() == 0
    assert not any("status=finished" in line for line in gunicorn.lines[before:])  # it would have drawn for minutes
    assert gone(engine)
    stream.close()
