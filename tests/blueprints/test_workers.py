"""The cards that draw: what is told of each before it is ready, while it waits, and while it draws."""

import platform
import time

from engine.choices import BUILTIN_CHECKPOINT
from engine.fleet.frames import CardLeaving
from engine.messages import Beat, Ready
from fooocus_flask.clock import mills
from fooocus_flask.model_files.folders import folders
from fooocus_flask.runner.fleet_lane import FleetLane
from fooocus_flask.runner.runner import runner
from tests.serving import held, small

WORKERS = "/v1/engine/workers"
TOY = small()["base_model_name"]
HERE = {"lane": "0", "machine": platform.node()}


def only(server):
    """What a server tells of its only card."""
    (told,) = server.get(WORKERS).json["workers"]
    return told


def test_a_card_that_is_not_ready_is_told_as_awaited(client):
    before = mills()
    (told,) = client.get(WORKERS).json["workers"]
    assert told.pop("since_mills") <= before
    nothing = dict.fromkeys(("card", "task_id", "checkpoint", "host_memory", "gpu_memory"))
    assert told == HERE | nothing | {"state": "starting"}


def test_cards_that_are_not_counted_yet_are_not_told(make_app):
    assert make_app(ENGINES="auto").test_client().get(WORKERS).json == {"workers": []}


def test_a_card_tells_the_task_it_draws_and_the_checkpoint_it_holds_afterwards(server):
    server.draw()
    begun = mills()
    with held(server) as (stream,):
        told = only(server)
    assert told["card"] and told["machine"] == platform.node()
    assert (told["state"], told["task_id"]) == ("drawing", stream.header("X-Task-Id"))
    assert told["checkpoint"] == TOY and begun <= told["since_mills"] <= mills()
    stream.events()
    while (then := only(server))["state"] == "drawing":
        time.sleep(0.01)
    assert (then["state"], then["task_id"], then["checkpoint"]) == ("ready", None, TOY)
    assert then["since_mills"] > told["since_mills"]
    server.get("/v1/engines/clean_vram")
    assert only(server)["checkpoint"] is None


def test_the_built_in_model_has_the_name_that_requests_give_it(app, client):
    runner.of(app).lanes[0].checkpoints = (None,)
    assert client.get(WORKERS).json["workers"][0]["checkpoint"] == BUILTIN_CHECKPOINT


def test_a_checkpoint_has_the_path_below_its_folder_for_a_name(app, client):
    place = folders.of(app)["checkpoints"][0]
    for path, name in ((place / "anime" / "a.safetensors", "anime/a.safetensors"), ("/gone/b.ckpt", "b.ckpt")):
        runner.of(app).lanes[0].checkpoints = (str(path),)
        assert client.get(WORKERS).json["workers"][0]["checkpoint"] == name


def test_the_memory_is_what_its_last_sign_of_life_told(app, client):
    runner.of(app).lanes[0].supervisor.beat = Beat(resident=1000, gpu=2000)
    (told,) = client.get(WORKERS).json["workers"]
    assert (told["host_memory"], told["gpu_memory"]) == (1000, 2000)


def test_a_card_of_the_fleet_has_its_machine_and_tells_that_it_leaves(app, client):
    lane = FleetLane(app, "studio-0", "studio", lambda hear: None, lambda: None)
    runner.of(app).lanes[:] = [lane]
    lane.supervisor._take(Ready("NVIDIA H200", "2.11"))

    def told():
        (worker,) = client.get(WORKERS).json["workers"]
        return [worker[name] for name in ("lane", "machine", "card", "state")]

    assert told() == ["studio-0", "studio", "NVIDIA H200", "ready"]
    lane.supervisor._take(CardLeaving())
    assert told() == ["studio-0", "studio", "NVIDIA H200", "leaving"]


def test_whoever_may_look_may_see_the_cards(make_app):
    client = make_app(API_KEY="secret").test_client()
    assert client.get(WORKERS).status_code == 403
    assert client.get(WORKERS, headers={"X-API-KEY": "secret"}).status_code == 200


def test_whoever_may_not_look_is_told_no_machine(make_app):
    app = make_app(API_KEY="secret")
    cards = [FleetLane(app, f"studio-{n}", "studio", lambda hear: None, lambda: None) for n in range(2)]
    runner.of(app).lanes[:] = cards
    answer = app.test_client().get("/ready")
    assert [lane["lane"] for lane in answer.json["lanes"]] == ["0", "1"]
    assert "studio" not in answer.text
