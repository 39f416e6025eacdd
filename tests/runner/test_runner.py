"""The runner: the engine process may die, the server may die; tasks are drawn."""

import json
import os
import signal

import gevent
import pytest

from engine import messages
from engine.process.startup import parse
from fooocus_flask import signals
from fooocus_flask.database import db
from fooocus_flask.following import waiters
from fooocus_flask.runner import engine_supervisor, runner
from fooocus_flask.runner import engines as starts
from fooocus_flask.runner.attempts import MOST_ATTEMPTS
from fooocus_flask.tasks import queue
from tests.patience import gone, patience
from tests.serving import GUNICORN, LASTING, LAUNCHER, Server, engines, held

speaks_sql = pytest.mark.sql("runner/dispatcher", "runner/task_recorder", "runner/runner", "following/waiters")


def drawing(server, **members):
    """The stream of a task that draws, and the engine process that draws it."""
    stream = server.follow(**LASTING | members)
    stream.until("Sampling step")
    (engine,) = engines(server.process.pid)
    return stream, engine


@pytest.fixture(scope="module")
def hasty(tmp_path_factory, models, database):
    """A server that waits for no picture when it is told to stop; each test leaves it running, with nothing to do."""
    server = Server(tmp_path_factory.mktemp("hasty"), models, FOOOCUS_SHUTDOWN_DEADLINE="0")
    yield server
    if server.process.poll() is None:
        server.stop()


WATCHED = {
    "FOOOCUS_ENGINE_SILENCE": "10",
    "FOOOCUS_ENGINE_STEP_PATIENCE": "10",
    "FOOOCUS_ENGINE_LOAD_PATIENCE": "300",
    "FOOOCUS_REBUILD_HASH_CACHE": "2",
    "default_model": "toy.safetensors",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory, models, database):
    """A server that hashes all models and preloads one, and soon gives up an engine; each test leaves it well."""
    server = Server(tmp_path_factory.mktemp("watched"), models, **WATCHED).ready()
    yield server
    server.stop()


def test_a_killed_engine_costs_an_attempt_and_the_server_goes_on_answering(hasty):
    server = hasty.ready()
    stream, engine = drawing(server, image_number=2, overwrite_step=100)
    following = server.submit()
    os.kill(engine, signal.SIGKILL)
    assert server.get("/ping").json == "pong"
    last = stream.events()[-1]
    told = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
    assert (told["task_status"], told["result"], len(last["images"])) == ("finished", last["images"], 2)
    server.said(f"task={told['task_id']} status=finished pictures=2/2 attempt=2 ")
    assert server.ended(following)["task_status"] == "finished"

    (idle,) = engines(server.process.pid)
    os.kill(idle, signal.SIGKILL)
    assert server.draw().json["task_status"] == "finished"
    assert len({engine, idle, *engines(server.process.pid)}) == 3


@speaks_sql
def test_a_task_that_kills_every_engine_fails_and_the_next_one_is_drawn(make_app, add):
    app = make_app()
    deadly, harmless = add("running", attempts=MOST_ATTEMPTS - 1), add("pending")

    def kill(app, task, **_):
        if task.task_id == deadly:
            os.kill(runner.runner.of(app).lanes[0].supervisor.engine.pid, signal.SIGKILL)

    with signals.task_started.connected_to(kill), app.app_context():
        runner.runner.of(app).start()
        after = [waiters.wait(task_id) for task_id in (deadly, harmless)]
    assert [(task.task_status, task.pictures_done) for task in after] == [("failed", 0), ("finished", 1)]
    assert after[0].error.startswith("The engine process was lost 3 times while it drew this task, the last time: exit")


@speaks_sql
def test_tasks_survive_the_server(hasty):
    server = hasty.ready()
    stream, engine = drawing(server)
    ids = [stream.header("X-Task-Id"), server.submit(), server.submit()]
    assert server.stop() == 0 and gone(engine)
    stream.close()

    server.start()
    server.ready()
    (engine,) = engines(server.process.pid)
    server.stop(signal.SIGKILL)
    assert gone(engine)

    server.start()
    assert [server.ended(task_id)["task_status"] for task_id in ids] == ["finished"] * 3
    # A server that was told to stop counts no attempt, a killed one may have begun another.
    server.said(f"task={ids[0]} status=finished pictures=1/1 attempt=[12] ")


PATIENT_GUNICORN = [*GUNICORN[:-1], "--graceful-timeout", "300", GUNICORN[-1]]


@pytest.mark.parametrize("command", [LAUNCHER, PATIENT_GUNICORN], ids=("launcher", "gunicorn"))
def test_a_server_that_is_told_to_stop_lets_the_picture_under_way_end(make_server, make_app, command):
    patient = {"FOOOCUS_SHUTDOWN_DEADLINE": "300", "FOOOCUS_ENGINE_SILENCE": "300"}  # whatever else the machine does
    server = make_server(command, **patient).ready()
    (engine,) = engines(server.process.pid)
    with held(server) as (stream,):
        task_id, waiting = stream.header("X-Task-Id"), server.submit()
        for process in (engine, server.process.pid):  # a service manager may tell all of them
            os.kill(process, signal.SIGTERM)
        server.said("Tasks under way may end before the server stops: 1, within 300 s")
    assert len(stream.events()[-1]["images"]) == 1
    assert server.wait() == 0
    server.said(f"task={task_id} status=finished ")
    with make_app(INSTANCE=server.instance).app_context():  # left to the next server, as if it had just come
        assert (queue.find(waiting).task_status, queue.find(waiting).attempts) == ("pending", 0)


def test_all_models_are_hashed_at_the_start_if_asked(watched, models):
    watched.said("model files are hashed")
    listed = [json.loads(line)["path"] for line in (watched.instance / "hash_cache.txt").read_text().splitlines()]
    assert {str(path) for path in (models / "checkpoints").iterdir()} == set(listed)


def test_a_server_preloads_and_draws(watched):
    watched.said("preloaded")
    assert watched.draw().json["task_status"] == "finished"


def test_the_engine_steps_back_for_the_web_process(watched):
    (engine,) = engines(watched.process.pid)
    assert os.getpriority(os.PRIO_PROCESS, engine) == os.getpriority(os.PRIO_PROCESS, watched.process.pid) + 5


def test_a_silent_engine_is_replaced(watched):
    stream, engine = drawing(watched)
    os.kill(engine, signal.SIGSTOP)
    watched.said("engine process is gone .silent for 10 s.")
    assert gone(engine)
    assert len(stream.events()[-1]["images"]) == 1


def test_an_engine_whose_drawing_hangs_is_replaced_and_its_task_fails_in_the_end(watched):
    """The day's log is a pipe that nobody writes to: who opens it waits for ever, and the drawing for them."""
    server = watched
    day = server.instance / "outputs" / server.draw().json["result"][0].split("/")[-2]
    (day / "log.html").unlink()
    os.mkfifo(day / "log.html")
    stream = server.follow()
    task_id = stream.header("X-Task-Id")
    for _ in range(2):  # the first two engines need not be waited for
        stream.until("Saving")
        (lost,) = engines(server.process.pid)
        os.kill(lost, signal.SIGKILL)
        assert gone(lost)
    stream.until("Saving")
    (hung,) = engines(server.process.pid)

    # Each time it is started twice as late.
    server.said(r"engine process is gone \(stuck for \d+ s at: save, task\); starting another in 2.0 s")
    reply = server.get("/ready")
    assert (reply.status, reply.json["ready"], reply.json["state"]) == (503, False, "stuck")
    assert gone(hung)
    stream.events()
    record = server.ended(task_id)
    assert (record["task_status"], record["result"]) == ("failed", [])
    assert "lost 3 times while it drew this task, the last time: stuck for" in record["error"]

    (day / "log.html").unlink()
    assert server.draw().json["task_status"] == "finished"
    assert server.get("/ready").json["state"] == "ready"


@pytest.mark.parametrize(
    ("stages", "still", "stuck"),
    [
        ([], 1e6, False),
        (["sampling"], 9, False),
        (["sampling"], 10, True),
        (["load", "save"], 99, False),
        (["load"], 100, True),
    ],
)
def test_loading_may_take_longer_than_a_step(make_app, stages, still, stuck):
    (now,) = runner.runner.of(make_app(ENGINE_STEP_PATIENCE=10.0, ENGINE_LOAD_PATIENCE=100.0)).lanes
    now.ready.set()
    if not stuck:
        now.supervisor._judge(messages.Beat(stages, still))
        return
    with pytest.raises(engine_supervisor.EngineStuck, match=stages[0]):
        now.supervisor._judge(messages.Beat(stages, still))


def test_a_stop_outlives_the_server(hasty):
    server = hasty.ready()
    (engine,) = engines(server.process.pid)
    with held(server) as (stream,):  # it cannot obey
        task_id = stream.header("X-Task-Id")
        assert server.ask("POST", "/v1/engine/control", {"action": "stop"}).json == {"message": "task stoped"}
        server.process.kill()
        os.kill(engine, signal.SIGKILL)
    server.wait()
    stream.close()
    server.start()
    assert server.ended(task_id)["task_status"] == "stop"


@speaks_sql
def test_a_server_that_stops_counts_no_attempt(app, add):
    task_id, attempts = add("pending", params=LASTING), []

    def look(app, task, **_):
        attempts.append(task.attempts)

    with signals.task_started.connected_to(look), app.app_context():
        now = runner.runner.of(app)
        now.start()
        with patience():
            while not attempts:
                gevent.sleep(0.01)
        now.close()
        assert attempts == [1]
        assert (queue.find(task_id).task_status, queue.find(task_id).attempts) == ("running", 0)


def test_an_engine_that_never_gets_ready_is_given_up_again_and_again(make_app, monkeypatch, caplog):
    app = make_app(ENGINE_START_TIMEOUT=0.05)
    monkeypatch.setattr(engine_supervisor, "FIRST_DELAY", 0.01)
    now = runner.Runner(app)
    now.start()
    with patience():
        while "not ready after" not in caplog.text:
            gevent.sleep(0.05)
    now.close()
    assert not now.ready.is_set() and now.lanes[0].supervisor.engine is None


@speaks_sql
def test_a_stopped_task_is_not_drawn_again(app, add):
    task_id = add("running", files=["2024-07-05/cat.png"], result=["2024-07-05/cat.png"])
    with app.app_context():
        now = runner.runner.of(app)
        assert now.stop(queue.find(task_id))
        assert now.dispatcher._claim() is None
        task = queue.find(task_id)
    assert (task.task_status, task.result) == ("stop", ["2024-07-05/cat.png"])


@pytest.mark.parametrize(("threads", "expected"), [(0, []), (3, ["--threads", "3"])])
def test_the_engine_is_told_its_threads(make_app, threads, expected):
    app = make_app(ENGINE_THREADS=threads)
    words = starts.arguments(app, *starts.planned(app, cards=0))
    assert words[:1] == ["--folders"] and words[words.index("--beat") + 2 :] == expected


@pytest.mark.parametrize(("plan", "expected"), [("", []), ("alone", ["--memory-plan", "alone"])])
def test_the_engine_is_told_the_most_comfortable_memory_plan(make_app, plan, expected):
    words = starts.arguments(make_app(MEMORY_PLAN=plan), starts.EngineStart())
    assert words[words.index("--beat") + 2 :] == expected


def test_the_engine_is_told_its_device_number_formats_and_attention(make_app):
    asked = {"UNET_STORAGE": "fp8_e5m2", "VAE_FORMAT": "cpu", "TEXT_STORAGE": "fp32", "ATTENTION": "split"}
    app = make_app(DEVICE="cpu", UNET_ARITHMETIC="fp8", **asked)
    words = starts.arguments(app, starts.EngineStart())
    flags = ["--device", "cpu", "--unet-storage", "fp8_e5m2", "--vae-format", "cpu", "--text-storage", "fp32"]
    assert words[words.index("--beat") + 2 :] == [*flags, "--attention", "split", "--unet-arithmetic", "fp8"]
    assert parse(["3", *words]).unet_storage == "fp8_e5m2"


def test_closing_twice_is_closing_once(app):
    now = runner.runner.of(app)
    now.start()
    now.start()
    now.close()
    now.close()
    with app.app_context():
        assert db.session.query(queue.Task).count() == 0


def preload_of(app):
    """What an engine of this application is told to preload, the first time it is started and the second."""
    started = []

    class Noted(starts.EngineProcess):
        """A process that is noted in place of being started."""

        def __init__(self, hear, arguments, environment, niceness):
            started.append(parse(["3", *arguments]).preload)

    start = starts.starter(app, starts.EngineStart(), Noted)
    start(print), start(print)
    return started


def test_the_default_checkpoint_is_preloaded_once(make_app, models, monkeypatch):
    monkeypatch.setenv("default_model", "toy.safetensors")
    app = make_app(MODELS_PATH=str(models))
    first, second = preload_of(app)
    assert first.task.checkpoint == str(models / "checkpoints" / "toy.safetensors") and second is None
    assert first.task.params["prompt"] == ""
    assert preload_of(make_app(MODELS_PATH=str(models), PRELOAD=False)) == [None, None]


def test_nothing_is_preloaded_where_the_default_checkpoint_is_not(make_app, models, tmp_path):
    assert preload_of(make_app(MODELS_PATH=str(tmp_path))) == [None, None]
    assert preload_of(make_app(MODELS_PATH=str(models))) == [None, None]
