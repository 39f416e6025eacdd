"""Masks and descriptions: what they take, what they answer, and that drawing goes on meanwhile."""

import base64
import io
import os
import signal

import gevent
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import fooocus_flask
from engine.files import builtin_set
from fooocus_flask.runner.runner import runner
from tests.conftest import new_app
from tests.serving import GENERATE, halted, small
from tests.tool_models import tool_models

pytestmark = pytest.mark.pictures

MASK, DESCRIBE = "/v1/tools/generate_mask", "/v1/tools/describe-image"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A models folder for all tools, with a broken file in it."""
    folder = tool_models(tmp_path_factory.mktemp("models") / "tools")
    (folder / "inpaint" / "silueta.onnx").write_bytes(b"nothing of the kind")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of whoever starts the engine."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def app(tmp_path_factory, tools, empty_database, home):
    """One application for all tests here, which leave its engine well, or dead for the next one to start."""
    at_home = {"HOME": str(home), "XDG_CACHE_HOME": ""}
    app = new_app(tmp_path_factory.mktemp("instance"), tools, empty_database, ENGINE_ENVIRONMENT=at_home)
    yield app
    fooocus_flask.close(app)


def png(width=60, height=40):
    """Grey, with a red part on the left half."""
    image = np.full((height, width, 3), 50, np.uint8)
    image[:, : width // 2] = (255, 50, 50)
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


PICTURE = base64.b64encode(png()).decode()


def faults(reply):
    """The faults of a 422: (type, place) pairs."""
    assert reply.status_code == 422
    return [(fault["type"], fault["loc"]) for fault in reply.json["detail"]]


def mask_in(reply):
    assert reply.status_code == 200, reply.json
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(reply.json, validate=True))))


def test_a_mask_is_answered_as_a_png_in_base64(client):
    for options in ({}, {"mask_model": "u2netp"}):
        mask = mask_in(client.post(MASK, json={"image": PICTURE, **options}))
        assert mask.shape == (40, 60)
        assert mask[:, :28].min() > 200 and mask[:, 32:].max() < 50


def test_the_engines_libraries_tell_nobody(client, home):
    """onnxruntime keeps what it would send in the home's cache, from its import on."""
    assert client.post(MASK, json={"image": PICTURE}).status_code == 200
    assert list(home.glob(".cache/Microsoft/**/*")) == []


def test_a_mask_by_words_and_the_boxes_behind_it(client):
    """The picture is long: the detector sees a fifth of the pixels that it makes of `PICTURE`."""
    picture = base64.b64encode(png(width=240, height=24)).decode()
    body = {"image": picture, "mask_model": "sam", "dino_prompt_text": "hair", "box_threshold": 0}
    boxes = mask_in(client.post(MASK, json=body | {"dino_debug": True}))
    assert boxes.shape == (24, 240) and set(np.unique(boxes)) == {0, 255}
    mask = mask_in(client.post(MASK, json=body | {"sam_max_detections": 2}))
    assert mask.shape == (24, 240) and set(np.unique(mask)) <= {0, 255}


def test_a_drawing_is_described_in_tags(client):
    body = {"image": PICTURE, "image_type": "Anime"}
    assert client.post(DESCRIBE, json=body).json == {"describe": "red hair"}
    assert client.post(f"{DESCRIBE}?image_type=Anime", json={"image": PICTURE}).json == {"describe": "red hair"}
    form = {"image": (io.BytesIO(png()), "cat.png")}
    assert client.post(f"{DESCRIBE}?image_type=Anime", data=form).json == {"describe": "red hair"}
    form = {"image": (io.BytesIO(png()), "cat.png"), "image_type": "Anime"}
    assert client.post(DESCRIBE, data=form).json == {"describe": "red hair"}


def test_a_photograph_is_described_in_words_the_same_ones_each_time(client):
    reply = client.post(DESCRIBE, json={"image": PICTURE})
    told = reply.json
    assert reply.headers["X-Described-By"] == "model_base_caption_capfilt_large.pth"
    assert list(told) == ["describe"] and told["describe"]
    form = {"image": (io.BytesIO(png()), "cat.png"), "image_type": "Photo"}
    assert client.post(DESCRIBE, data=form).json == told
    form = {"image": (io.BytesIO(png()), "cat.png")}
    assert client.post(f"{DESCRIBE}?type=Anime", data=form).json == told  # Fooocus-API's clients send it, to no effect


def test_a_server_without_those_files_answers_the_built_in_sets_words(server):
    for kind in ("Photo", "Anime"):
        reply = server.ask("POST", DESCRIBE, {"image": PICTURE, "image_type": kind})
        assert reply.status == 200 and list(reply.json) == ["describe"]
        assert reply.headers["X-Described-By"] == builtin_set.TAG_HEAD.name


def test_without_the_built_in_set_what_is_missing_is_named_too(make_app, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_set, "DESCRIBING", (tmp_path / "none.safetensors",))
    fresh = make_app(MODELS_PATH=str(tmp_path / "empty")).test_client()
    for kind, count in (("Photo", 1), ("Anime", 2)):
        reply = fresh.post(DESCRIBE, json={"image": PICTURE, "image_type": kind})
        assert faults(reply) == [("missing_file", ["body", "image_type"])] * count


def test_what_is_missing_is_named_with_its_folder_and_where_it_can_be_had(client):
    reply = client.post(MASK, json={"image": PICTURE, "mask_model": "u2net"})
    (fault,) = reply.json["detail"]
    assert (reply.status_code, fault["type"], fault["loc"]) == (422, "missing_file", ["body", "mask_model"])
    url = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx"
    assert fault["ctx"] == {"file": "inpaint/u2net.onnx", "url": url}
    assert "u2net.onnx" in fault["msg"] and "models folder inpaint" in fault["msg"] and url in fault["msg"]


def test_a_mask_by_words_names_each_file_that_is_missing(client):
    reply = client.post(MASK, json={"image": PICTURE, "mask_model": "sam", "sam_model": "vit_h"})
    assert [fault["ctx"]["file"] for fault in reply.json["detail"]] == ["sam/sam_vit_h_4b8939.pth"]


def test_a_broken_model_file_is_named(client):
    reply = client.post(MASK, json={"image": PICTURE, "mask_model": "silueta"})
    assert reply.status_code == 500
    assert reply.json["detail"].startswith("silueta.onnx: not a readable ONNX file")
    assert client.post(MASK, json={"image": PICTURE}).status_code == 200


@pytest.mark.parametrize("path", [MASK, DESCRIBE])
def test_a_request_without_a_picture_is_refused(client, path):
    assert faults(client.post(path, json={})) == [("missing", ["body", "image"])]
    assert faults(client.post(path)) == [("missing", ["body"])]


def test_what_is_no_picture_is_refused(client):
    assert faults(client.post(MASK, json={"image": "iVBORw0KGgo="})) == [("image_error", ["body", "image"])]
    body = {"image": "x", "image_type": "Anime"}
    assert faults(client.post(DESCRIBE, json=body)) == [("image_error", ["body", "image"])]


def test_a_mask_models_name_is_checked(client):
    reply = client.post(MASK, json={"image": "x", "mask_model": "u3net", "box_threshold": 2})
    assert sorted(faults(reply)) == [
        ("enum", ["body", "mask_model"]),
        ("less_than_equal", ["body", "box_threshold"]),
    ]


def test_a_form_without_a_file_is_refused(client):
    reply = client.post(DESCRIBE, data={"image_type": "Anime"}, content_type="multipart/form-data")
    assert faults(reply) == [("missing", ["body", "image"])]


def test_the_kind_of_picture_is_checked_wherever_it_stands(client):
    assert faults(client.post(f"{DESCRIBE}?image_type=Cat", json={"image": "x"})) == [("enum", ["query", "image_type"])]
    assert faults(client.post(DESCRIBE, json={"image": "x", "image_type": "Cat"})) == [("enum", ["body", "image_type"])]


def test_masks_are_made_between_the_steps_of_a_picture_and_change_nothing_of_it(app, client):
    def drawn(looks):
        body = small(overwrite_step=20, async_process=True)
        with halted(lane.supervisor.engine.pid):  # until all is asked for
            url = f"/tasks/{client.post(GENERATE, json=body).json['task_id']}"
            while not lane.task_id:  # which the engine is told of before all others
                gevent.sleep(0.01)
            answers = [gevent.spawn(app.test_client().post, MASK, json={"image": PICTURE}) for _ in range(looks)]
            while lane.inspections.waiting < looks:
                gevent.sleep(0.01)
        gevent.joinall(answers, raise_error=True)
        assert [answer.value.status_code for answer in answers] == [200] * looks
        between = client.get(url).json["task_status"]
        while (record := client.get(url).json)["task_status"] in ("pending", "running"):
            gevent.sleep(0.05)
        assert record["task_status"] == "finished"
        return between, client.get(record["result"][0].partition("localhost")[2]).data

    assert client.post(MASK, json={"image": PICTURE}).status_code == 200  # the engine is ready now
    (lane,) = runner.of(app).lanes
    (between, with_looks), (_, without) = drawn(4), drawn(0)
    assert between in ("running", "pending")
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (with_looks, without)]
    assert (pixels[0] == pixels[1]).all()


def test_an_engine_that_dies_is_told_and_the_next_one_answers(app, client):
    assert client.post(MASK, json={"image": PICTURE}).status_code == 200
    (held,) = runner.of(app).lanes
    pid = held.supervisor.engine.pid
    os.kill(pid, signal.SIGSTOP)
    answer = gevent.spawn(client.post, MASK, json={"image": PICTURE})
    while not held.inspections.waiting:
        gevent.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    reply = answer.get()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "ended while it looked at the picture" in reply.json["detail"]
    assert client.post(MASK, json={"image": PICTURE}).status_code == 200


def test_there_is_an_end_to_what_waits(app, client):
    assert client.post(MASK, json={"image": PICTURE}).status_code == 200
    with halted(runner.of(app).lanes[0].supervisor.engine.pid):
        answers = [gevent.spawn(app.test_client().post, MASK, json={"image": PICTURE}) for _ in range(20)]
        while sum(answer.ready() for answer in answers) < 4:
            gevent.sleep(0.01)
    gevent.joinall(answers, raise_error=True)
    assert sorted(answer.value.status_code for answer in answers) == [200] * 16 + [429] * 4


def test_the_length_of_a_prompt_is_that_of_what_is_drawn(app, client, tools):
    (tools / "embeddings").mkdir(exist_ok=True)
    save_file({"clip_l": np.zeros((6, 768), "float32")}, tools / "embeddings" / "nice.safetensors")

    def length(prompt):
        return client.post("/v1/tools/count-tokens", json={"prompt": prompt}).json

    assert length("") == {"tokens": 0, "chunks": 1, "room": 75}
    assert length("a (very fluffy:1.2) cat <lora:detail:0.8>") == {"tokens": 4, "chunks": 1, "room": 75}
    assert length("(embedding:nice:1.1) cat") == {"tokens": 7, "chunks": 1, "room": 75}
    assert length("cat " * 76 + "\na second line") == {"tokens": 79, "chunks": 3, "room": 75}


@pytest.mark.parametrize(
    ("body", "kind"), [({}, "missing"), ({"prompt": 7}, "string_type"), ({"prompt": "(" * 999}, "too_deep")]
)
def test_what_is_no_prompt_has_no_length(client, body, kind):
    assert faults(client.post("/v1/tools/count-tokens", json=body)) == [(kind, ["body", "prompt"])]
