"""OpenAI's Images API: its words become ours, and our pictures its answers."""

import base64
import io
import json
from functools import partial

import gevent
import numpy as np
import pytest
from flask import copy_current_request_context
from PIL import Image
from safetensors.numpy import save_file

from blueprints.openai_images import answers, drawing, translation
from blueprints.openai_images.events import ImageEvents, Spread
from engine import choices
from fooocus_flask.access import keys
from fooocus_flask.environment import SettingError
from fooocus_flask.errors import FooocusError
from fooocus_flask.following import streams, waiters
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.tasks import queue
from schemas.other_apis.openai_images import EditsSchema, GenerationsSchema
from tests.blueprints.images_api import (
    EDITS,
    GENERATIONS,
    TOY,
    VARIATIONS,
    connected,
    draw,
    events,
    files,
    native,
    pixels,
    png,
    request,
    send_form,
    until,
)
from tests.conftest import picture
from tests.patience import patience
from tests.serving import small

speaks_sql = pytest.mark.sql("blueprints/openai_images/drawing")

LONG = {"steps": 30}
BUILTIN = {
    "model": choices.BUILTIN_CHECKPOINT,
    "steps": 2,
    "seed": 7,
    "style_selections": "[]",
    "prompt": "a red apple",
}
NOISE = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
HOLE = np.zeros((128, 128), bool)
HOLE[40:80, 48:88] = True
WHITE = png(np.where(HOLE, 255, 0).astype(np.uint8))


def same_pixels(one, other):
    """Whether pictures are alike; a file's metadata repeats the notes, which tell of what was sent."""
    return [pixels(data).tolist() for data in one] == [pixels(data).tolist() for data in other]


def test_the_same_request_gives_the_bytes_of_our_own_route(server):
    assert files(draw(server, n=2)) == native(server, image_number=2)


def test_pictures_come_in_base64_unless_a_url_is_asked_for_and_never_both_ways(server):
    plain, asked = draw(server).json["data"][0], draw(server, response_format="url").json["data"][0]
    assert ("url" in plain, "b64_json" in plain) == (False, True)
    assert ("url" in asked, "b64_json" in asked) == (True, False)
    url = asked["url"].removeprefix(f"http://127.0.0.1:{server.port}")
    assert server.get(url).body == base64.b64decode(plain["b64_json"])


def test_an_answer_tells_what_was_drawn_and_the_tokens_of_the_prompt(server):
    reply = draw(server, style_selections=["Fooocus Sharp"], quality="standard", user="ann", output_format="jpeg")
    told = reply.json
    assert {name: told[name] for name in ("background", "output_format", "quality", "size", "safety_identifier")} == {
        "background": "opaque",
        "output_format": "jpeg",
        "quality": "medium",
        "size": "64x64",
        "safety_identifier": "ann",
    }
    details = {"text_tokens": 2, "image_tokens": 0}
    used = {"total_tokens": 2, "input_tokens": 2, "input_tokens_details": details, "output_tokens": 0}
    assert told["usage"] == used
    assert "a cat" in told["data"][0]["revised_prompt"] and told["data"][0]["revised_prompt"] != "a cat"
    record = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    assert told["created"] == record["finish_mills"] // 1000
    assert reply.headers["X-Seed"] == record["seed"] == "7"


def test_pictures_without_metadata_have_no_revised_prompt(server):
    assert "revised_prompt" not in draw(server, save_metadata_to_images=False).json["data"][0]


def test_the_compression_is_the_encoders_quality(server):
    sent = {"output_format": "jpeg", "output_compression": 10}
    assert files(draw(server, **sent)) == native(server, output_format="jpeg", output_quality=10)


def test_a_record_of_such_a_task_can_be_posted_again(server):
    reply = draw(server)
    again = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["req_params"]
    assert same_pixels(native(server, **again), files(reply))


def test_null_is_the_same_as_nothing_and_unknown_members_are_named(server):
    nulls = dict.fromkeys(("n", "quality", "background", "stream", "svg", "markup", "user", "style", "moderation"))
    reply = draw(server, **nulls, frame_count=1, made_up=3)
    assert same_pixels(files(reply), files(draw(server)))
    notes = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["notes"]
    assert any("made_up" in note for note in notes)


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"prompt": " "}, "prompt", "missing_required_parameter"),
        ({"size": "100x100"}, "size", "invalid_value"),
        ({"size": "64*64"}, "size", "invalid_value"),
        ({"n": 33}, "n", "invalid_value"),
        ({"quality": "ultra"}, "quality", "invalid_value"),
        ({"background": "transparent"}, "background", "unsupported_value"),
        ({"output_format": "svg"}, "output_format", "invalid_value"),
        ({"svg": {"model": "x"}}, "svg", "unsupported_parameter"),
        ({"complexity": "high"}, "complexity", "unsupported_parameter"),
        ({"frame_count": 4}, "frame_count", "unsupported_parameter"),
        ({"partial_images": 4}, "partial_images", "invalid_value"),
        ({"style": "no such style"}, "style", "invalid_value"),
        ({"seed": -5}, "seed", "invalid_value"),
        ({"lora": "none.safetensors"}, "lora", "invalid_value"),
        ({"lora": [{"model_name": "a", "weight": 9}]}, "lora.0.weight", "invalid_value"),
        ({"lora": 7}, "lora.0", "invalid_value"),
        ({"sampler_name": "none"}, "sampler_name", "invalid_value"),
    ],
)
def test_what_does_not_fit_is_a_400_that_names_the_member(client, members, param, code):
    reply = client.post(GENERATIONS, json=request(**members))
    error = reply.json["error"]
    assert (reply.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["type"] == "invalid_request_error" and error["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_a_size_that_cannot_be_is_told_with_the_nearest(client):
    reply = client.post(GENERATIONS, json=request(size="1000x30"))
    assert "1000x64" in reply.json["error"]["message"]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/images/nowhere", 404), ("/v1/images", 404), ("/v1/models/none", 404), (GENERATIONS, 405)]
)
def test_wrong_paths_and_methods_have_their_shape_too(client, method, path, status):
    reply = getattr(client, method)(path)
    if (path, method) == (GENERATIONS, "post"):
        status = 400  # no body
    if (path, method) == ("/v1/models/none", "post"):
        status = 405
    assert (reply.status_code, set(reply.json)) == (status, {"error"})
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}


def test_other_paths_keep_our_shape(client):
    assert client.get("/v1/engine/nowhere").json == {"detail": "Not Found"}
    assert client.get("/v1/imagesnowhere").json == {"detail": "Not Found"}


def test_keys_count_and_a_missing_one_is_a_401_before_anything_is_read(make_app):
    client = make_app(API_KEY="secret").test_client()
    reply = client.post(GENERATIONS, data=b"no JSON at all")
    assert (reply.status_code, reply.json["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["x-should-retry"] == "false"
    assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
    for name, value in (("Authorization", "Bearer secret"), ("api-key", "secret"), ("X-API-KEY", "secret")):
        assert client.get("/v1/models?api-version=2026-01", headers={name: value}).status_code == 200


def test_a_key_that_may_not_draw_is_a_403(app, client):
    with app.app_context():
        secret = keys.add("looker", ["read"])
    reply = client.post(GENERATIONS, json=request(), headers={"Authorization": f"Bearer {secret}"})
    assert (reply.status_code, reply.json["error"]["code"]) == (403, "insufficient_scope")
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_limits_are_told_with_when_to_come_back(make_app):
    client = make_app(QUEUE_LIMIT=1, REQUESTS_PER_MINUTE=2).test_client()
    with client.application.app_context():
        queue.pause()
    assert client.post("/v1/engine/generate/", json=small(async_process=True)).status_code == 200
    full, often = (client.post(GENERATIONS, json=request()) for _ in range(2))
    assert [reply.status_code for reply in (full, often)] == [429, 429]
    assert [reply.json["error"]["code"] for reply in (full, often)] == ["queue_full", "rate_limit_exceeded"]
    for reply in (full, often):
        assert reply.headers["x-should-retry"] == "true" and 0 < int(reply.headers["Retry-After"]) <= 120


def test_a_body_that_is_too_large_is_a_413(make_app):
    client = make_app(MAX_CONTENT_LENGTH=2000).test_client()
    reply = client.post(GENERATIONS, json=request(prompt="a" * 3000))
    assert (reply.status_code, reply.json["error"]["code"]) == (413, "payload_too_large")


def test_a_failure_says_why_and_that_a_repeat_will_not_help(server):
    reply = draw(server, model="broken")
    error = reply.json["error"]
    assert reply.status >= 400 and "broken.safetensors" in error["message"]
    assert reply.headers["x-should-retry"] == "false"


# --- models


def test_models_are_checkpoints_presets_and_aliases(make_app):
    client = make_app(OPENAI_MODEL_ALIASES={"gpt-image-1": "toy", "flat/colours": "anime"}).test_client()
    told = client.get("/v1/models").json
    names = {model["id"] for model in told["data"]}
    assert told["object"] == "list"
    assert {"toy.safetensors", choices.BUILTIN_CHECKPOINT, "initial", "anime", "gpt-image-1"} <= names
    for name in ("toy.safetensors", "gpt-image-1", "flat/colours", "flat%2Fcolours"):
        one = client.get(f"/v1/models/{name}").json
        assert one["object"] == "model" and one["id"] == name.replace("%2F", "/")
    reply = client.get("/v1/models/none")
    assert (reply.status_code, reply.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("aliases", [{"a": "no such thing"}, {"a": 1}, ["a"]])
def test_aliases_that_stand_for_nothing_end_the_start(make_app, aliases):
    with pytest.raises(SettingError, match="OPENAI_MODEL_ALIASES"):
        make_app(OPENAI_MODEL_ALIASES=aliases)


def translated(app, route=translation.generation, schema=GenerationsSchema, **members):
    """Our members for theirs."""
    with app.test_request_context():
        return route(schema(style_names=style_names).load({"prompt": "a cat", **members}))


@pytest.mark.parametrize(
    ("name", "members", "noted"),
    [
        ("toy", {"base_model_name": "toy.safetensors"}, False),
        ("toy.safetensors", {"base_model_name": "toy.safetensors"}, False),
        ("anime", {"preset": "anime"}, False),
        ("mine", {"preset": "realistic"}, False),
        ("gpt-image-1", {}, True),
        ("dall-e-2", {}, True),
        ("chatgpt-image-latest", {}, True),
        ("", {}, False),
        (None, {}, False),
    ],
)
def test_a_model_is_a_checkpoint_a_preset_an_alias_or_the_default(make_app, name, members, noted):
    made = translated(make_app(OPENAI_MODEL_ALIASES={"mine": "realistic"}), model=name)
    assert {name: made.members[name] for name in ("base_model_name", "preset") if name in made.members} == members
    assert bool(made.notes) == noted


def test_a_model_that_is_not_here_is_a_404_with_those_that_are(client):
    reply = client.post(GENERATIONS, json=request(model="sd_none"))
    error = reply.json["error"]
    assert (reply.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert "toy.safetensors" in error["message"] and reply.headers["x-should-retry"] == "false"


# --- members


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        ({"quality": "hd"}, {"performance_selection": "Quality"}),
        ({"quality": "max"}, {"performance_selection": "Quality"}),
        ({"quality": "auto"}, {}),
        ({"quality": "Extreme Speed"}, {"performance_selection": "Extreme Speed"}),
        ({"quality": "low", "model": "toy"}, {"performance_selection": "Speed", "overwrite_step": 15}),
        ({"quality": "low", "model": choices.BUILTIN_CHECKPOINT}, {"performance_selection": "Lightning"}),
        ({"style": "vivid"}, {}),
        ({"style": "natural"}, {"style_selections": ["Fooocus Enhance", "Fooocus Sharp"]}),
        ({"style": ["SAI Anime"]}, {"style_selections": ["SAI Anime"]}),
        ({"size": "auto"}, {}),
        ({"size": "1536x1024"}, {"overwrite_width": 1536, "overwrite_height": 1024}),
        ({"width": 640, "height": "512"}, {"overwrite_width": 640, "overwrite_height": 512}),
        ({"num_inference_steps": 9, "cfg_scale": 5}, {"overwrite_step": 9, "guidance_scale": 5.0}),
        ({"n": "2", "image_number": 3}, {"image_number": 3}),
        ({"sampler_name": "euler", "sharpness": 3}, {"sampler_name": "euler", "sharpness": 3.0}),
    ],
)
def test_their_members_become_ours(app, sent, ours):
    made = translated(app, **sent)
    assert made.members == {"prompt": "a cat", **ours} | (
        {"base_model_name": made.members["base_model_name"]} if "model" in sent else {}
    )


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [("512x512", (1024, 1024)), ("256x512", (728, 1448)), ("768x768", (1024, 1024)), ("832x768", (832, 768))],
)
def test_sdxl_draws_small_sizes_large_and_the_answer_shrinks_them(make_app, tmp_path, asked, drawn):
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    names = {
        "model.diffusion_model.label_emb.0.0.weight": (1, 1),
        "model.diffusion_model.input_blocks.4.1.attn2.to_k.weight": (1, 2048),
        "first_stage_model.decoder.conv_in.weight": (1, 4),
    }
    save_file({name: np.zeros(shape, np.float16) for name, shape in names.items()}, folder / "xl.safetensors")
    app = make_app(MODELS_PATH=str(tmp_path / "models"))
    made = translated(app, model="xl", size=asked)
    assert (made.members["overwrite_width"], made.members["overwrite_height"]) == drawn
    shrunk = list(map(int, asked.split("x"))) != list(drawn)
    assert ("shrunk_to" in made.api) == bool(made.notes) == shrunk
    by_url = translated(app, model="xl", size=asked, response_format="url")
    assert "shrunk_to" not in by_url.api and bool(by_url.notes) == shrunk
    assert translated(app, model=choices.BUILTIN_CHECKPOINT, size=asked).notes == []


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_a_shrunk_picture_has_the_size_asked_for_and_its_type(app, add, output_format):
    api = {"name": "openai", "route": "generations", "quality": "low", "shrunk_to": [32, 24]}
    task_id = add("finished", params={"output_format": output_format}, api=api)
    with app.test_request_context():
        task = queue.find(task_id)
        task.result = [picture(app, f"{task_id}.{output_format}", size=(64, 48))]
        told = json.loads(answers.pictures(task, as_urls=False).data)
    with Image.open(io.BytesIO(base64.b64decode(told["data"][0]["b64_json"]))) as image:
        assert image.size == (32, 24)
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[output_format]
    assert (told["size"], told["quality"]) == ("32x24", "low")
    assert told["output_format"] == {"jpg": "jpeg"}.get(output_format, output_format)


# --- edits and variations


@pytest.fixture(scope="module")
def painted(server):
    """The file that our own route gives for the same picture and mask."""
    members = {"base_model_name": choices.BUILTIN_CHECKPOINT, "prompt": "a red apple"}
    pictures = {"inpaint_input_image": base64.b64encode(png(NOISE)).decode()}
    pictures["inpaint_mask_image_upload"] = base64.b64encode(WHITE).decode()
    return native(server, **members, **pictures)


def test_the_transparent_part_of_a_mask_is_what_changes(server, painted):
    clear = np.dstack([NOISE, np.where(HOLE, 0, 255).astype(np.uint8)])
    [edited] = files(send_form(server, EDITS, ("image", png(NOISE)), ("mask", png(clear)), **BUILTIN))
    changed = np.abs(pixels(edited) - NOISE).max(axis=2)
    assert changed[HOLE].mean() > 10
    assert changed[:7].max() == changed[-16:].max() == changed[:, :15].max() == changed[:, -8:].max() == 0
    assert [edited] == painted


def test_a_mask_without_transparency_is_read_as_ours_with_a_note(server, painted):
    reply = send_form(server, EDITS, ("image[]", png(NOISE)), ("mask[]", WHITE), **BUILTIN)
    assert same_pixels(files(reply), painted)
    notes = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["notes"]
    assert any("no transparent parts" in note for note in notes)


def test_a_picture_alone_is_varied_and_more_of_them_lend_their_look(server):
    red = png(np.full((64, 64, 3), (255, 0, 0), np.uint8))
    for parts in ([("image", png(NOISE))], [("image[]", png(NOISE)), ("image[]", red)]):
        reply = send_form(server, EDITS, *parts, **BUILTIN, n="1", size="1024x1024")
        assert len(files(reply)) == 1
        record = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json
        asked = record["req_params"]
        assert asked["uov_input_image"] and asked["uov_method"] == "Vary (Strong)"
        assert sum(bool(part["cn_img"]) for part in asked["controlnet_image"]) == len(parts) - 1
        assert any("Vary (Strong)" in note for note in record["notes"])
        assert any("size has no effect" in note for note in record["notes"])
        assert not any("not used" in note for note in record["notes"])


def test_pictures_may_be_named_in_json(server):
    url = f"data:image/png;base64,{base64.b64encode(png(NOISE)).decode()}"
    sent = {**BUILTIN, "style_selections": [], "input_fidelity": "high", "images": [{"image_url": url}]}
    reply = server.ask("POST", EDITS, sent)
    assert files(reply) == files(send_form(server, EDITS, ("image", png(NOISE)), input_fidelity="high", **BUILTIN))
    asked = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["req_params"]
    assert asked["uov_method"] == "Vary (Subtle)"


def test_a_variation_needs_no_prompt(server):
    members = {name: value for name, value in BUILTIN.items() if name != "prompt"}
    reply = send_form(server, VARIATIONS, ("image", png(NOISE)), **members, n="2")
    assert len(files(reply)) == 2
    asked = server.get(f"/tasks/{reply.headers['X-Task-Id']}").json["req_params"]
    assert (asked["uov_method"], asked["prompt"]) == ("Vary (Subtle)", "")


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({}, "image", "missing_required_parameter"),
        ({"image": "no picture"}, "image", "invalid_image"),
        ({"images": [{"file_id": "file-1"}]}, "images.0", "unsupported_parameter"),
        ({"image": ["YQ=="] * 6}, "image", "invalid_value"),
        ({"image": "YQ==", "mask": "YQ=="}, "mask", "invalid_image"),
    ],
)
def test_pictures_that_are_none_are_a_400(client, members, param, code):
    reply = client.post(EDITS, json=request(**members))
    assert reply.status_code == 400
    assert (reply.json["error"]["param"], reply.json["error"]["code"]) == (param, code)


def test_a_lora_is_a_name_or_an_object_and_there_may_be_several(app):
    made = translated(app, lora=["a.safetensors", {"model_name": "b.safetensors", "weight": 0.5}])
    used = [(lora["model_name"], lora["weight"], lora["enabled"]) for lora in made.members["loras"][:3]]
    assert used == [("a.safetensors", 1.0, True), ("b.safetensors", 0.5, True), ("None", 1.0, True)]


def test_a_picture_may_come_as_a_text_and_as_a_file_at_once(client):
    """Clients send an empty text along; what is no picture, or one too many, is told."""

    def ask(path, **texts):
        parts = {
            "prompt": "a cat",
            "model": "none",
            **texts,
            "image": [texts.get("image", ""), (io.BytesIO(WHITE), "a.png")],
        }
        reply = client.post(path, data=parts)
        return reply.status_code, reply.json["error"]["param"]

    assert ask(EDITS) == ask(VARIATIONS) == ask(EDITS, image="https://example.com/a.png") == (404, "model")
    assert ask(VARIATIONS, image="https://example.com/a.png") == (400, "image")


def test_members_of_a_form_are_texts(app):
    made = translated(app, translation.edit, EditsSchema, image="YQ==", n="2", stream="true", partial_images="1")
    assert made.members["image_number"] == 2 and made.sent["stream"] is True


# --- streams


@pytest.mark.parametrize(("n", "most"), [(1, 0), (1, 3), (2, 2), (3, 1)])
def test_a_stream_has_partial_pictures_and_each_finished_one(server, n, most):
    reply = draw(server, n=n, stream=True, partial_images=most, steps=8, output_format="webp")
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    told = events(reply.body)
    assert all(name == data["type"] for name, data in told)
    finished = [base64.b64decode(data["b64_json"]) for name, data in told if name == "image_generation.completed"]
    assert finished == native(server, image_number=n, overwrite_step=8, output_format="webp")
    partial = [data for name, data in told if name == "image_generation.partial_image"]
    assert len(partial) <= n * most and bool(partial) == bool(most)
    assert {data["partial_image_index"] for data in partial} <= set(range(most))
    for data in partial:
        with Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))) as image:
            assert (image.format, data["size"]) == ("WEBP", "{}x{}".format(*image.size))
    assert told[-1][0] == "image_generation.completed" and told[-1][1]["usage"]["input_tokens"] == 2


def test_partial_pictures_are_evenly_spread_over_the_steps_of_each_picture():
    spread = Spread(3)
    steps = [streams.News(0, "", b"png", step, 20) for _ in range(2) for step in range(1, 21)]
    taken = [(news.step, index) for news in steps if (index := spread.take(news)) is not None]
    assert taken == [(5, 0), (10, 1), (15, 2)] * 2


def test_the_stream_of_a_task_that_fails_ends_with_why(server):
    reply = draw(server, model="broken", stream=True)
    [(name, data)] = events(reply.body) if reply.status == 200 else [("error", reply.json)]
    assert name == "error" and "broken.safetensors" in data["error"]["message"]


def test_the_stream_of_an_edit_has_its_own_names(server):
    reply = send_form(server, EDITS, ("image", png(NOISE)), **BUILTIN, stream="true")
    assert {name for name, _ in events(reply.body)} == {"image_edit.completed"}


# --- clients that go away, and come back


@speaks_sql
@pytest.mark.parametrize("members", [{}, {"stream": True}])
def test_a_client_that_leaves_before_its_task_began_takes_it_back(server, members):
    prompt = f"left before {members}"
    server.ask("POST", "/v1/engine/queue/pause")
    try:
        connection = connected(server, request(prompt=prompt, **members))
        until(server, prompt, "pending")
        connection.close()
        assert until(server, prompt, "history")["task_status"] == "stop"
    finally:
        server.ask("POST", "/v1/engine/queue/resume")


@speaks_sql
def test_a_client_that_can_come_back_for_its_pictures_does_not(server):
    prompt, headers = "comes back", {"Idempotency-Key": "comes-back"}
    server.ask("POST", "/v1/engine/queue/pause")
    try:
        connection = connected(server, request(prompt=prompt), **headers)
        until(server, prompt, "pending")
        connection.close()
    finally:
        server.ask("POST", "/v1/engine/queue/resume")
    task = until(server, prompt, "history")
    reply = server.ask("POST", GENERATIONS, request(prompt=prompt), **headers)
    assert task["task_status"] == "finished" and len(files(reply)) == 1
    assert (reply.headers["X-Task-Id"], reply.headers["Idempotency-Replayed"]) == (task["task_id"], "true")


@speaks_sql
def test_a_client_that_leaves_later_changes_nothing(server):
    prompt = "left later"
    connection = connected(server, request(prompt=prompt, **LONG))
    until(server, prompt, "current", "history")
    connection.close()
    assert until(server, prompt, "history")["task_status"] == "finished"


@speaks_sql
@pytest.mark.parametrize(("status", "then"), [("pending", "stop"), ("running", "running")])
def test_a_server_that_stops_says_so_and_keeps_only_what_was_begun(app, add, status, then):
    waiting, followed = add(status), add(status)
    api = {"name": "openai", "route": "generations"}
    with app.test_request_context():
        left = partial(drawing.take_back, waiting)
        waiter = gevent.spawn(copy_current_request_context(drawing.waited), queue.find(waiting), left)
        task = queue.find(followed)
        task.api = api
        stream = ImageEvents(app, task, 0, {}, partial(drawing.take_back, followed))
        gevent.idle()
        waiters.close(app)
        streams.close(app)
        [(name, data)] = events(b"".join(stream))
        stream.close()
        with pytest.raises(FooocusError, match="stopping"), patience():
            waiter.get()
        assert (name, data["error"]["code"]) == ("error", "engine_unavailable")
        assert {queue.find(task_id).task_status for task_id in (waiting, followed)} == {then}


@speaks_sql
def test_a_task_that_somebody_stops_is_a_409_that_is_not_tried_again(server):
    prompt = "stopped"
    server.ask("POST", "/v1/engine/queue/pause")
    try:
        connection = connected(server, request(prompt=prompt), Connection="close")
        server.ask("POST", f"/tasks/{until(server, prompt, 'pending')['task_id']}/cancel")
        with connection, connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    finally:
        server.ask("POST", "/v1/engine/queue/resume")
    assert head.startswith(b"HTTP/1.1 409") and b"x-should-retry: false" in head and b"X-Task-Id: " in head
    assert json.loads(body)["error"]["code"] == "task_stopped"


def test_a_stream_that_is_asked_for_again_has_the_same_pictures(server):
    headers, body = {"Idempotency-Key": "stream again"}, request(stream=True, n=2)
    first, again = (server.ask("POST", GENERATIONS, body, **headers) for _ in range(2))
    told = [[data["b64_json"] for _, data in events(reply.body)] for reply in (first, again)]
    assert told[0] == told[1] and len(told[0]) == 2
    assert again.headers["Idempotency-Replayed"] == "true"


@speaks_sql
def test_an_idempotency_key_of_another_kind_of_answer_is_refused(server):
    headers = {"Idempotency-Key": "another kind"}
    assert server.ask("POST", GENERATIONS, request(), **headers).status == 200
    reply = server.ask("POST", GENERATIONS, request(response_format="url"), **headers)
    assert reply.status == 400 and "another kind" in reply.json["error"]["message"]


def test_the_members_of_the_small_request_are_those_of_ours():
    assert set(TOY) == {"model", "size", "steps", "seed", "style_selections"}
