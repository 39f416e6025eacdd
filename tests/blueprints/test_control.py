"""Stopping and skipping: bound to one task, in the words clients compare with."""

import pytest

from tests.serving import LASTING

speaks_sql = pytest.mark.sql("tasks/queue")

CONTROL = "/v1/engine/control"


def control(server, action, **body):
    """What the server says to this action."""
    return server.ask("POST", f"{CONTROL}?action={action}", body or None).json["message"]


def drawing(server, **members):
    """The stream of a task that draws."""
    stream = server.follow(**(LASTING | members))
    stream.until("Sampling step")
    return stream


@speaks_sql
def test_stop_ends_the_running_task_and_keeps_what_is_done(server):
    stream = server.follow(image_number=2, **LASTING)
    while "image 2/2" not in stream.event()["message"]:
        pass
    assert control(server, "stop") == "task stoped"
    last = stream.events()[-1]
    told = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
    assert (last["message"], last["images"]) == ("Finished", told["result"])
    assert (told["task_status"], told["pictures_done"]) == ("stop", 1)
    assert 40 < told["progress"] < 100


def test_skip_drops_one_picture_and_goes_on(server):
    stream = drawing(server, image_number=2)
    assert control(server, "skip") == "task skiped"
    assert len(stream.events()[-1]["images"]) == 1
    told = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
    assert (told["task_status"], told["pictures_done"], told["progress"]) == ("finished", 1, 100)


def test_a_stopped_picture_is_an_answer_without_one(server):
    stream = drawing(server)
    waiting = server.submit(**LASTING)
    assert server.ask("POST", CONTROL, {"action": "stop", "task_id": waiting}).json == {"message": "task stoped"}
    assert control(server, "stop") == "task stoped"
    assert stream.events()[-1]["images"] == []
    assert server.get(f"/tasks/{waiting}").json["task_status"] == "stop"


def test_a_late_stop_leaves_the_next_task_alone(server):
    stream = drawing(server)
    following, named = server.submit(), {"task_id": stream.header("X-Task-Id")}
    assert control(server, "stop", **named) == "task stoped"
    assert control(server, "stop", **named) in ("task stoped", "No task running")  # it may have ended meanwhile
    stream.events()
    assert server.ended(following)["task_status"] == "finished"


@pytest.mark.parametrize("path", [CONTROL, CONTROL + "/"])
@pytest.mark.parametrize(
    "sent",
    [{"query_string": {"action": "stop"}}, {"json": {"action": "stop"}}, {"data": {"action": "stop"}}],
)
def test_query_json_and_form_do_and_nothing_may_be_running(client, path, sent):
    reply = client.post(path, **sent)
    assert (reply.status_code, reply.json) == (200, {"message": "No task running"})


def test_another_word_changes_nothing(client):
    assert client.post(f"{CONTROL}?action=pause").json == {"message": "Invalid control action"}


def test_an_action_is_needed(client):
    reply = client.post(CONTROL)
    assert reply.status_code == 422
    assert [(fault["type"], fault["loc"]) for fault in reply.json["detail"]] == [("missing", ["query", "action"])]


def test_an_unknown_task_is_told(client):
    assert client.post(CONTROL, json={"action": "stop", "task_id": "nix"}).status_code == 404


@pytest.mark.parametrize("sent", [{"json": {"task_id": "nix"}}, {"data": {"task_id": "nix"}}])
def test_a_task_may_stand_in_the_body_and_the_action_in_the_query(client, sent):
    assert client.post(f"{CONTROL}?action=stop", **sent).status_code == 404


def test_the_query_goes_before_the_body(client):
    reply = client.post(f"{CONTROL}?action=stop", json={"action": 5, "colour": "red"})
    assert (reply.status_code, reply.json) == (200, {"message": "No task running"})


@pytest.mark.parametrize("body", ["", "null", "[]", "nonsense"])
def test_with_an_action_in_the_query_any_body_will_do(client, body):
    reply = client.post(f"{CONTROL}?action=stop", data=body, content_type="application/json")
    assert (reply.status_code, reply.json) == (200, {"message": "No task running"})


def test_an_ended_task_cannot_be_stopped(client, add):
    task_id = add("finished")
    assert client.post(CONTROL, json={"action": "stop", "task_id": task_id}).json == {"message": "No task running"}
    assert client.get(f"/tasks/{task_id}").json["task_status"] == "finished"


@speaks_sql
def test_a_waiting_task_can_be_stopped_but_not_skipped(client, add):
    task_id = add("pending")
    assert client.post(CONTROL, json={"action": "skip", "task_id": task_id}).json == {"message": "No task running"}
    assert client.post(CONTROL, json={"action": "stop", "task_id": task_id}).json == {"message": "task stoped"}
    assert client.get(f"/tasks/{task_id}").json["task_status"] == "stop"


@speaks_sql
def test_a_task_is_cancelled_by_its_id_as_often_as_one_likes(client, add):
    waiting, other, done = add("pending"), add("pending"), add("finished", pictures=1)
    for _ in range(2):
        reply = client.post(f"/tasks/{waiting}/cancel")
        assert (reply.status_code, reply.json["task_status"]) == (200, "stop")
    assert client.post(f"/tasks/{done}/cancel").json["task_status"] == "finished"
    assert client.get(f"/tasks/{other}").json["task_status"] == "pending"
    assert client.post("/tasks/nix/cancel").status_code == 404


def test_a_running_task_is_cancelled_by_its_id(server):
    stream = drawing(server)
    task_id, following = stream.header("X-Task-Id"), server.submit()
    for _ in range(2):
        assert server.ask("POST", f"/tasks/{task_id}/cancel").status == 200
    assert stream.events()[-1]["images"] == []
    assert server.get(f"/tasks/{task_id}").json["task_status"] == "stop"
    assert server.ended(following)["task_status"] == "finished"


@speaks_sql
def test_the_queue_is_paused_and_resumed(server):
    empty = {"paused": True, "pending": 0, "running": None, "downloads": []}
    assert server.ask("POST", "/v1/engine/queue/pause").json == empty
    waiting = server.submit()
    assert server.get("/v1/engine/queue").json == empty | {"pending": 1}
    assert server.get(f"/tasks/{waiting}").json["queue_position"] == 1
    assert not server.ask("POST", "/v1/engine/queue/resume").json["paused"]
    assert server.ended(waiting)["task_status"] == "finished"


def test_a_task_may_end_with_the_client_that_follows_it(server):
    stream = drawing(server, cancel_on_disconnect=True, image_number=32)
    task_id = stream.header("X-Task-Id")
    stream.close()
    assert server.ended(task_id)["task_status"] == "stop"
