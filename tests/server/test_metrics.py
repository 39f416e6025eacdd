"""Numbers for Prometheus, names of requests, and what they say of a server at work."""

import platform
import re

import gevent
import pytest

from fooocus_flask.tasks import queue
from tests.patience import patience
from tests.serving import Server

speaks_sql = pytest.mark.sql("server/metrics")


def value(text, name):
    """The value of a sample, by its name and labels as they are written."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return None if found is None else float(found[1])


@speaks_sql
def test_tasks_are_counted_by_their_state(client, add):
    add("finished"), add("finished"), add("pending")
    text = client.get("/metrics").text
    assert value(text, 'fooocus_tasks{status="finished"}') == 2
    assert value(text, 'fooocus_tasks{status="failed"}') == 0
    assert value(text, "fooocus_queue_depth") == 1
    assert value(text, "fooocus_engine_ready") == 0


def test_requests_are_timed_by_route_and_status(client):
    client.get("/tasks/nix"), client.get("/tasks/nix2"), client.get("/no/such/page")
    text = client.get("/metrics").text
    counted = 'fooocus_http_request_seconds_count{method="GET",route="%s",status="404"}'
    assert value(text, counted % "/tasks/<task_id>") == 2
    assert value(text, counted % "none") == 1


def test_made_up_methods_are_counted_together(client):
    for method in ("CAT", "DOG"):
        client.open("/ping", method=method)
    text = client.get("/metrics").text
    assert "CAT" not in text
    assert value(text, 'fooocus_http_request_seconds_count{method="other",route="none",status="405"}') == 2


def test_a_working_server_tells_its_stages_its_memory_and_how_late_it_is(server):
    server.draw()
    with_beat = server.get("/metrics").body.decode()
    assert value(with_beat, 'fooocus_tasks_ended_total{status="finished"}') >= 1
    assert value(with_beat, 'fooocus_stage_seconds_count{stage="sampling"}') >= 1
    assert value(with_beat, 'fooocus_stage_seconds_sum{stage="sampling"}') > 0
    assert value(with_beat, "fooocus_engine_ready") == 1
    assert "fooocus_hub_lag_seconds_bucket" in with_beat


@pytest.fixture(scope="module")
def lively(tmp_path_factory, models, database):
    """A server whose engine tells of itself every two seconds, which waits for no picture when it is told to stop."""
    settings = {"FOOOCUS_ENGINE_SILENCE": "12", "FOOOCUS_SHUTDOWN_DEADLINE": "0"}
    webhooks = {"FOOOCUS_ALLOW_PRIVATE_ADDRESSES": "true", "FOOOCUS_WEBHOOK_DELAYS": "[1]"}
    server = Server(tmp_path_factory.mktemp("lively"), models, **settings, **webhooks).ready()
    yield server
    server.stop()


def test_the_engines_memory_is_told_with_its_signs_of_life(lively):
    server = lively
    while (
        held := value(server.get("/metrics").body.decode(), 'fooocus_engine_memory_bytes{lane="0",of="host"}')
    ) is None:
        pass
    assert held > 50e6


def test_an_engines_card_and_machine_are_told(lively):
    """Before it is ready the card has no name; so the numbers of a lane can be shown by card."""
    (card,) = (worker["card"] for worker in lively.get("/v1/engine/workers").json["workers"])
    text = lively.get("/metrics").body.decode()
    assert value(text, f'fooocus_lane_info{{card="{card}",lane="0",machine="{platform.node()}"}}') == 1


def test_there_is_no_number_for_memory_that_is_not_known(app):
    from engine.messages import Beat, from_wire
    from fooocus_flask.runner.runner import runner

    def told(**members):
        runner.of(app).lanes[0].supervisor.beat = from_wire(*Beat(**members).to_wire())
        return app.test_client().get("/metrics").text

    text = told(stages=["sampling"], still=2.5, resident=1000)
    assert value(text, 'fooocus_engine_memory_bytes{lane="0",of="host"}') == 1000
    assert 'of="gpu"' not in text
    assert value(text, 'fooocus_engine_still_seconds{lane="0"}') == 2.5
    assert value(told(resident=1000, gpu=2000), 'fooocus_engine_memory_bytes{lane="0",of="gpu"}') == 2000


def test_the_gpus_memory_is_told_where_there_is_one(lively):
    """Without a GPU nothing is told of one; with one, the process has at least the weights on it."""
    import torch

    server = lively
    server.draw()
    while 'of="host"' not in (text := server.get("/metrics").body.decode()):
        pass
    if not torch.cuda.is_available():
        assert 'of="gpu"' not in text
        return
    while (
        held := value(text, 'fooocus_engine_memory_bytes{lane="0",of="gpu"}')
    ) is None:  # a beat of before the first task
        text = server.get("/metrics").body.decode()
    assert held > 7e6


@speaks_sql
def test_a_webhook_is_counted_by_what_came_of_it(app, client, add, receiver):
    app.config |= {"ALLOW_PRIVATE_ADDRESSES": True, "WEBHOOK_DELAYS": (0.01, 0.01)}
    receiver.answers = [503, 500, 200]
    with app.app_context():
        queue.end(add("running", webhook_url=receiver.url, result=[]), "finished")
    with patience():
        while not value(text := client.get("/metrics").text, 'fooocus_webhook_tries_total{outcome="delivered"}'):
            gevent.sleep(0.01)
    assert receiver.got.qsize() == 3
    assert value(text, 'fooocus_webhook_tries_total{outcome="delivered"}') == 1
    assert value(text, 'fooocus_webhook_tries_total{outcome="failed"}') == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-API-KEY": "secret"}, 200),
        ({"Authorization": "Bearer secret"}, 200),
        ({"Authorization": "Bearer other"}, 403),
        ({"Authorization": "Basic secret"}, 403),
    ],
)
def test_numbers_need_the_key(make_app, headers, status):
    assert make_app(API_KEY="secret").test_client().get("/metrics", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/ping", "/tasks/nix", "/no/such/page"])
def test_a_request_keeps_its_name(client, path):
    assert client.get(path, headers={"X-Request-Id": "abc-1.2"}).headers["X-Request-Id"] == "abc-1.2"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é"])
def test_a_request_without_a_sane_name_gets_one(client, sent):
    names = [client.get("/ping", headers={"X-Request-Id": sent}).headers["X-Request-Id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names) and len(set(names)) == 2


def test_a_tasks_line_names_its_request(server):
    server.draw({"async_process": True}, X_Request_Id="from-the-test")
    server.said(r"\[from-the-test\]: submitted task \w{32}")


def test_a_requests_name_runs_through_the_engine_and_the_webhooks(lively, receiver):
    receiver.answers = [503, 200]
    server = lively
    task_id = server.draw({"async_process": True, "webhook_url": receiver.url}, X_Request_Id="a-1").json["task_id"]
    server.said(rf"engine\.pipeline\.pipeline \[a-1\]: task {task_id} finished")
    server.said(rf"fooocus_flask\.task \[a-1\]: task={task_id} status=finished")
    server.said(r"fooocus_flask\.following\.webhooks \[a-1\]: Webhook \S+ to \S+ failed at try 1: 503")
    server.said(r"fooocus_flask\.following\.webhooks \[a-1\]: Webhook \S+ to \S+ delivered at try 2")
    before = len(server.lines)
    server.draw()
    server.said(r"engine\.pipeline\.pipeline \[(?!a-1)\w{32}\]: task \w{32} finished", before)


def test_a_request_keeps_its_name_over_a_restart(lively):
    server = lively
    server.ask("POST", "/v1/engine/queue/pause")
    task_id = server.draw({"async_process": True}, X_Request_Id="b-2").json["task_id"]
    server.stop()
    server.start()
    server.ask("POST", "/v1/engine/queue/resume")
    server.said(rf"engine\.pipeline\.pipeline \[b-2\]: task {task_id} finished")
