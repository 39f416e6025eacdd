"""The fleet on Ray: cards of several machines draw, fall ill, leave, and change no byte of a picture."""

import base64
import io
import json
import os
import platform
import shutil
import signal
import threading
import time
from importlib.util import find_spec
from types import SimpleNamespace

import gevent
import pytest
from PIL import Image

from engine.fleet.frames import CardFiles, CardJoined, CardLeft, CardLost
from engine.messages import Ready
from fooocus_flask.errors import StartError
from fooocus_flask.model_files.fleet_files import fleet_files
from fooocus_flask.runner import fleet as fleets
from tests.fleet_cluster import FleetCluster, FleetServer, cards, cut, drivers, fleet_environment, out_of_sight
from tests.patience import patience, patiently
from tests.serving import LASTING, halted, held
from tests.standin import make_standin

LARGE = 256 << 20
CONTROL = "/v1/engine/control"


# --- without a cluster


def test_engines_of_the_machine_and_a_fleet_are_not_both_asked_for(make_app):
    with pytest.raises(StartError, match=r"FLEET is 'head:6379' and ENGINES is 'auto'.*drop ENGINES"):
        make_app(FLEET="head:6379", ENGINES="auto")


def test_a_fleet_is_not_drawn_with_one_card_of_every_machine(make_app):
    with pytest.raises(StartError, match=r"DEVICE is 'cuda:1', one card of a machine"):
        make_app(FLEET="head:6379", DEVICE="cuda:1")


@pytest.mark.parametrize("address", ["head", 6379, "head:six", "ray://head:10001", ":6379"])
def test_a_fleet_is_where_a_head_listens(make_app, address):
    with pytest.raises(StartError, match=r"FLEET is .*; give the host and port of Ray's head, such as head:6379"):
        make_app(FLEET=address)


def test_a_fleet_and_a_fooocus_are_not_both_asked_for(make_app, tmp_path, models):
    there = str(make_standin(tmp_path / "Fooocus", models))
    with pytest.raises(StartError, match=r"FLEET is 'head:6379' and FOOOCUS_PATH is .*; give one of them"):
        make_app(FLEET="head:6379", PATH=there, MODELS_PATH="models")


def test_a_card_that_is_lost_before_its_lane_listens_harms_no_other(app):
    watcher = SimpleNamespace(card_joined=lambda card, machine: None, card_left=lambda card: None)
    fleet, heard = fleets.Fleet(app, watcher), []
    for message in (CardJoined("far"), Ready("CPU", "2.13"), CardLost("its process ended")):
        fleet._hear(("far-0", message))
    fleets.CardLink(fleet, "far-0", heard.append)
    assert heard == []
    fleet._hear(("far-0", Ready("CPU", "2.13")))
    assert heard == [Ready("CPU", "2.13")]


def test_files_that_a_card_tells_of_after_it_left_are_not_listed(app):
    watcher = SimpleNamespace(card_joined=lambda card, machine: None, card_left=lambda card: None)
    fleet, files = fleets.Fleet(app, watcher), CardFiles([], {"loras": {"own.safetensors": 3}})
    for message in (CardJoined("far"), files):
        fleet._hear(("far-0", message))
    assert fleet_files.of(app).names()["loras"] == ["own.safetensors"]
    for message in (CardLeft("its machine is gone"), files):
        fleet._hear(("far-0", message))
    assert "loras" not in fleet_files.of(app).names()


def test_a_driver_that_cannot_be_started_is_told_and_tried_again(make_app, caplog):
    watcher = SimpleNamespace(card_joined=lambda card, machine: None, card_left=lambda card: None)
    fleet = fleets.Fleet(make_app(ENGINE_ENVIRONMENT={"OMP_NUM_THREADS": 4}), watcher)
    fleet.start()
    try:
        with patience():
            while "starting another in" not in caplog.text:
                assert not fleet._greenlet.dead
                gevent.sleep(0.01)
        assert "The fleet's driver cannot be started" in caplog.text
    finally:
        fleet.close()


def test_without_ray_a_fleet_says_what_to_install(make_app, monkeypatch):
    monkeypatch.setattr(fleets, "find_spec", lambda name: None)
    with pytest.raises(StartError, match="its extra ray"):
        make_app(FLEET="head:6379")


# --- a real cluster


def need_ray():
    """Skip what needs Ray where it is not installed."""
    if find_spec("ray") is None:
        pytest.skip("the fleet needs Ray: pip install 'fooocus-flask[ray]'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster whose head draws nothing."""
    need_ray()
    with fleet_environment():
        cluster = FleetCluster(tmp_path_factory.mktemp("cluster"))
        yield cluster
        cluster.close()


@pytest.fixture(scope="module")
def machines(cluster, tmp_path_factory):
    """The nodes that draw, each with its models folder, which is empty at first."""
    folders = [tmp_path_factory.mktemp("machine") for _ in range(2)]
    return [(cluster.join(1, folder), folder) for folder in folders]


@pytest.fixture(scope="module")
def running(cluster, machines, tmp_path_factory, models, database):
    """A server whose cards are those of the cluster; they do not see its models folder."""
    settings = {"FOOOCUS_FLEET": cluster.address, "FOOOCUS_ENGINE_SILENCE": "15"}  # of a card that hangs
    server = FleetServer(tmp_path_factory.mktemp("fleet"), out_of_sight(models), **settings)
    yield server
    server.stop()


@pytest.fixture
def fleet(running, machines):
    """The server, all of whose cards are ready."""
    wait_for(running, len(machines))
    return running


@pytest.fixture(scope="module")
def giver(running, cluster, machines, models, tmp_path_factory):
    """A third machine, which alone has two models: its folder of checkpoints, and the process of its card."""
    folder = tmp_path_factory.mktemp("giver")
    (folder / "checkpoints").mkdir()
    toy = models / "checkpoints" / "toy.safetensors"
    shutil.copy(toy, folder / "checkpoints" / "own.safetensors")
    large(folder / "checkpoints" / "large.safetensors", toy)
    wait_for(running, len(machines))
    before = set(cards(os.getpid()))
    machines.append((cluster.join(1, folder), folder))
    wait_for(running, len(machines))
    (process,) = set(cards(os.getpid())) - before
    return folder / "checkpoints", process


pytestmark = pytest.mark.slow


def wait_for(server, number):
    """Return when so many cards take tasks, and no others are there."""

    def attempt(seconds):
        time.sleep(seconds)
        return [lane["state"] for lane in server.get("/ready").json["lanes"]] == ["ready"] * number

    patiently(attempt, f"there are not {number} cards")


def large(path, toy):
    """The toy checkpoint with a tensor that nobody reads, of a size that takes a while to copy."""
    data = toy.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, size = json.loads(data[8 : 8 + length]), len(data) - 8 - length
    header["nothing"] = {"dtype": "U8", "shape": [LARGE], "data_offsets": [size, size + LARGE]}
    words = json.dumps(header).encode()
    path.write_bytes(len(words).to_bytes(8, "little") + words + data[8 + length :])
    os.truncate(path, path.stat().st_size + LARGE)


def name_of(stream):
    return stream.header("X-Task-Id")


def picture(server, record):
    """The bytes of a record's only picture."""
    (url,) = record["result"]
    return server.get(url.split(str(server.port), 1)[1]).body


def worker_of(server, task_id):
    """The worker that draws a task."""
    return next(one for one in server.get("/v1/engine/workers").json["workers"] if one["task_id"] == task_id)


def test_the_bytes_are_a_single_cards_and_the_model_comes_from_the_head(fleet, machines, server):
    stream, alone = fleet.follow(image_seed=41), server.draw({"image_seed": 41})
    messages = [event["message"] for event in stream.events()]
    assert any("odel files" in text or "Copying toy.safetensors" in text for text in messages)
    assert not any(platform.node() in text for text in messages), "a key that only draws learns a machine's name"
    far = fleet.ended(name_of(stream))
    assert far["task_status"] == "finished" and far["drawn_with"]["checkpoint"] == "toy.safetensors"
    assert picture(fleet, far) == picture(server, alone.json)
    copies = [folder for _, folder in machines if any((folder / "fleet" / "files").iterdir())]
    assert len(copies) == 1
    page = fleet.instance / "outputs" / far["result"][0].split("/")[-2] / "log.html"
    assert far["result"][0].split("/")[-1] in page.read_text()


def test_pictures_that_requests_bring_reach_the_card(fleet, server):
    url = fleet.draw({"image_seed": 5}).json["result"][0]
    data = fleet.get(url.split(str(fleet.port), 1)[1]).body
    request = {"uov_input_image": base64.b64encode(data).decode(), "uov_method": "Vary (Strong)", "image_seed": 6}
    assert picture(fleet, fleet.draw(request).json) == picture(server, server.draw(request).json)
    told = fleet.ask("POST", "/v1/tools/describe-image", {"image": base64.b64encode(data).decode()})
    assert told.status == 200 and told.json["describe"]


def test_previews_go_to_those_who_follow_and_a_stop_reaches_the_card(fleet):
    stream = fleet.follow(**LASTING)
    events = [stream.event() for _ in range(4)]
    assert any(event["preview"] for event in [*events, stream.until("Sampling step")])
    worker = worker_of(fleet, name_of(stream))
    assert worker["state"] == "drawing" and worker["checkpoint"] == "toy.safetensors"
    assert fleet.ask("POST", CONTROL, {"action": "stop", "task_id": name_of(stream)}).json["message"] == "task stoped"
    stream.events()
    assert fleet.ended(name_of(stream))["task_status"] == "stop"


def drawing(fleet, number):
    """The streams of so many tasks, which as many cards begin at once and draw."""
    with held(fleet, number, *cards(os.getpid()), **LASTING) as streams:
        pass
    for stream in streams:
        stream.until("Sampling step")
    return streams


def test_a_card_that_dies_is_replaced_and_its_task_drawn_again(fleet, server):
    expected = picture(server, server.draw(LASTING).json)
    with held(fleet, 2, *cards(os.getpid())) as streams:
        pass  # each has the model afterwards
    for stream in streams:
        stream.events()
    streams = drawing(fleet, 2)
    os.kill(cards(os.getpid())[0], signal.SIGKILL)
    for stream in streams:
        assert stream.events()[-1]["message"] == "Finished"
        assert picture(fleet, fleet.ended(name_of(stream))) == expected
    assert len([line for line in fleet.lines if "attempt=2" in line]) == 1


def test_a_card_that_cannot_be_reached_for_a_moment_draws_on_and_its_task_is_drawn_again(fleet, server):
    expected = picture(server, server.draw(LASTING).json)
    before, processes = "".join(fleet.lines).count("attempt=2"), set(cards(os.getpid()))
    streams, lines = drawing(fleet, 2), len(fleet.lines)
    assert cut(drivers(fleet.process.pid)[0], min(processes))
    fleet.said(r"given up until it answers again.*look at the machine.*\n", lines)
    for stream in [*streams, fleet.follow(**LASTING), fleet.follow(**LASTING)]:
        assert stream.events()[-1]["message"] == "Finished"
        assert picture(fleet, fleet.ended(name_of(stream))) == expected
    assert "".join(fleet.lines).count("attempt=2") <= before + 1
    assert set(cards(os.getpid())) == processes


def pixels(server, record):
    """The picture of a record, without what its file tells besides."""
    return Image.open(io.BytesIO(picture(server, record))).tobytes()


def test_a_model_that_only_a_machine_has_is_listed_and_drawn_with(giver, fleet, server, models):
    own, here = giver[0] / "own.safetensors", models / "checkpoints" / "own.safetensors"
    try:
        assert "own.safetensors" in fleet.get("/v1/engines/all-models").json["model_filenames"]
        refused = fleet.draw({"base_model_name": "nobodys.safetensors"})
        assert refused.status == 422 and "own.safetensors" in refused.body.decode()
        assert not here.exists()
        record = fleet.draw({"base_model_name": "own.safetensors", "image_seed": 41}).json
        assert (record["task_status"], record["drawn_with"]["checkpoint"]) == ("finished", "own.safetensors")
        assert here.read_bytes() == own.read_bytes()
        assert pixels(fleet, record) == pixels(server, server.draw({"image_seed": 41}).json)
        copies = giver[0].parent / "fleet" / "files"
        assert not any(copies.iterdir()), "the machine that had the file did not draw"
    finally:
        here.unlink(missing_ok=True)


def test_a_file_comes_whole_though_the_card_that_gives_it_cannot_be_reached_for_a_moment(giver, fleet, models):
    (checkpoints, card), there = giver, models / "checkpoints" / "large.safetensors"
    (driver,) = drivers(fleet.process.pid)
    try:
        stream = fleet.follow(base_model_name="large.safetensors")
        stream.until("Copying large.safetensors, ")
        with halted(card):  # what it is asked for from now on is under way when the connection breaks
            time.sleep(1)
            assert cut(driver, card)
        fleet.said(r"given up until it answers again.*\(asked for large\.safetensors.*look at the machine.*\n")
        assert stream.events()[-1]["message"] == "Finished"
        assert there.stat().st_size == (checkpoints / "large.safetensors").stat().st_size
        assert card in cards(os.getpid())
    finally:
        there.unlink(missing_ok=True)


def test_a_machine_that_falls_silent_is_listed_no_longer_than_ray_takes_to_find_out(giver, fleet, cluster, machines):
    """It does not come back."""
    assert "own.safetensors" in fleet.get("/v1/engines/all-models").json["model_filenames"]
    node, _ = machines.pop()
    cluster.freeze(node)
    try:
        begun = time.monotonic()
        wait_for(fleet, len(machines))
        assert time.monotonic() - begun < 50  # Ray's own settings take 66 s
        assert len(fleet.get("/v1/engine/workers").json["workers"]) == len(machines)
        assert "own.safetensors" not in fleet.get("/v1/engines/all-models").json["model_filenames"]
    finally:
        cluster.kill(node)


def test_a_machine_that_is_told_to_leave_ends_its_picture_first(fleet, cluster, machines):
    """It does not come back; the tests after this one need one machine."""
    streams = drawing(fleet, len(machines))
    before = "".join(fleet.lines).count("attempt=2")
    leaving = threading.Thread(target=cluster.tell_to_leave, args=(machines.pop()[0],))
    leaving.start()
    assert [stream.events()[-1]["message"] for stream in streams] == ["Finished"] * len(streams)
    leaving.join()
    wait_for(fleet, len(machines))
    assert "".join(fleet.lines).count("attempt=2") == before


def test_a_card_that_cannot_begin_is_told_and_the_others_draw(fleet, cluster, tmp_path):
    (tmp_path / "models").write_text("no folder")
    node = cluster.join(1, tmp_path / "models")
    fleet.said(r"cannot begin.*\n")
    assert fleet.draw().json["task_status"] == "finished"
    cluster.kill(node)


def test_a_card_that_hangs_is_replaced_and_its_task_drawn_again(fleet, machines):
    stream = fleet.follow(**LASTING)
    stream.until("Sampling step")
    before, lines = set(cards(os.getpid())), len(fleet.lines)
    try:
        for card in before:
            os.kill(card, signal.SIGSTOP)
        assert stream.events()[-1]["message"] == "Finished"
        assert "".join(fleet.lines[lines:]).count("attempt=2") == 1
        wait_for(fleet, len(machines))
        assert not before & set(cards(os.getpid()))
    finally:
        for card in before & set(cards(os.getpid())):
            os.kill(card, signal.SIGKILL)


def test_a_driver_that_dies_is_started_again_and_nothing_is_lost(fleet):
    stream = fleet.follow(**LASTING)
    stream.until("Sampling step")
    os.kill(drivers(fleet.process.pid)[0], signal.SIGKILL)
    assert stream.events()[-1]["message"] == "Finished"
    assert fleet.draw().json["task_status"] == "finished"


def test_a_head_that_is_not_there_is_told_with_what_would_help(make_server):
    need_ray()
    server = make_server(FOOOCUS_FLEET="127.0.0.1:9")
    server.said(r"Ray cannot be reached at 127\.0\.0\.1:9")
    server.said("ray start --address=127.0.0.1:9")
    assert server.get("/ready").json["state"] == "starting"
