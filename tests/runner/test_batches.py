"""Tasks that are drawn as one batch: which, in which order, and each with its own end."""

import os
import signal

import pytest
from flask import Flask

from engine.messages import Ended
from fooocus_flask import settings
from fooocus_flask.environment import SettingError, read
from fooocus_flask.runner import engines as starts
from fooocus_flask.runner import runner
from fooocus_flask.tasks import queue
from tests.patience import eventually
from tests.serving import LASTING, engines, halted

speaks_sql = pytest.mark.sql("runner/dispatcher", "runner/task_recorder", "tasks/queue", "tasks/batches")

NOTE = "Steps were computed for several tasks at once"


@pytest.fixture
def one(make_app):
    """A runner of one lane whose engine is not started; it is free, and takes three tasks at once."""
    app = make_app(BATCH_TASKS=3, SHUTDOWN_DEADLINE=0)
    now = runner.runner.of(app)
    now._make(starts.planned(app, cards=0))
    now.lanes[0].ready.set()
    with app.app_context():
        yield now


@pytest.fixture
def app(one):
    """Its application, into which `add` puts tasks."""
    return one.app


def given(now):
    """The tasks that the lane has, once all is given as far as may be."""
    now.dispatcher.assign_all()
    return list(now.lanes[0].tasks.ids)


@speaks_sql
def test_a_lane_takes_as_many_as_the_setting_says(one, add):
    tasks = [add("pending", rank=rank, params={"prompt": f"cat {rank}", "image_seed": rank}) for rank in range(4)]
    assert given(one) == tasks[:3] and not one.lanes[0].free
    assert [queue.find(task).task_status for task in tasks] == ["running"] * 3 + ["pending"]
    assert len({file for task in tasks[:3] for file in queue.find(task).files}) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"aspect_ratios_selection": "64*96"},
        {"sampler_name": "euler"},
        {"overwrite_step": 5},
        {"guidance_scale": 1},
        {"prompt": "a cat <lora:x:1>"},
        {"prompt": "a __colour__ cat"},
        {"freeu_enabled": True},
    ],
    ids=lambda other: next(iter(other)),
)
@speaks_sql
def test_one_that_is_not_alike_waits_with_all_behind_it(one, add, other):
    first, _, _ = add("pending", rank=1), add("pending", rank=2, params=other), add("pending", rank=3)
    assert given(one) == [first]


@speaks_sql
def test_each_ends_by_itself_and_the_lane_is_free_after_the_last(one, add):
    first, second = add("pending", rank=1), add("pending", rank=2)
    assert given(one) == [first, second]
    lane = one.lanes[0]
    for task, left in ((second, [first]), (first, [])):
        lane.take(Ended(task, "finished"))
        assert list(lane.tasks.ids) == left and queue.find(task).task_status == "finished"
    assert lane.free and lane.idle.is_set()


@speaks_sql
def test_a_task_that_was_tried_before_is_drawn_alone(one, add):
    left, first = add("running", rank=1, attempts=1, files=[], result=[]), add("pending", rank=2)
    assert given(one) == [left]
    assert queue.find(first).task_status == "pending"


@speaks_sql
def test_a_lane_that_dies_while_others_are_taken_up_is_given_none_of_them(one, add, monkeypatch):
    tasks = [add("pending", rank=rank) for rank in range(3)]
    lane, claim_alike = one.lanes[0], queue.claim_alike

    def dying(*args):
        lane.ready.clear()
        return claim_alike(*args)

    monkeypatch.setattr(queue, "claim_alike", dying)
    assert given(one) == [] and lane.idle.is_set()
    assert [queue.find(task).attempts for task in tasks] == [0, 0, 0]
    monkeypatch.setattr(queue, "claim_alike", claim_alike)
    lane.ready.set()
    for task in tasks:
        assert given(one) == [task]
        lane.take(Ended(task, "finished"))
    assert {queue.find(task).task_status for task in tasks} == {"finished"}


@pytest.mark.parametrize("number", [-1, 9, True])
def test_a_number_that_cannot_be_is_refused(number):
    app = Flask(__name__)
    app.config.from_object(settings)
    app.config["BATCH_TASKS"] = number  # as instance/config.py puts it there
    with pytest.raises(SettingError, match=r"BATCH_TASKS is .*from 2 to 8, or 0"):
        read(app)


@pytest.mark.slow
def test_a_server_draws_a_batch_and_an_engine_s_death_costs_each_an_attempt(make_server):
    server = make_server(FOOOCUS_BATCH_TASKS="3").ready()

    def together(begin, number, **members):
        """Tasks that are given to the engine at the same moment."""
        server.ask("POST", "/v1/engine/queue/pause")
        begun = [begin(prompt=f"cat {n}", image_seed=n, **members) for n in range(number)]
        server.ask("POST", "/v1/engine/queue/resume")
        return begun

    told = [server.ended(task) for task in together(server.submit, 3)]
    assert [each["task_status"] for each in told] == ["finished"] * 3
    assert all(any(NOTE in note for note in each["notes"]) for each in told)
    assert len({each["result"][0] for each in told}) == 3

    (engine,) = engines(server.process.pid)
    with halted(engine):
        streams = together(server.follow, 2, **LASTING)
        eventually(lambda: len(server.get("/tasks?query=current").json["current"]) == 2, "they are not begun")
    for stream in streams:
        stream.until("Sampling step")
    os.kill(engine, signal.SIGKILL)
    for stream in streams:
        stream.events()
        told = server.ended(stream.header("X-Task-Id"))
        assert told["task_status"] == "finished" and not any(NOTE in note for note in told["notes"])
