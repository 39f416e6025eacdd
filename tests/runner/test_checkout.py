"""A Fooocus as the engine: the service over a stand-in of a checkout, which a real server starts and hears."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from fooocus_flask.environment import SettingError
from fooocus_flask.model_files.checkout import CheckoutError
from fooocus_flask.runner import checkout_engine
from tests.patience import eventually
from tests.serving import LASTING
from tests.standin import make_standin, standin_server

CONTROL = "/v1/engine/control"
ENHANCED = {"enhance_enabled": True, "enhance_mask_dino_prompt": "face"}
GREY = Image.new("RGB", (8, 8), (200, 200, 200))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, models):
    """A checkout whose config.txt allows two LoRAs."""
    return make_standin(tmp_path_factory.mktemp("there") / "Fooocus", models, default_max_lora_number=2)


@pytest.fixture(scope="module")
def fooocus(tmp_path_factory, checkout, database):
    """A server over it, shared by the tests that leave it as they found it."""
    server = standin_server(tmp_path_factory.mktemp("instance"), checkout, FOOOCUS_ALLOW_PRIVATE_ADDRESSES="1").ready()
    yield server
    server.stop()


def colour(data):
    """The one colour of a picture."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert (pixels == pixels[0, 0]).all()
    return tuple(int(channel) for channel in pixels[0, 0])


def png():
    file = io.BytesIO()
    GREY.save(file, "PNG")
    return file.getvalue()


def put(checkout, *places):
    """Have model files there."""
    for place in places:
        (checkout / "models" / place).write_bytes(b"here")


def refused(server, **members):
    answer = server.draw(members)
    assert answer.status == 422, answer.body
    return {fault["loc"][-1]: fault["msg"] for fault in answer.json["detail"]}


# --- the four answers


def test_a_picture_at_once_is_in_our_folder_with_what_drew_it(fooocus):
    record = fooocus.draw({"image_number": 2}).json
    assert (record["task_status"], record["pictures_done"], record["seed"]) == ("finished", 2, "7")
    assert record["drawn_with"]["fooocus"] == "2.5.5 (stand-in)"
    assert record["drawn_with"]["prompt_tokens"] == 2
    first, second = (fooocus.get("/" + url.split("/", 3)[3]).body for url in record["result"])
    assert colour(first) != colour(second)
    scratch = fooocus.instance / "fooocus" / "0"
    eventually(lambda: not list(scratch.iterdir()), "the scratch folder is not empty", fooocus.process.pid)


def test_image_bytes_are_the_same_for_the_same_request(fooocus):
    answers = [fooocus.draw({"guidance_scale": 3}, Accept="image/png") for _ in range(2)]
    assert answers[0].body == answers[1].body
    other = fooocus.draw({"prompt": "a dog"}, Accept="image/png")
    assert colour(other.body) != colour(answers[0].body)


def test_a_stream_tells_steps_and_previews(fooocus):
    events = fooocus.follow(overwrite_step=60).events()
    assert any("Sampling step" in event["message"] for event in events)
    assert any(event["preview"] for event in events)
    assert (events[-1]["progress"], len(events[-1]["images"])) == (100, 1)


def test_a_task_for_later_is_followed_by_its_id(fooocus):
    record = fooocus.ended(fooocus.submit(prompt="later"))
    assert record["task_status"] == "finished"


def test_a_webhook_hears_of_the_end(fooocus, receiver):
    task_id = fooocus.submit(webhook_url=receiver.url)
    _, _, told = receiver.take()
    assert (told["task_id"], told["task_status"]) == (task_id, "finished")


# --- stop, skip, failures, crashes


def picture_after(stream, number):
    """The number of a picture behind this one, once it is drawn."""
    while True:
        found = re.search(r"image (\d+)/", stream.event()["message"])
        if found and int(found[1]) > number:
            return int(found[1])


def test_stop_keeps_what_is_drawn_and_skip_goes_on(fooocus):
    stream = fooocus.follow(image_number=30, overwrite_step=20)
    second = picture_after(stream, 1)
    assert fooocus.ask("POST", CONTROL, {"action": "skip"}).json["message"] == "task skiped"
    picture_after(stream, second)
    assert fooocus.ask("POST", CONTROL, {"action": "stop"}).json["message"] == "task stoped"
    *_, last = stream.events()
    assert 1 <= len(last["images"]) < 29


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("fail", "Fooocus failed: You have selected a model that is not supported"),
        ("no memory", "Fooocus ran out of memory; a smaller picture"),
        ("end the worker", "the server's log says more"),
    ],
)
def test_a_failure_is_told_in_words_for_the_client(fooocus, prompt, words):
    record = fooocus.ended(fooocus.submit(prompt=prompt))
    assert record["task_status"] == "failed"
    assert words in record["error"]
    assert fooocus.draw({"prompt": "afterwards"}).json["task_status"] == "finished"


def test_a_task_that_kills_the_program_is_tried_again_and_the_next_one_is_drawn(fooocus):
    record = fooocus.ended(fooocus.submit(prompt="die"))
    assert "lost 3 times while it drew this task" in record["error"]
    assert fooocus.draw({"prompt": "afterwards"}).json["task_status"] == "finished"


# --- what that version has and has not


def test_listings_are_the_checkouts(fooocus):
    assert fooocus.get("/v1/engines/styles").json == ["Fooocus V2", "Random Style", "Stand In", "Stand Out"]
    assert fooocus.get("/v1/engines/presets").json == ["initial", "default", "night"]
    assert fooocus.get("/v1/engines/all-models").json["model_filenames"] == ["broken.safetensors", "toy.safetensors"]


def test_defaults_are_its_presets(fooocus):
    body = {"prompt": "a cat", "async_process": True}
    task_id = fooocus.ask("POST", "/v1/engine/generate/", body).json["task_id"]
    record = fooocus.ended(task_id)
    params = record["req_params"]
    assert (params["guidance_scale"], params["style_selections"]) == (5.5, ["Stand In"])
    assert (params["base_model_name"], params["aspect_ratios_selection"]) == ("toy.safetensors", "128×64")
    assert fooocus.ended(fooocus.submit(preset="night"))["req_params"]["guidance_scale"] == 9.0


def test_what_it_has_not_is_refused_by_name(fooocus):
    assert "and has nothing for sharpness" in refused(fooocus, sharpness=9.0)["sharpness"]
    given = {"uov_input_image": base64.b64encode(png()).decode(), "uov_method": "Upscale (Custom)"}
    assert "choose Upscale (1.5x)" in refused(fooocus, **given)["uov_method"]
    assert (
        "there are broken.safetensors"
        in refused(fooocus, base_model_name="fooocus_mini.safetensors")["base_model_name"]
    )


def test_more_loras_than_it_takes_are_left_out_with_a_note(fooocus, checkout):
    names = ["one.safetensors", "two.safetensors", "three.safetensors"]
    for name in names:
        (checkout / "models" / "loras" / name).write_bytes(
            (checkout / "models" / "checkpoints" / "broken.safetensors").read_bytes()
        )
    try:
        loras = [{"enabled": True, "model_name": name, "weight": 0.5} for name in names]
        notes = fooocus.draw({"loras": loras}).json["notes"]
    finally:
        for name in names:
            (checkout / "models" / "loras" / name).unlink()
    assert any(
        "Of loras the last 1 are left out: this Fooocus takes 2, as default_max_lora_number" in note for note in notes
    )


def test_a_file_that_fooocus_always_needs_is_asked_for(fooocus, checkout):
    path = checkout / "models" / "vae_approx" / "xlvaeapp.pth"
    path.unlink()
    try:
        assert "needs the model file xlvaeapp.pth" in refused(fooocus)["base_model_name"]
    finally:
        path.write_bytes(b"here")


# --- pictures that come in


def test_pictures_of_every_kind_reach_it(fooocus, checkout):
    put(checkout, "controlnet/control-lora-canny-rank128.safetensors", "upscale_models/fooocus_upscaler_s409985e5.bin")
    put(checkout, "inpaint/fooocus_inpaint_head.pth", "inpaint/inpaint_v26.fooocus.patch")
    put(checkout, "sam/sam_vit_b_01ec64.pth", "inpaint/groundingdino_swint_ogc.pth")
    given = base64.b64encode(png()).decode()
    plain = fooocus.draw(Accept="image/png").body
    control = {"cn_img": given, "cn_type": "PyraCanny"}
    kinds = [
        {"uov_input_image": given, "uov_method": "Vary (Subtle)"},
        {"inpaint_input_image": given, "inpaint_mask_image_upload": given},
        {"controlnet_image": [control]},
        {"enhance_input_image": given, "enhance_checkbox": True, "enhance_ctrls": [ENHANCED]},
    ]
    answers = [fooocus.draw(members, Accept="image/png") for members in kinds]
    assert [answer.status for answer in answers] == [200] * 4, answers
    assert len({colour(plain), *(colour(answer.body) for answer in answers)}) == 5


def test_enhanced_pictures_alone_are_kept_where_that_is_asked(fooocus, checkout):
    put(checkout, "sam/sam_vit_b_01ec64.pth", "inpaint/groundingdino_swint_ogc.pth")
    put(checkout, "inpaint/fooocus_inpaint_head.pth", "inpaint/inpaint_v26.fooocus.patch")
    put(checkout, "upscale_models/fooocus_upscaler_s409985e5.bin")
    members = {"enhance_checkbox": True, "enhance_ctrls": [ENHANCED]}
    assert len(fooocus.draw(members).json["result"]) == 2
    assert len(fooocus.draw(members | {"save_final_enhanced_image_only": True}).json["result"]) == 1


def test_a_grid_is_kept_too(fooocus):
    result = fooocus.draw({"image_number": 2, "generate_image_grid": True}).json["result"]
    assert len(result) == 3


def test_masks_and_descriptions_are_its_own(fooocus, checkout):
    put(checkout, "clip_vision/model_base_caption_capfilt_large.pth", "inpaint/isnet-general-use.onnx")
    image = base64.b64encode(png()).decode()
    described = fooocus.ask("POST", "/v1/tools/describe-image?image_type=Photo", {"image": image})
    assert described.json == {"describe": "a field of light"}
    mask = fooocus.ask("POST", "/v1/tools/generate_mask", {"image": image, "mask_model": "isnet-general-use"})
    assert mask.status == 200, mask.body


def test_a_mask_does_not_wait_for_the_task_under_way_and_a_caption_does(fooocus, checkout):
    put(checkout, "clip_vision/model_base_caption_capfilt_large.pth", "inpaint/isnet-general-use.onnx")
    image = base64.b64encode(png()).decode()
    stream = fooocus.follow(image_number=30, **LASTING)
    stream.until("Sampling step")
    mask = fooocus.ask("POST", "/v1/tools/generate_mask", {"image": image, "mask_model": "isnet-general-use"})
    assert mask.status == 200, mask.body
    assert fooocus.ask("POST", CONTROL, {"action": "stop"}).json["message"] == "task stoped"
    *_, last = stream.events()
    assert len(last["images"]) < 30
    task_id = fooocus.submit(overwrite_step=60)
    described = fooocus.ask("POST", "/v1/tools/describe-image?image_type=Photo", {"image": image})
    assert described.json == {"describe": "a field of light"}
    assert fooocus.get(f"/tasks/{task_id}").json["pictures_done"] == 1


def test_metadata_are_embedded_by_it_and_told_on_the_page_of_the_day(fooocus):
    record = fooocus.draw({"save_metadata_to_images": True}).json
    path = "/".join(record["result"][0].split("?")[0].split("/")[-2:])
    with Image.open(fooocus.instance / "outputs" / path) as image:
        assert json.loads(image.text["parameters"])["version"] == "stand-in"
    assert "stand-in" in (fooocus.instance / "outputs" / path).with_name("log.html").read_text("utf-8")


def test_models_are_dropped_and_come_back(fooocus):
    assert fooocus.ask("GET", "/v1/engines/clean_vram").status == 200
    fooocus.said("all models are unloaded")
    assert fooocus.draw().json["task_status"] == "finished"


# --- starting


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("modules/async_worker.py", None, "which is no Fooocus: it has no modules/async_worker.py"),
        ("modules/async_worker.py", "class AsyncTask: pass", "no class AsyncTask"),
        ("webui.py", "", "its tasks ask for translate_prompts, which no request has"),
    ],
)
def test_a_checkout_that_cannot_draw_is_refused_at_the_start(make_app, tmp_path, models, file, content, words):
    root = make_standin(tmp_path / "Fooocus", models)
    if content is None:
        (root / file).unlink()
    else:
        (root / file).write_text(content)
    with pytest.raises(CheckoutError, match=words):
        make_app(PATH=str(root), MODELS_PATH="models")


def test_its_own_python_runs_it_unless_another_is_named(make_app, tmp_path, models):
    root = make_standin(tmp_path / "Fooocus", models)
    own = root / "venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    app = make_app(PATH=str(root), MODELS_PATH="models")
    assert app.extensions["fooocus-checkout"].python == str(own)
    with pytest.raises(CheckoutError, match="FOOOCUS_PYTHON is 'no-such-python'"):
        make_app(PATH=str(root), MODELS_PATH="models", PYTHON="no-such-python")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PATH": 5}, "FOOOCUS_PATH is 5; give a path, such as /opt/Fooocus"),
        ({"PYTHON": 3}, "FOOOCUS_PYTHON is 3; give a path"),
        ({"PYTHON": "python3"}, "FOOOCUS_PYTHON is 'python3', and there is no Fooocus for it to run; give"),
    ],
    ids=str,
)
def test_a_fooocus_is_asked_for_by_its_folder(make_app, settings, words):
    with pytest.raises(SettingError, match=words):
        make_app(**settings)


def test_settings_are_its_flags(make_app, tmp_path, models):
    root = make_standin(tmp_path / "Fooocus", models)
    settings = {"MEMORY_PLAN": "alone", "UNET_STORAGE": "fp8_e4m3fn", "DEVICE": "cpu"}
    app = make_app(PATH=str(root), MODELS_PATH="models", **settings)
    told = checkout_engine.flags(app, 1)
    assert told == ["--always-low-vram", "--unet-in-fp8-e4m3fn", "--always-cpu", "1"]
