"""Whether the server answers and whether it can draw."""

import pytest

from fooocus_flask.runner.runner import runner

LANE = {"lane": "0", "state": "ready", "drawing": False}
"""How the only engine is told of."""


@pytest.mark.parametrize("path", ["/ping", "/ping/"])
def test_ping_is_answered(client, path):
    reply = client.get(path)
    assert (reply.status_code, reply.json) == (200, "pong")


def test_no_key_is_needed(make_app):
    client = make_app(API_KEY="secret").test_client()
    assert (client.get("/ping").status_code, client.get("/ready").status_code) == (200, 503)


def test_the_service_is_not_ready_before_its_engine_is(client):
    reply = client.get("/ready")
    assert (reply.status_code, reply.json) == (
        503,
        {"ready": False, "state": "starting", "lanes": [LANE | {"state": "starting"}]},
    )


def test_the_service_is_ready_once_its_engine_is(server):
    reply = server.get("/ready")
    assert (reply.status, reply.json) == (200, {"ready": True, "state": "ready", "lanes": [LANE]})


def test_the_process_is_well_whatever_the_engine_does(make_app):
    reply = make_app(API_KEY="secret").test_client().get("/health")
    assert (reply.status_code, reply.json) == (200, {"status": "ok"})


def test_a_server_that_stops_is_not_ready(app, client):
    now = runner.of(app)
    now.lanes[0].ready.set()
    assert client.get("/ready").status_code == 200
    now.drain(0)
    reply = client.get("/ready")
    assert (reply.status_code, reply.json["state"]) == (503, "stopping")
