"""Model files that are fetched when requests need them: waited for, shared, told of, stopped, taken up again."""

import json
import re
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from threading import Thread

import gevent
import numpy as np
import pytest
from safetensors.torch import save_file

import fooocus_flask
from engine import choices
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.following import waiters
from fooocus_flask.model_files import addresses, host_backoff
from fooocus_flask.model_files.fleet_files import fleet_files
from fooocus_flask.model_files.transfers import transfers
from fooocus_flask.runner.downloader import MOST_CLIENTS, downloader
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tasks import estimates, queue
from schemas.generate import DEFAULTS, GenerateSchema
from tests import postgresql
from tests.blueprints.test_tools import PICTURE
from tests.empty_models import EMPTY_MODEL
from tests.engine.detectors import onnx_files
from tests.engine.pipeline.test_pipeline_models import lora
from tests.file_server import closed_port, serving
from tests.patience import CEILING, patience
from tests.serving import GENERATE, LAUNCHER, Server, small
from tests.toy import toy_checkpoint

speaks_sql = pytest.mark.sql("runner/downloader")

NO_DELAYS = (0.0, 0.0)
ALLOWED = {"ALLOW_DOWNLOADS": True, "DOWNLOAD_DELAYS": NO_DELAYS}
NEW = "new.safetensors"
OFFSET = "sd_xl_offset_example-lora_1.0.safetensors"
OFFSET_PATH = f"stabilityai/stable-diffusion-xl-base-1.0/resolve/main/{OFFSET}"


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory):
    """A checkpoint of 7 MB that is not on the server yet."""
    return toy_checkpoint(tmp_path_factory.mktemp("elsewhere") / NEW, seed=1).read_bytes()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder with a toy checkpoint, emptied of all else after each test."""
    folder = tmp_path_factory.mktemp("downloads-models")
    (folder / "checkpoints").mkdir()
    toy_checkpoint(folder / "checkpoints" / "toy.safetensors")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The instance folder of the server that may fetch."""
    return tmp_path_factory.mktemp("downloads-server")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, models, database):
    """An application that may fetch, for the tests that leave it as they found it: its engine starts once."""
    settings = {"INSTANCE": tmp_path_factory.mktemp("downloads-instance"), "MODELS_PATH": str(models)}
    settings |= postgresql.settings(settings["INSTANCE"])
    app = fooocus_flask.create_app(ENGINE_THREADS=1, **settings, **ALLOWED)
    yield app
    fooocus_flask.close(app)


@pytest.fixture
def host(checkpoint_bytes):
    """The server that has the files, all of them the new checkpoint unless said otherwise."""
    with serving(checkpoint_bytes) as host:
        yield host


@pytest.fixture
def preset(tmp_path, shared, place, host, models):
    """Writes the operator's preset `mine`: the new checkpoint, and where it is; other keys as given."""

    def write(**keys):
        standing = {"default_model": NEW, "checkpoint_downloads": {NEW: f"{host.base}/{NEW}"}}
        for instance in (tmp_path / "instance", Path(shared.instance_path), place):
            (instance / "presets").mkdir(parents=True, exist_ok=True)
            (instance / "presets" / "mine.json").write_text(json.dumps(standing | keys))

    write()
    yield write
    for file in [path for path in models.rglob("*.*") if path.name != "toy.safetensors"]:
        file.unlink()


@pytest.fixture
def client(shared, preset, host):
    """Asks the shared application; in the end nobody waits for anything."""
    client = shared.test_client()
    yield client
    host.go_on.set()
    for task in client.get("/tasks?query=pending").json["pending"]:
        client.post(f"/tasks/{task['task_id']}/cancel")
    until(lambda: downloader.of(shared).idle, "something is on its way")
    downloader.of(shared).hosts.forget()


@pytest.fixture
def mirror(client, host, monkeypatch):
    """Has the shared application take the host for the hub."""
    monkeypatch.setitem(client.application.config, "HF_MIRROR", host.base)


def new(**members):
    """A small request that needs the new checkpoint."""
    wanted = {"base_model_name": DEFAULTS["base_model_name"], "preset": "mine", "loras": NO_LORAS}
    return small(**wanted | members)


NO_LORAS = [{"enabled": False, "model_name": "None", "weight": 1}]


def drawable():
    """A small request that needs nothing."""
    return small(loras=NO_LORAS)


def submitted(client, **members):
    """The id of a task that needs the new checkpoint."""
    return client.post(GENERATE, json=new(async_process=True, **members)).json["task_id"]


def record(client, task_id):
    """The task as it is now."""
    return client.get(f"/tasks/{task_id}").json


def ended(client, task_id):
    """The task once it has ended."""
    with client.application.app_context(), patience():
        waiters.wait(task_id)
    return record(client, task_id)


def until(condition, what):
    """Let others work until this is so."""
    with patience(what):
        while not (found := condition()):
            gevent.sleep(0.01)
    return found


def wait_until_halted(host):
    """Wait until the host stands still in the middle of a file."""
    until(host.halted.is_set, "nobody asked the host")


def nobody_waits(client):
    """Wait until the downloader knows that no task waits for a file."""
    until(lambda: downloader.of(client.application)._waiting == {}, "a task still waits")


def parts(models):
    """Files that are not whole."""
    return [path.name for path in models.rglob("*.part")]


@speaks_sql
def test_a_request_waits_for_its_checkpoint_and_is_drawn_with_it(client, host, models, checkpoint_bytes):
    told = client.post(GENERATE, json=new())
    assert told.status_code == 200, told.json
    assert (told.json["task_status"], told.json["downloads"], told.json["notes"]) == ("finished", None, [])
    assert NEW in json.dumps(told.json["drawn_with"])
    assert (models / "checkpoints" / NEW).read_bytes() == checkpoint_bytes and not parts(models)
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"
    assert host.asked == [None]
    assert NEW in client.get("/v1/engines/all-models").json["model_filenames"]


def test_a_picture_itself_waits_too(client):
    answer = client.post(GENERATE, json=new(), headers={"Accept": "image/png"})
    assert answer.status_code == 200 and answer.data.startswith(b"\x89PNG")


def test_progress_is_told_in_the_record_and_others_overtake(client, host, checkpoint_bytes):
    host.halt_at = 1_000_000
    first, second = submitted(client), submitted(client)
    wait_until_halted(host)
    (file,) = until(lambda: [file for file in record(client, first)["downloads"] if file["bytes_done"] > 900_000], "?")
    assert file.pop("bytes_done") <= 1_000_000
    assert file == {"file": f"checkpoints/{NEW}", "url": f"{host.base}/{NEW}", "bytes_total": len(checkpoint_bytes)}
    assert client.post(GENERATE, json=drawable()).json["task_status"] == "finished"
    for task_id in (first, second):
        told = record(client, task_id)
        assert (told["task_status"], told["queue_position"], told["start_mills"]) == ("pending", 1, None)
        assert told["eta_seconds"] >= 0  # by the download's speed, and by the picture just drawn
    state = client.get("/v1/engine/queue").json
    assert (state["pending"], state["running"], [file["file"] for file in state["downloads"]]) == (
        *(2, None),
        [f"checkpoints/{NEW}"],
    )
    host.go_on.set()
    assert [ended(client, task_id)["task_status"] for task_id in (first, second)] == ["finished"] * 2
    assert host.asked == [None] and record(client, first)["downloads"] is None


def test_a_connection_that_breaks_is_taken_up(client, host):
    host.breaks = 2
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"
    assert host.asked[0] is None and all(asked.startswith("bytes=") for asked in host.asked[1:])


@speaks_sql
def test_what_cannot_be_had_fails_every_task_that_waits_for_it(client, host):
    host.halt_at = host.break_at = 1000
    host.breaks = 1
    waiting = submitted(client)
    wait_until_halted(host)
    host.halt_at, host.statuses = None, [500] * 10
    host.go_on.set()
    told = ended(client, waiting)
    assert told["task_status"] == "failed" and told["start_mills"] is None and told["downloads"] is None
    assert f"{NEW} cannot be fetched from {host.base}/{NEW}: 500" in told["error"]
    host.statuses = [404]
    answer = client.post(GENERATE, json=new())
    assert (answer.status_code, answer.json["task_status"]) == (502, "failed")
    assert f"{host.base}/{NEW} answers 404" in answer.json["detail"] and "by hand" in answer.json["detail"]
    host.statuses = []
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"


def test_a_host_that_cannot_be_reached_is_not_waited_for_again(client, preset, checkpoint_bytes):
    port = closed_port()
    preset(checkpoint_downloads={NEW: f"http://127.0.0.1:{port}/{NEW}"})
    first = client.post(GENERATE, json=new())
    with serving(checkpoint_bytes, port) as host:
        second = client.post(GENERATE, json=new())
        for answer in (first, second):
            assert (answer.status_code, answer.json["task_status"]) == (502, "failed")
            assert f"{NEW} cannot be fetched from {host.base}/{NEW}: " in answer.json["detail"]
            assert re.search(rf"127\.0\.0\.1:{port}, is asked again from \d{{4}}-.*Z on", answer.json["detail"])
        assert host.asked == []
        assert client.post("/v1/engine/queue/resume").status_code == 200
        assert client.post(GENERATE, json=new()).json["task_status"] == "finished"


def test_an_answer_of_any_kind_ends_that(client, host, preset, monkeypatch):
    held = downloader.of(client.application).hosts
    held.failed(host.base)
    monkeypatch.setattr(held, "_now", lambda: time.monotonic() + host_backoff.FIRST)
    host.statuses = [404]
    assert "answers 404" in client.post(GENERATE, json=new()).json["detail"]
    monkeypatch.undo()
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"


@speaks_sql
def test_who_can_spare_the_file_goes_on_at_once_and_is_told(client, monkeypatch):
    monkeypatch.setitem(client.application.config, "HF_MIRROR", f"http://127.0.0.1:{closed_port()}")
    for _ in range(2):
        told = client.post(GENERATE, json=small()).json
        assert told["task_status"] == "finished"
        (note,) = told["notes"]
        assert note.startswith(f"The LoRA {OFFSET} of the defaults is left out: ") and "is asked again from" in note


def test_a_disk_without_room_is_told(client, models, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5_000_000))
    answer = client.post(GENERATE, json=new())
    assert answer.status_code == 507 and answer.json["detail"].startswith(f"No space for {NEW}")
    assert "5.0 MB are free" in answer.json["detail"] and not parts(models)


@speaks_sql
def test_a_task_that_waits_is_stopped_and_its_download_with_it(client, host, models):
    host.halt_at = 2_000_000
    keep, stop = submitted(client), submitted(client)
    wait_until_halted(host)
    assert client.post(f"/tasks/{stop}/cancel").json["task_status"] == "stop"
    assert client.post("/v1/engine/control", json={"action": "stop", "task_id": stop}).json["message"] != "task stoped"
    under_way = transfers.of(client.application)
    assert len(under_way) == 1
    assert client.post("/v1/engine/control", json={"action": "stop", "task_id": keep}).json["message"] == "task stoped"
    nobody_waits(client)
    host.go_on.set()
    until(lambda: len(under_way) == 0, "the download goes on")
    assert parts(models) == [f"{NEW}.part"] and not (models / "checkpoints" / NEW).exists()
    host.halt_at = None
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"
    assert host.asked[0] is None and host.asked[1].startswith("bytes=")


def test_a_file_put_there_by_hand_counts(client, host, models, checkpoint_bytes, monkeypatch):
    host.statuses = [503] * 100
    monkeypatch.setitem(client.application.config, "DOWNLOAD_DELAYS", (CEILING,))
    waiting = submitted(client)
    until(lambda: host.asked, "nobody asked the host")
    (models / "checkpoints" / NEW).write_bytes(checkpoint_bytes)
    downloader.of(client.application).wake()
    assert ended(client, waiting)["task_status"] == "finished"


def test_several_files_and_what_a_preset_brings_besides(client, host, preset, models):
    host.files["style.pt"] = b"an embedding"
    preset(embeddings_downloads={"sub/style.pt": f"{host.base}/style.pt?token=secret"}, vae_downloads={})
    assert client.post(GENERATE, json=new()).json["task_status"] == "finished"
    assert (models / "embeddings" / "sub" / "style.pt").read_bytes() == b"an embedding"
    assert "/style.pt?token=secret" in host.paths


def test_what_is_secret_in_an_operators_address_is_not_told(client, host, preset):
    preset(checkpoint_downloads={NEW: f"{host.base}/{NEW}?token=secret"})
    host.halt_at = 1000
    waiting = submitted(client)
    wait_until_halted(host)
    assert record(client, waiting)["downloads"][0]["url"] == f"{host.base}/{NEW}"
    host.statuses, host.halt_at = [404], None
    client.post(f"/tasks/{waiting}/cancel")
    nobody_waits(client)
    host.go_on.set()
    until(lambda: len(transfers.of(client.application)) == 0, "the download goes on")
    answer = client.post(GENERATE, json=new())
    assert answer.status_code == 502 and "secret" not in answer.text


def test_a_client_cannot_say_where_files_come_from(client, host):
    theirs = {"checkpoint_downloads": {"theirs.safetensors": f"{host.base}/theirs.safetensors"}}
    answer = client.post(GENERATE, json=new(base_model_name="theirs.safetensors", **theirs))
    assert answer.status_code == 422 and host.paths == []


def test_without_leave_the_answer_says_how_to_give_it(make_app, preset, host):
    answer = make_app().test_client().post(GENERATE, json=new())
    (fault,) = answer.json["detail"]
    assert (answer.status_code, fault["type"], fault["loc"]) == (422, "enum", ["body", "preset"])
    assert "toy.safetensors" in fault["msg"] and f"{host.base}/{NEW}" in fault["msg"]
    assert "--allow-downloads" in fault["msg"] and host.paths == []


def loaded(**sent):
    """What is prepared for these members."""
    return prepare(GenerateSchema().load(sent))


def awaited(**sent):
    """The files that such a request waits for."""
    return [file.name for file in loaded(**sent).downloads]


def test_what_a_request_needs_is_fetched_whoever_named_it(make_app, models):
    with make_app(**ALLOWED).app_context():
        default, lora = DEFAULTS["base_model_name"], OFFSET
        assert awaited() == [default, lora]
        assert loaded().checkpoint == str(models / "checkpoints" / default)
        fast = choices.PERFORMANCES["Lightning"].lora
        assert awaited(performance_selection="Lightning", base_model_name="toy.safetensors") == [lora, fast]
        assert awaited(preset="sai")[:2] == [
            "sd_xl_base_1.0_0.9vae.safetensors",
            "sd_xl_refiner_1.0_0.9vae.safetensors",
        ]
        control = [{"cn_img": "/inputs/a.png", "cn_type": "PyraCanny"}]
        assert "control-lora-canny-rank128.safetensors" in awaited(controlnet_image=control)


TOY = {"base_model_name": "toy.safetensors", "preset": "mine", "loras": NO_LORAS}
STYLE = "sub/style.safetensors"


@pytest.fixture
def styled(preset, host):
    """The operator's preset says where a LoRA is."""
    preset(lora_downloads={STYLE: f"{host.base}/style.safetensors"})


def test_a_lora_that_only_a_prompt_names_is_fetched(make_app, styled):
    film = "SDXL_FILM_PHOTOGRAPHY_STYLE_V1"
    picture, tag = "/inputs/a.png", "<lora:style:.5>"
    step = {"enhance_enabled": True, "enhance_prompt": tag, "enhance_mask_model": "u2netp"}
    with make_app(**ALLOWED).app_context():
        assert awaited(**TOY, prompt=f"a cat <lora:style:0.5>, <lora:{film}:1> <lora:style:1>") == [
            STYLE,
            f"{film}.safetensors",
        ]
        assert STYLE in awaited(**TOY, inpaint_input_image=picture, inpaint_additional_prompt=tag)
        assert STYLE in awaited(**TOY, enhance_input_image=picture, enhance_checkbox=True, enhance_ctrls=[step])
        assert awaited(**TOY, inpaint_additional_prompt=tag) == awaited(**TOY, prompt=f"a cat\n{tag}") == []


def test_a_lora_of_the_list_is_not_fetched_twice_for_a_tag(make_app, styled):
    listed = [{"enabled": True, "model_name": STYLE, "weight": 1}]
    with make_app(**ALLOWED).app_context():
        (file,) = loaded(**TOY | {"loras": listed}, prompt="<lora:style:0.5>").downloads
    assert file.spare is None  # who lists it insists on it


def test_a_tag_whose_lora_lies_here_fetches_nothing(make_app, styled, models):
    (models / "loras").mkdir(exist_ok=True)
    (models / "loras" / "style.safetensors").write_bytes(EMPTY_MODEL)
    with make_app(**ALLOWED).app_context():
        prepared = loaded(**TOY, prompt="<lora:style:0.5>")
    assert (prepared.downloads, prepared.notes) == ([], [])


def test_a_tags_lora_that_cannot_come_is_left_out_with_a_note(make_app, styled, host):
    with make_app(**ALLOWED).app_context():
        prepared = loaded(**TOY, prompt="<lora:nobody:1>")
        assert prepared.downloads == []
        assert prepared.notes == ["The LoRA nobody of the prompt is left out: it is not on this server"]
        builtin = TOY | {"base_model_name": choices.BUILTIN_CHECKPOINT}
        assert awaited(**builtin, prompt="<lora:style:1>") == []
    with make_app().app_context():
        (note,) = loaded(**TOY, prompt="<lora:style:1>").notes
    assert note.startswith(f"The LoRA {STYLE} of the prompt is left out: ") and f"{host.base}/style" in note
    assert "--allow-downloads" in note


def test_a_tag_is_drawn_with_once_its_lora_is_there_and_without_where_it_cannot_come(client, styled, host, tmp_path):
    save_file(lora(1), tmp_path / "lora.safetensors")
    host.files["style.safetensors"] = (tmp_path / "lora.safetensors").read_bytes()
    host.statuses = [404]
    request = new(**TOY, prompt="a cat <lora:style:0.5>")
    without, with_it = (client.post(GENERATE, json=request).json for _ in range(2))
    assert [told["task_status"] for told in (without, with_it)] == ["finished"] * 2
    (note,) = without["notes"]
    assert note.startswith(f"The LoRA {STYLE} of the prompt is left out: ") and "answers 404" in note
    assert with_it["notes"] == []
    for told, times in ((without, 0), (with_it, 1)):
        picture = Path(client.application.config["OUTPUT_PATH"], *told["result"][0].split("/")[-2:])
        log = (picture.parent / "log.html").read_text("utf-8")
        (entry,) = re.findall(rf'<div id="{picture.stem}_png".*?<!--', log, flags=re.DOTALL)
        assert entry.count(f"{STYLE} : 0.5") == times


def test_what_nobody_insisted_on_is_left_out_where_it_cannot_be_had(client, mirror, host):
    host.statuses = [404]
    told = client.post(GENERATE, json=small()).json
    assert (told["task_status"], host.paths) == ("finished", [f"/{OFFSET_PATH}"])
    assert not told["req_params"]["loras"][0]["enabled"]
    (note,) = told["notes"]
    assert note.startswith(f"The LoRA {OFFSET} of the defaults is left out: ") and "answers 404" in note


def test_what_a_client_insisted_on_is_not_left_out(client, mirror, host):
    host.statuses = [404]
    answer = client.post(GENERATE, json=small(loras=[{"enabled": True, "model_name": OFFSET, "weight": 0.3}]))
    assert (answer.status_code, answer.json["task_status"]) == (502, "failed")


def test_nothing_that_nobody_insists_on_is_fetched_for_the_built_in_model(make_app):
    with make_app(**ALLOWED).app_context():
        assert awaited(base_model_name=choices.BUILTIN_CHECKPOINT) == []
        assert awaited(base_model_name=choices.BUILTIN_CHECKPOINT, black_out_nsfw=True) == [
            "stable-diffusion-safety-checker.bin"
        ]


def test_a_name_without_an_address_is_refused_as_ever(make_app):
    with make_app(**ALLOWED).app_context(), pytest.raises(InvalidRequest) as caught:
        loaded(loras=[{"enabled": True, "model_name": "unknown.safetensors"}], base_model_name="toy.safetensors")
    assert [fault.type for fault in caught.value.faults] == ["enum"]


def test_a_mirror_stands_in_for_the_hub(make_app):
    hub, mirror = "https://huggingface.co/", "https://hub.example.org/"
    with make_app(HF_MIRROR=mirror).app_context():
        for name in ("sai", "initial"):
            found = addresses.sources_for(name).find("loras", OFFSET)
            assert found.url.startswith(mirror + "stabilityai/")
        with pytest.raises(InvalidRequest) as caught:
            loaded(performance_selection="Lightning", base_model_name="toy.safetensors")
    assert mirror in caught.value.faults[0].msg and hub not in caught.value.faults[0].msg


def test_config_txt_and_the_servers_preset_say_where_files_are(make_app, preset, tmp_path):
    listed = {"lora_downloads": {"a.safetensors": "http://config/a", "b.safetensors": "http://config/b"}}
    preset(lora_downloads={"b.safetensors": "http://preset/b"})
    (tmp_path / "instance" / "config.txt").write_text(json.dumps(listed))
    with make_app(PRESET="mine", **ALLOWED).app_context():
        found = [addresses.sources_for().find("loras", f"{name}.safetensors").url for name in "ab"]
        assert found == ["http://config/a", "http://preset/b"]
        assert awaited()[0] == NEW


def test_a_bad_address_in_config_txt_is_left_out(make_app, tmp_path):
    (tmp_path / "instance").mkdir()
    listed = {"lora_downloads": {"a.safetensors": "ftp://config/a"}}
    (tmp_path / "instance" / "config.txt").write_text(json.dumps(listed))
    with make_app(**ALLOWED).app_context():
        assert addresses.sources_for().find("loras", "a.safetensors") is None


def test_a_mask_or_a_description_waits_for_its_files(client, mirror, host, models):
    onnx_files.tagger(models / "clip_vision" / "wd-v1-4-moat-tagger-v2.onnx", np.eye(3) / 255)
    host.files["wd-v1-4-moat-tagger-v2.csv"] = b"tag_id,name,category,count\n1,blue,0,1\n2,green,0,1\n3,red,0,1\n"
    body = {"image": PICTURE, "image_type": "Anime"}
    host.statuses = [404]
    answer = client.post("/v1/tools/describe-image", json=body)
    assert answer.status_code == 502 and "answers 404" in answer.json["detail"]
    answer = client.post("/v1/tools/describe-image", json=body)
    assert answer.status_code == 200 and answer.json["describe"]
    assert client.post("/v1/tools/describe-image", json=body).json == answer.json
    assert len(host.paths) == 2 and downloader.of(client.application).idle


def test_clients_that_wait_for_a_description_are_limited_and_sent_away_at_a_stop(make_app, host, models):
    app = make_app(HF_MIRROR=host.base, **ALLOWED)
    host.files["wd-v1-4-moat-tagger-v2.csv"], host.halt_at = b"x" * 1000, 10
    with app.app_context():
        file = addresses.sources_for().find("clip_vision", "wd-v1-4-moat-tagger-v2.csv")

        def wait():
            with app.app_context():
                downloader.current().have([file])

        waiting = [gevent.spawn(wait) for _ in range(MOST_CLIENTS)]
        wait_until_halted(host)
        with pytest.raises(Exception, match="which is the limit") as caught:
            downloader.current().have([file])
        assert caught.value.status == 429
        assert len(host.paths) == 1
        downloader.current().close()
    gevent.joinall(waiting, CEILING)
    assert {greenlet.exception.status for greenlet in waiting} == {503}


@speaks_sql
def test_places_and_guesses_leave_out_those_who_wait(client, host):
    app = client.application
    host.halt_at = 1000
    waiting = submitted(client)
    wait_until_halted(host)
    with app.app_context():
        queue.pause()
        first, second = (queue.enqueue(loaded(**drawable()), "http://h") for _ in range(2))
        assert [estimates.place_of(task).position for task in (first, second)] == [1, 2]
        page = {task["task_id"]: task["queue_position"] for task in client.get("/tasks?query=pending").json["pending"]}
        assert page == {waiting: 1, first.task_id: 1, second.task_id: 2}
        assert estimates.place_of(queue.find(waiting)).seconds is None
        queue.resume()


@speaks_sql
def test_a_task_left_by_a_server_that_was_allowed_fails_on_one_that_is_not(make_app, preset, host):
    app = make_app(**ALLOWED)
    with app.app_context():
        task_id = queue.enqueue(loaded(**new()), "http://h").task_id
    other = make_app()
    downloader.of(app).close()
    downloader.of(other).wake()
    told = ended(other.test_client(), task_id)
    assert told["task_status"] == "failed" and "without --allow-downloads" in told["error"]


def test_a_task_left_by_a_server_with_a_fleet_fails_on_one_without(make_app):
    app = make_app()
    fleet_files.of(app).tell("far-0", {"checkpoints": {"far.safetensors": 7}})
    with app.app_context():
        task_id = queue.enqueue(loaded(**small(base_model_name="far.safetensors", loras=NO_LORAS)), "http://h").task_id
        fleet_files.of(app).forget("far-0")
    failed = ended(app.test_client(), task_id)
    assert failed["task_status"] == "failed"
    assert "far.safetensors is not on this server, which was started without the fleet" in failed["error"]


@speaks_sql
def test_a_row_from_before_has_no_downloads(app, add):
    assert record(app.test_client(), add("finished"))["downloads"] is None


# --- a server as a person starts it


@pytest.fixture(scope="module")
def allowed(place, models, database):
    """A server that may fetch, which each test leaves running."""
    command = [*LAUNCHER, "--allow-downloads"]
    server = Server(place, models, command, FOOOCUS_DOWNLOAD_DELAYS="[0, 0]")
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def server(allowed, preset):
    """The same, with the operator's preset."""
    return allowed


def test_a_stream_and_a_client_wait_and_the_server_goes_on(server, host):
    server.ready()  # the host halts no longer than a picture takes, or it is asked again
    host.halt_at = 3_000_000
    stream = server.follow_request(new(stream_output=True))
    answers = []
    waiting = Thread(target=lambda: answers.append(server.draw(new())))
    waiting.start()
    event = stream.event()
    while " % of " not in event["message"]:
        event = stream.event()
    assert event["message"].startswith(f"Downloading {NEW}, ") and event["message"].endswith(" MB")
    assert (event["progress"], event["images"]) == (0, [])
    assert server.draw(drawable()).json["task_status"] == "finished"
    assert server.get("/ping").json == "pong" and not answers
    host.go_on.set()
    last = stream.events()[-1]
    assert last["message"] == "Finished" and len(last["images"]) == 1
    waiting.join(CEILING)
    assert answers[0].json["task_status"] == "finished" and host.paths == [f"/{NEW}"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_takes_a_download_up(server, host, how):
    host.halt_at = 3_000_000
    task_id = server.submit(**new())
    until(lambda: server.get(f"/tasks/{task_id}").json["downloads"][0]["bytes_done"] > 2_000_000, "nothing comes")
    server.stop(how)
    host.halt_at = None
    host.go_on.set()
    server.start()
    told = server.ended(task_id)
    assert (told["task_status"], told["downloads"]) == ("finished", None)
    assert host.asked[0] is None and host.asked[1].startswith("bytes=") and len(host.asked) == 2
