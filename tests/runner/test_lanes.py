"""Lanes: several engines draw at once, and what happens to one leaves the others alone."""

import base64
import errno
import io
import os
import signal
import threading
import time

import gevent
import numpy as np
import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from fooocus_flask.database import db
from fooocus_flask.runner import dispatcher, engine_supervisor, lane, runner
from fooocus_flask.runner import engines as starts
from fooocus_flask.runner.engines import VISIBLE
from fooocus_flask.tables import Task
from fooocus_flask.tasks import estimates, live, queue
from tests.patience import patience
from tests.serving import LASTING, Server, engines, halted, held

speaks_sql = pytest.mark.sql("runner/database_retry", "runner/dispatcher", "runner/lane", "tasks/queue")

CLAIMERS, ROWS = 8, 500
DESCRIBE = "/v1/tools/describe-image"
OTHER = "/models/other.safetensors"


# --- claiming


@speaks_sql
def test_eight_claimers_never_get_the_same_task(app):
    """In threads of the system, without the runner's own order."""
    with app.app_context():
        rows = [{"task_id": f"{row:04}", "rank": row, "req_params": {}, "in_queue_mills": row} for row in range(ROWS)]
        files = {"task_status": "pending", "files": [], "result": [], "notes": [], "work": 1.0}
        db.session.execute(db.insert(Task), [row | files for row in rows])
        db.session.commit()
    got = [[] for _ in range(CLAIMERS)]

    def claim(mine):
        with app.app_context():
            while True:
                try:
                    task = queue.claim()
                except OperationalError:  # SQLite has one writer, and these do not wait as greenlets do
                    db.session.rollback()
                    continue
                if task is None:
                    break
                mine.append(task.task_id)
            db.session.remove()

    threads = [threading.Thread(target=claim, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [task_id for mine in got for task_id in mine]
    assert len(everything) == ROWS and len(set(everything)) == ROWS
    assert all(mine == sorted(mine) for mine in got)
    assert sum(map(bool, got)) > 1


def test_tasks_that_are_drawn_at_once_have_pictures_of_their_own(app, add):
    named = {"save_name": "cat", "image_number": 2}
    add("pending", params=named), add("pending", params=named), add("pending", params=named)
    with app.app_context():
        first = queue.claim(drawn=())
        second = queue.claim(drawn={first.task_id})
        files = [*first.files, *second.files, *queue.claim().files]
    assert len(set(files)) == len(files) == 6 and files[0].endswith("/cat-0.png")


# --- which lane draws what


@pytest.fixture
def two(make_app):
    """A runner of two lanes whose engines are not started; each is free."""
    app = make_app(ENGINES="2", SHUTDOWN_DEADLINE=0)
    now = runner.runner.of(app)
    now._make(starts.planned(app, cards=0))
    for free in now.lanes:
        free.ready.set()
    with app.app_context():
        yield now


@pytest.fixture
def app(request, make_app):
    """The application of the runner of two lanes, where a test has that; `add` puts its tasks there."""
    return request.getfixturevalue("two").app if "two" in request.fixturenames else make_app()


def end(drawn):
    """The lane's task is done."""
    queue.end(drawn.task_id, "finished")
    drawn.tasks.hold()


def waiting(add, checkpoint, **columns):
    """A waiting task with this checkpoint."""
    task_id = add("pending", **columns)
    queue.find(task_id).checkpoint = checkpoint
    db.session.commit()
    return task_id


def given(now):
    """The tasks that lanes have, once all that wait are given as far as may be."""
    now.dispatcher.assign_all()
    return [each.task_id for each in now.lanes]


def test_a_task_goes_to_the_lane_that_holds_its_checkpoint(two, add):
    first, second = add("pending", rank=1), waiting(add, OTHER, rank=2)
    assert given(two) == [first, second]
    for drawn in two.lanes:
        end(drawn)
    again = waiting(add, OTHER, rank=3)
    assert given(two) == [None, again]


def test_a_lane_that_dropped_its_models_after_a_task_holds_none(two, add):
    first, second = add("pending", rank=1), waiting(add, OTHER, rank=2)
    assert given(two) == [first, second]
    two.unload()
    for drawn in two.lanes:
        end(drawn)
    again = waiting(add, OTHER, rank=3)
    assert given(two) == [again, None]  # the one that was unused for longer


@speaks_sql
def test_a_lane_takes_first_what_it_holds_but_only_so_many_seconds_early(two, add):
    busy, done = add("pending", rank=0), add("pending", rank=0)
    assert given(two) == [busy, done]
    end(two.lanes[1])
    late, soon = add("pending", rank=40_001), add("pending", rank=30_000)
    head = waiting(add, OTHER, rank=10_000)
    assert given(two) == [busy, soon]
    end(two.lanes[1])
    assert given(two) == [busy, head]  # 30.001 s is too late
    end(two.lanes[1])
    assert given(two) == [busy, late]


@speaks_sql
def test_nobody_is_passed_over_for_longer_than_so_many_seconds(two, add, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(dispatcher, "monotonic", lambda: clock[0])
    busy, done = add("pending", rank=0), add("pending", rank=0)
    assert given(two) == [busy, done]
    end(two.lanes[1])
    head = waiting(add, OTHER, rank=1)
    apt = [add("pending", rank=2 + number) for number in range(3)]
    for wait, taken in ((0, apt[0]), (29, apt[1]), (1, head)):
        clock[0] += wait
        assert given(two) == [busy, taken]
        end(two.lanes[1])


@speaks_sql
def test_a_row_that_cannot_be_read_fails_and_holds_nobody_else(two, add):
    broken = add("pending", rank=1)
    params = queue.find(broken).req_params
    queue.find(broken).req_params = {name: params[name] for name in params if name != "sharpness"}
    db.session.commit()
    good = add("pending", rank=2)
    assert good in given(two)
    told = queue.find(broken)
    assert told.task_status == "failed" and "send the request again" in told.error


def test_the_built_in_model_is_a_checkpoint_too(two, add):
    shipped, busy = waiting(add, None, rank=0), add("pending", rank=1)
    assert given(two) == [shipped, busy]
    end(two.lanes[0])
    waiting(add, OTHER, rank=2)
    apt = waiting(add, None, rank=3)
    assert given(two)[0] == apt


@speaks_sql
def test_what_waits_is_spread_over_all_lanes(two, add):
    done = queue.find(add("finished", work=1.0))
    done.finish_mills = done.start_mills + 4000
    db.session.commit()
    two._look_again()
    tasks = [add("pending", rank=number, work=1.0) for number in range(3)]
    assert live.capacity.of(two.app).lanes == 2
    assert [estimates.place_of(queue.find(task_id)).seconds for task_id in tasks] == [4, 6, 8]


# --- how many engines there are, and where


@pytest.mark.parametrize(
    ("asked", "cards", "seen", "expected"),
    [
        ("1", 2, None, [None]),
        ("auto", 0, None, [None]),
        ("auto", 1, None, [None]),
        ("auto", 2, None, ["0", "1"]),
        ("auto", 2, "3, GPU-abc", ["3", "GPU-abc"]),
        ("2", 4, "4,5,6,7", ["4", "5"]),
        ("3", 0, None, [None] * 3),
        ("4", 2, None, ["0", "1"]),
        ("2", 1, "1", [None]),
    ],
)
def test_each_card_has_its_engine(make_app, asked, cards, seen, expected):
    environment = {"A": "b"} | ({} if seen is None else {VISIBLE: seen})
    app = make_app(ENGINES=asked, ENGINE_ENVIRONMENT=environment)
    told = [start.environment for start in starts.planned(app, cards)]
    assert told == [environment if card is None else {**environment, VISIBLE: card} for card in expected]


def test_more_engines_than_cards_are_told(make_app, caplog):
    starts.planned(make_app(ENGINES="4"), 2)
    assert "ENGINES is 4, and there is room for 2" in caplog.text


def test_the_cores_are_divided_and_a_number_of_threads_is_each_engines(make_app):
    cores = len(os.sched_getaffinity(0))
    divided = starts.planned(make_app(ENGINES="2", ENGINE_THREADS=0), 0)
    assert [start.threads for start in divided] == [max(1, cores // 2)] * 2
    assert [start.threads for start in starts.planned(make_app(ENGINES="2", ENGINE_THREADS=3), 0)] == [3, 3]


def test_only_the_first_engine_hashes_all_models(make_app):
    app = make_app(ENGINES="2", REBUILD_HASH_CACHE=2)
    first, second = (starts.arguments(app, start) for start in starts.planned(app, 0))
    assert "--rehash" in first and "--rehash" not in second


def test_cards_are_counted_by_a_process_of_its_own(make_app):
    import torch

    assert starts.counted_cards(make_app(ENGINES="auto")) == torch.cuda.device_count()


def test_cards_that_cannot_be_counted_are_told(make_app):
    app = make_app(ENGINES="auto", ENGINE_ENVIRONMENT={"PYTHONHOME": "/nowhere"})
    with pytest.raises(starts.CardsUnknown, match="exit status 1"):
        starts.counted_cards(app)


def test_a_lane_outlives_that_no_process_can_be_started(app, caplog, monkeypatch):
    def none(hear):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(engine_supervisor, "FIRST_DELAY", 0.01)
    alone = lane.Lane(app, "0", none, lambda: None)
    alone.supervisor.start()
    with patience():
        while caplog.text.count("Resource temporarily unavailable); starting another") < 2:
            gevent.sleep(0.01)
    assert alone.state == "starting" and not alone.supervisor.greenlet.dead
    alone.supervisor.greenlet.kill()


# --- real engines


@pytest.fixture(scope="module")
def pair(tmp_path_factory, models, database):
    """A server that draws on two lanes; each test leaves it with nothing to do."""
    patient = {"FOOOCUS_SHUTDOWN_DEADLINE": "300", "FOOOCUS_ENGINE_SILENCE": "300"}  # whatever else the machine does
    server = Server(tmp_path_factory.mktemp("pair"), models, FOOOCUS_ENGINES="2", **patient)
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def server(pair):
    """The server with two lanes, both ready."""
    if pair.process.poll() is not None:
        pair.start()
    while [each["state"] for each in pair.get("/ready").json["lanes"]] != ["ready"] * 2:
        time.sleep(0.05)
    return pair


def name_of(stream):
    """The id of the task that is followed."""
    return stream.header("X-Task-Id")


def picture(server, record):
    """The bytes of a record's only picture."""
    (url,) = record["result"]
    return server.get(url.split(str(server.port), 1)[1]).body


def test_two_tasks_are_drawn_at_once_and_the_lane_changes_no_byte(server):
    with held(server, 2) as streams:
        text = server.get("/metrics").body.decode()
        assert 'fooocus_lane_drawing{lane="0"} 1.0' in text and 'fooocus_lane_ready{lane="1"} 1.0' in text
        current = server.get("/tasks?query=current")
        assert [task["task_id"] for task in current.json["current"]] == [name_of(stream) for stream in streams]
        assert current.headers["X-Total-Count"] == "2"
    seen = [stream.events()[-1]["message"] for stream in streams]
    first, second = (server.ended(name_of(stream)) for stream in streams)
    assert seen == ["Finished"] * 2 and first["result"] != second["result"]
    assert max(task["start_mills"] for task in (first, second)) < min(task["finish_mills"] for task in (first, second))
    assert picture(server, first) == picture(server, second)


def test_stop_and_skip_reach_the_lane_that_draws_the_task(server):
    with held(server, 2, image_number=2, **LASTING) as (first, second):
        pass  # they begin at once
    control = "/v1/engine/control"
    first.until("Sampling step")
    assert server.ask("POST", control, {"action": "stop", "task_id": name_of(first)}).json["message"] == "task stoped"
    second.until("Sampling step")
    assert server.ask("POST", control, {"action": "skip", "task_id": name_of(second)}).json["message"] == "task skiped"
    assert [len(stream.events()[-1]["images"]) for stream in (first, second)] == [0, 1]
    told = [server.ended(name_of(stream)) for stream in (first, second)]
    assert [(task["task_status"], task["pictures_done"]) for task in told] == [("stop", 0), ("finished", 1)]


def test_a_killed_engine_costs_its_own_task_an_attempt(server):
    with held(server, 2) as (first, second):
        os.kill(engines(server.process.pid)[0], signal.SIGKILL)
    assert [stream.events()[-1]["message"] for stream in (first, second)] == ["Finished"] * 2
    told = [server.ended(name_of(stream)) for stream in (first, second)]
    assert [task["task_status"] for task in told] == ["finished"] * 2
    attempts = sorted(
        int(server.said(rf"task={task['task_id']} status=finished pictures=1/1 attempt=(\d)").group(1)) for task in told
    )
    assert attempts == [1, 2]
    assert picture(server, told[0]) == picture(server, told[1])


def test_an_engine_that_hangs_holds_nobody_else(server):
    """The free one draws all that waits, and looks at pictures."""
    hung, _ = engines(server.process.pid)
    with halted(hung):
        ids = {server.submit() for _ in range(4)}
        while (lists := server.get("/tasks").json)["pending"] or len(lists["current"]) > 1:
            time.sleep(0.05)
        (stuck,) = (task["task_id"] for task in lists["current"])
        done = [server.get(f"/tasks/{task_id}").json["task_status"] for task_id in ids - {stuck}]
        assert done == ["finished"] * 3
        assert server.ask("POST", DESCRIBE, {"image": data_url(), "image_type": "Photo"}).status == 200
    assert server.ended(stuck)["task_status"] == "finished"


def data_url():
    """A picture."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def test_a_server_that_is_told_to_stop_lets_both_pictures_end(server):
    with held(server, 2) as (first, second):
        left = server.submit()
        server.process.terminate()
        server.said("Tasks under way may end before the server stops: 2, within 300 s")
    assert server.wait() == 0
    assert [len(stream.events()[-1]["images"]) for stream in (first, second)] == [1, 1]
    for stream in (first, second):
        server.said(rf"task={name_of(stream)} status=finished pictures=1/1 attempt=1 ")
    assert f"task={left} " not in "".join(server.lines)


@speaks_sql
def test_a_lane_that_never_gets_ready_does_not_hold_the_others(make_app, add):
    """Its card does not exist, and its engine ends as it starts."""
    app = make_app(ENGINES="2")
    now = runner.runner.of(app)
    broken, good = starts.planned(app, cards=0)
    now._make([starts.EngineStart(0, broken.threads, {"PYTHONHOME": "/nowhere"}), good])
    task_id = add("pending")
    now.wake()
    with patience(), app.app_context():
        while queue.find(task_id).task_status != "finished":
            gevent.sleep(0.05)
    told = app.test_client().get("/ready").json
    assert (told["state"], [each["state"] for each in told["lanes"]]) == ("ready", ["starting", "ready"])
