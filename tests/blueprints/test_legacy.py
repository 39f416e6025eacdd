"""The predecessor's generation routes: both versions, forms and JSON, and the three kinds of answer."""

import base64
import io
import json
from uuid import UUID

import pytest
from PIL import Image

import fooocus_flask
from fooocus_flask.tasks import queue
from tests.conftest import new_app
from tests.serving import GENERATE, small

TEXT, TEXT_WITH_PROMPTS = "/v1/generation/text-to-image", "/v2/generation/text-to-image-with-ip"
MINI = "fooocus_mini.safetensors"
MULTIPART = "multipart/form-data"
STYLES = ["Fooocus Sharp", "Fooocus Enhance"]


@pytest.fixture(scope="module")
def app(tmp_path_factory, models, empty_database):
    """One application for all tests that draw, so that one engine draws for them."""
    app = new_app(tmp_path_factory.mktemp("instance"), models, empty_database)
    yield app
    fooocus_flask.close(app)


@pytest.fixture(scope="module")
def paused(tmp_path_factory, models, empty_database):
    """Asks an application that takes tasks and draws none."""
    app = new_app(tmp_path_factory.mktemp("paused"), models, empty_database)
    with app.app_context():
        queue.pause()
    yield app.test_client()
    fooocus_flask.close(app)


def png(colour="red", size=(64, 64)):
    """A picture's file, one half of which is grey."""
    image, out = Image.new("RGB", size, colour), io.BytesIO()
    image.paste("grey", (0, 0, size[0] // 2, size[1]))
    image.save(out, "PNG")
    return out.getvalue()


def blue():
    """Another picture."""
    return png("blue")


def mask():
    """A mask whose left half is white."""
    image, out = Image.new("L", (64, 64)), io.BytesIO()
    image.paste(255, (0, 0, 32, 64))
    image.save(out, "PNG")
    return out.getvalue()


def text(data):
    """A picture as a request's text."""
    return base64.b64encode(data).decode()


def file(data):
    """A picture as a form's part."""
    return io.BytesIO(data), "picture.png"


def legacy(**members):
    """A request that is drawn in a tenth of a second, in the predecessor's members."""
    advanced = {"overwrite_step": 2, **members.pop("advanced_params", {})}
    toy = {"base_model_name": "toy.safetensors", "aspect_ratios_selection": "64*64"}
    return {"prompt": "a cat", "style_selections": [], "image_seed": 7, **toy, "advanced_params": advanced, **members}


def form(**members):
    """The same as a form."""
    parts = legacy(**members)
    parts["style_selections"] = ",".join(parts["style_selections"])
    return {name: json.dumps(part) if isinstance(part, dict | list) else part for name, part in parts.items()}


def drawn(client, reply):
    """The picture of an answer's list, and the notes of its task."""
    assert reply.status_code == 200, reply.text
    (made,) = reply.json
    assert made["finish_reason"] == "SUCCESS" and made["base64"] is None and made["seed"] == "7"
    record = client.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    return client.get(made["url"]).data, record


def faults(reply):
    """The places of a 422's faults."""
    assert reply.status_code == 422, reply.text
    return [fault["loc"] for fault in reply.json["detail"]]


UOV = {"base_model_name": MINI, "uov_method": "Vary (Subtle)"}
MIXED = {"mixing_image_prompt_and_vary_upscale": True, "upscale_multiple": 2.0}
PROMPT = {"cn_img": text(png("blue")), "cn_stop": 0, "cn_weight": None, "cn_type": "PyraCanny"}
OURS = {"controlnet_image": [{"cn_img": text(png("blue")), "cn_stop": 0.5, "cn_weight": 1.0, "cn_type": "PyraCanny"}]}
INPAINT = {"inpaint_input_image": text(png()), "inpaint_respective_field": 1.0, "base_model_name": MINI}
SIDES = {"outpaint_selections": ["Left", "Top"], "outpaint_distance": [8, 16, 0, 0]}
OLD_SIDES = {"outpaint_selections": ["Left", "Top"], "outpaint_distance_left": 8, "outpaint_distance_top": 16}
STEP = {"enhance_enabled": True, "enhance_mask_model": "isnet-general-use", "enhance_inpaint_strength": 0.5}
ENHANCE = {
    "enhance_input_image": text(png()),
    "enhance_checkbox": True,
    "save_final_enhanced_image_only": True,
    "enhance_uov_method": "Vary (Strong)",
    "base_model_name": MINI,
}
BY_JSON = {
    "text": (TEXT, {}, {}),
    "text with prompts": (
        TEXT_WITH_PROMPTS,
        {"image_prompts": [{"cn_img": "none"}, PROMPT], "base_model_name": MINI},
        {**OURS, "base_model_name": MINI},
    ),
    "vary": (
        "/v2/generation/image-upscale-vary",
        {**UOV, "input_image": text(png())},
        {**UOV, **MIXED, "uov_input_image": text(png())},
    ),
    "vary with prompts": (
        "/v2/generation/image-upscale-vary",
        {**UOV, "input_image": text(png()), "image_prompts": [PROMPT]},
        {**UOV, **MIXED, **OURS, "uov_input_image": text(png())},
    ),
    "inpaint": (
        "/v2/generation/image-inpaint-outpaint",
        {"input_image": text(png()), "input_mask": text(mask()), "base_model_name": MINI},
        {**INPAINT, "inpaint_mask_image_upload": text(mask()), "mixing_image_prompt_and_inpaint": True},
    ),
    "outpaint": (
        "/v2/generation/image-inpaint-outpaint",
        {"input_image": text(png()), "base_model_name": MINI, **OLD_SIDES, "outpaint_distance_right": None},
        {**INPAINT, **SIDES, "mixing_image_prompt_and_inpaint": True},
    ),
    "prompts": (
        "/v2/generation/image-prompt",
        {"image_prompts": [PROMPT], "base_model_name": MINI},
        {**OURS, "base_model_name": MINI},
    ),
    "prompts with inpaint": (
        "/v2/generation/image-prompt",
        {"image_prompts": [PROMPT], "base_model_name": MINI, "input_image": text(png()), "input_mask": text(mask())},
        {**OURS, **INPAINT, "inpaint_mask_image_upload": text(mask()), "mixing_image_prompt_and_inpaint": True},
    ),
    "enhance": (
        "/v2/generation/image-enhance",
        {"enhance_input_image": text(png()), "enhance_ctrlnets": [], "base_model_name": MINI},
        ENHANCE,
    ),
}
BY_FORM = {
    "text": (TEXT, {"save_meta": "false"}, {}),
    "vary": (
        "/v1/generation/image-upscale-vary",
        {**UOV, "input_image": file},
        {**UOV, "uov_input_image": text(png()), "upscale_multiple": 2.0},
    ),
    "inpaint": (
        "/v1/generation/image-inpaint-outpaint",
        {"input_image": file, "input_mask": mask, "base_model_name": MINI},
        {**INPAINT, "inpaint_mask_image_upload": text(mask())},
    ),
    "outpaint": (
        "/v1/generation/image-inpaint-outpaint",
        {"input_image": file, "base_model_name": MINI, **OLD_SIDES, "outpaint_selections": " Left , Top"},
        {**INPAINT, **SIDES},
    ),
    "prompts": (
        "/v1/generation/image-prompt",
        {"cn_img2": blue, "cn_type2": "PyraCanny", "cn_stop2": "", "image_prompts": "[]", "base_model_name": MINI},
        {**OURS, "base_model_name": MINI},
    ),
    "enhance": (
        "/v1/generation/image-enhance",
        {"enhance_input_image": file, "enhance_uov_method": "Vary (Subtle)", "base_model_name": MINI},
        {**ENHANCE, "enhance_uov_method": "Vary (Subtle)"},
    ),
}


def parameters(client, reply):
    """The parameters of a request's task."""
    assert reply.status_code == 200, reply.text
    return client.get(f"/tasks/{reply.headers['X-Task-Id']}").json["req_params"]


def wants(**members):
    """The same request of our own shape, which is drawn later."""
    return small(async_process=True, **{"inpaint_respective_field": 1.0, **members})


def parts_of(members):
    """A form whose pictures are files."""
    files = {file: png(), mask: mask(), blue: blue()}
    return {name: file(files[part]) if callable(part) else part for name, part in form(**members).items()}


@pytest.mark.parametrize(("path", "old", "new"), BY_JSON.values(), ids=BY_JSON)
def test_json_becomes_a_request_of_our_own(paused, path, old, new):
    reply = paused.post(path, json=legacy(async_process=True, **old))
    ours = paused.post(GENERATE, json=wants(**new))
    assert parameters(paused, reply) == parameters(paused, ours)


@pytest.mark.parametrize(("path", "old", "new"), BY_FORM.values(), ids=BY_FORM)
def test_a_form_becomes_a_request_of_our_own_that_keeps_parameters_out_of_the_files(paused, path, old, new):
    reply = paused.post(path, data=parts_of({"async_process": "true", **old}), content_type=MULTIPART)
    ours = paused.post(GENERATE, json=wants(save_metadata_to_images=False, **new))
    assert parameters(paused, reply) == parameters(paused, ours)


@pytest.mark.parametrize("name", ["text", "text with prompts"])
def test_json_draws_the_same_bytes_as_our_own_route(client, name):
    path, old, new = BY_JSON[name]
    picture, record = drawn(client, client.post(path, json=legacy(**old)))
    ours = client.post(GENERATE, json=small(**new)).json
    assert picture == client.get(ours["result"][0]).data
    assert record["notes"] == ours["notes"]


def test_a_form_draws_the_same_bytes_as_our_own_route(client):
    path, old, new = BY_FORM["vary"]
    picture, _ = drawn(client, client.post(path, data=parts_of(old), content_type=MULTIPART))
    ours = client.post(GENERATE, json=small(save_metadata_to_images=False, **new)).json
    assert picture == client.get(ours["result"][0]).data
    assert "parameters" not in Image.open(io.BytesIO(picture)).info


def test_members_of_every_kind_are_translated(paused):
    advanced = {
        "sampler_name": "euler",
        "overwrite_switch": 0.25,
        "overwrite_step": 8,
        "invert_mask_checkbox": True,
        "inpaint_mask_upload_checkbox": True,
        "clip_skip": 3,
    }
    sent = {"meta_scheme": "a111", "save_extension": "webp", "save_meta": False, "refiner_model_name": ""}
    reply = paused.post(TEXT, json=legacy(async_process=True, advanced_params=advanced, **sent))
    found = parameters(paused, reply)
    assert (found["sampler_name"], found["overwrite_switch"], found["clip_skip"]) == ("euler", 2, 3)
    assert found["invert_mask_checkbox"] is True and found["save_metadata_to_images"] is False
    assert (found["metadata_scheme"], found["output_format"], found["refiner_model_name"]) == ("a1111", "webp", "None")


def test_a_factor_counts_for_upscale_custom_and_is_two_where_none_is_sent(paused):
    sent = {"input_image": text(png()), "uov_method": "Upscale (Custom)", "async_process": True}
    sent |= {"base_model_name": MINI}
    for members, factor in (({}, 2.0), ({"upscale_value": 5}, 5.0), ({"upscale_value": None}, 2.0)):
        reply = paused.post("/v2/generation/image-upscale-vary", json=legacy(**sent, **members))
        assert parameters(paused, reply)["upscale_multiple"] == factor


def test_steps_of_a_form_have_numbers_and_those_of_json_look_for_faces(paused):
    parts = {"enhance_input_image": file, "enhance_enabled_2": "true", "enhance_mask_model_2": "u2netp"}
    reply = paused.post(
        "/v1/generation/image-enhance",
        data=parts_of({**parts, "async_process": "1", "base_model_name": MINI, "enhance_uov_method": "Disabled"}),
        content_type=MULTIPART,
    )
    assert faults(reply) == [["body", "enhance_mask_model_2"]]  # no such file here: told where it was written
    step = {"enhance_enabled": True, "enhance_mask_model": "u2netp"}
    sent = {"enhance_input_image": text(png()), "enhance_ctrlnets": [{}, step, {}, {}], "base_model_name": MINI}
    reply = paused.post("/v2/generation/image-enhance", json=legacy(async_process=True, **sent))
    assert faults(reply) == [["body", "enhance_ctrlnets"]]
    sent["enhance_ctrlnets"][1]["enhance_enabled"] = False
    reply = paused.post("/v2/generation/image-enhance", json=legacy(async_process=True, **sent))
    record = paused.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    steps = record["req_params"]["enhance_ctrls"]
    assert [step["enhance_mask_dino_prompt"] for step in steps] == ["face"] * 3
    assert any("enhance_ctrlnets has 4 steps" in note for note in record["notes"])


def test_a_list_of_pictures_is_the_answer(client):
    reply = client.post(TEXT, json=legacy(image_number=2, require_base64=True, save_extension="jpg"))
    assert [made["seed"] for made in reply.json] == ["7", "8"]
    for number, made in enumerate(reply.json):
        folder, _, name = made["url"].split("/")[-3:]
        assert (folder, name) == ("files", f"{UUID(reply.headers['X-Task-Id'])}-{number}.jpg")
        data = base64.b64decode(made["base64"].removeprefix("data:image/jpeg;base64,"))
        assert data == client.get(made["url"]).data and Image.open(io.BytesIO(data)).format == "JPEG"


@pytest.mark.parametrize(("query", "headers"), [("?accept=image/png", {}), ("", {"Accept": "image/png"})])
def test_one_picture_is_the_answer_where_exactly_png_is_asked_for(client, query, headers):
    reply = client.post(TEXT + query, json=legacy(image_number=3, save_extension="webp"), headers=headers)
    assert (reply.status_code, reply.mimetype) == (200, "image/png")
    assert Image.open(io.BytesIO(reply.data)).format == "PNG"
    assert client.get(f"/tasks/{reply.headers['X-Task-Id']}").json["pictures_done"] == 1


@pytest.mark.parametrize("accept", ["image/jpeg", "image/png;q=0.9", "image/*"])
def test_another_type_of_picture_asks_for_the_list(client, accept):
    for query, header in (("", accept), (f"?accept={accept}", "image/png")):
        reply = client.post(TEXT + query, json=legacy(), headers={"Accept": header})
        assert reply.json[0]["finish_reason"] == "SUCCESS"


def test_names_that_are_unknown_are_left_out_or_replaced_and_noted(make_app, tmp_path):
    instance = tmp_path / "instance"
    instance.mkdir()
    (instance / "config.txt").write_text(json.dumps({"default_model": "toy.safetensors", "default_sampler": "euler"}))
    client = make_app().test_client()
    names = {"sampler_name": "x", "scheduler_name": "y", "refiner_swap_method": "z", "inpaint_engine": "v9"}
    unknown = {
        "style_selections": ["Fooocus Sharp", "No Such Style", "Nor This"],
        "base_model_name": "gone.safetensors",
        "refiner_model_name": "gone too.safetensors",
        "loras": [{"model_name": "lost.safetensors", "weight": 1}, {"enabled": False, "model_name": "off.safetensors"}],
        "advanced_params": {**names, "vae_name": "v.pt"},
    }
    reply = client.post(TEXT, json=legacy(async_process=True, **unknown))
    record = client.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    params, told = record["req_params"], " | ".join(record["notes"])
    assert params["style_selections"] == ["Fooocus Sharp"]
    assert (params["base_model_name"], params["refiner_model_name"]) == ("toy.safetensors", "None")
    assert (params["sampler_name"], params["scheduler_name"]) == ("euler", "karras")
    assert (params["refiner_swap_method"], params["inpaint_engine"]) == ("joint", "v2.6")
    assert params["vae_name"] == "Default (model)"
    assert [lora["model_name"] for lora in params["loras"][:2]] == ["None", "off.safetensors"]
    named = [f"{member} {name}" for member, name in names.items()]
    for words in (*named, "No Such Style, Nor This", "base_model_name gone", "name gone too", "LoRA lost", "v.pt"):
        assert words in told
    ours = client.post(GENERATE, json=small(style_selections=["No Such Style"]))
    assert ours.status_code == 422  # our own routes are as strict as they were


@pytest.mark.parametrize("broken", ["{overwrite_step: 2}", "[]", "7"])
def test_advanced_params_of_a_form_that_are_no_object_count_as_the_defaults(paused, broken):
    parts = {**form(async_process="true"), "advanced_params": broken}
    reply = paused.post(TEXT, data=parts, content_type=MULTIPART)
    record = paused.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    assert record["req_params"]["overwrite_step"] == -1
    assert any("advanced_params" in note for note in record["notes"])


@pytest.mark.parametrize("styles", [", ".join(STYLES), json.dumps(STYLES), STYLES])
@pytest.mark.parametrize("kind", [MULTIPART, "application/x-www-form-urlencoded"])
def test_styles_of_a_form_are_a_text_with_commas_json_or_repeated(paused, styles, kind):
    parts = {**form(async_process="true"), "style_selections": styles, "cn_stop1": ""}
    reply = paused.post("/v1/generation/image-prompt", data=parts, content_type=kind)
    assert parameters(paused, reply)["style_selections"] == STYLES


def test_loras_of_a_form_are_json_and_on_unless_they_say_otherwise(paused):
    loras = [{"model_name": "None", "weight": 0.4}, {"enabled": False, "model_name": "a.safetensors"}]
    reply = paused.post(TEXT, data=form(async_process="true", loras=loras), content_type=MULTIPART)
    found = parameters(paused, reply)["loras"]
    assert [lora["enabled"] for lora in found[:2]] == [True, False] and found[0]["weight"] == 0.4


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_json_is_read_whatever_its_type(paused, kind):
    body = json.dumps(legacy(async_process=True)).encode()
    for path in (TEXT, f"{TEXT}/"):
        reply = paused.post(path, data=body, content_type=kind)
        assert (reply.status_code, reply.json["job_stage"]) == (200, "WAITING")


@pytest.mark.parametrize(
    ("path", "parts", "place"),
    [
        ("image-upscale-vary", {"input_image": file, "uov_method": "Vary"}, "uov_method"),
        ("image-upscale-vary", {"uov_method": "Disabled"}, "input_image"),
        ("image-upscale-vary", {"input_image": file}, "uov_method"),
        ("image-inpaint-outpaint", {"input_image": file, "loras": "["}, "loras"),
        ("image-inpaint-outpaint", {"input_image": file, "outpaint_selections": "Up"}, "outpaint_selections"),
        ("image-prompt", {"cn_stop3": "2"}, "cn_stop3"),
        ("image-prompt", {"cn_img3": "no picture", "cn_type3": "PyraCanny"}, "cn_img3"),
        ("image-enhance", {"enhance_mask_model_2": "u3net"}, "enhance_mask_model_2"),
    ],
)
def test_what_does_not_fit_is_told_at_its_place_in_a_form(paused, path, parts, place):
    reply = paused.post(f"/v1/generation/{path}", data=parts_of(parts), content_type=MULTIPART)
    assert faults(reply)[0][:2] == ["body", place]
    assert reply.json["body"]["prompt"] == "a cat"


def test_what_does_not_fit_is_told_at_its_place_in_json(paused):
    sent = {"image_prompts": [{}, {"cn_img": "no picture"}], "input_image": "nor this"}
    reply = paused.post("/v2/generation/image-prompt", json=legacy(**sent))
    assert faults(reply) == [["body", "input_image"], ["body", "image_prompts", 1, "cn_img"]]
    assert reply.json["body"]["input_image"] == "nor this"
    reply = paused.post(TEXT, json=legacy(advanced_params={"clip_skip": 13}, image_number=33))
    assert sorted(faults(reply)) == [["body", "advanced_params", "clip_skip"], ["body", "image_number"]]
    pair = {"sampler_name": "tcd", "scheduler_name": "edm_playground_v2.5"}
    reply = paused.post(TEXT, json=legacy(advanced_params=pair))
    assert faults(reply) == [["body", "advanced_params", "scheduler_name"]]
    assert faults(paused.post("/v2/generation/image-enhance", json={})) == [["body", "enhance_ctrlnets"]]
    assert faults(paused.post("/v2/generation/image-prompt", json={})) == [["body", "image_prompts"]]


def test_broken_json_and_a_long_body_are_told_back_as_far_as_they_can_be(paused):
    reply = paused.post(TEXT, data=b'{"prompt": ', content_type="application/json")
    assert reply.status_code == 422 and reply.json["body"] == '{"prompt": '
    reply = paused.post(TEXT, json=legacy(prompt="x" * 30_000))
    assert faults(reply) == [["body", "prompt"]] and len(reply.data) < 10_000


def test_a_body_may_be_large_for_its_pictures_only(paused):
    large = "A" * 9 * 1024 * 1024
    sent = {"image_prompts": [{"cn_img": large}], "input_image": ""}
    assert faults(paused.post("/v2/generation/image-prompt", json=legacy(**sent))) == [
        ["body", "image_prompts", 0, "cn_img"]
    ]
    assert paused.post("/v2/generation/image-prompt", json=legacy(image_prompts=[], prompt=large)).status_code == 413


def test_a_full_queue_has_words_of_its_own_in_each_kind_of_answer(make_app):
    app = make_app(QUEUE_LIMIT=1)
    with app.app_context():
        queue.pause()
    client = app.test_client()
    client.post(TEXT, json=legacy(async_process=True))
    full = {"base64": None, "url": None, "seed": "", "finish_reason": "QUEUE_IS_FULL"}
    reply = client.post(TEXT, json=legacy())
    assert (reply.status_code, reply.json) == (200, [full])
    assert client.post("/v2/generation/image-prompt", json=legacy(image_prompts=[], async_process=True)).json == {
        "job_id": "",
        "job_type": "Image Prompt",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": None,
        "job_step_preview": None,
        "job_result": [full],
    }
    reply = client.post(f"{TEXT}?accept=image/png", json=legacy())
    assert (reply.status_code, reply.data) == (409, b"QUEUE_IS_FULL")


def test_every_route_needs_the_key_and_a_file_its_token(make_app):
    app = make_app(API_KEY="secret")
    client = app.test_client()
    routes = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("legacy.")]
    assert len(routes) == 16
    for rule in routes:
        for key in ({}, {"X-API-KEY": "wrong"}):
            reply = client.open(rule.rule, method="POST" if "POST" in rule.methods else "GET", headers=key)
            assert (reply.status_code, reply.json) == (403, {"detail": "Forbidden"})
    url = client.post(TEXT, json=legacy(), headers={"X-API-KEY": "secret"}).json[0]["url"]
    assert client.get(url).status_code == 200
    assert client.get(url.partition("?")[0]).status_code == 403
    assert client.get(url.replace("/files/", "/outputs/")).status_code == 403
    sent = legacy(input_image=url, uov_method="Vary (Subtle)", async_process=True, base_model_name=MINI)
    reply = client.post("/v2/generation/image-upscale-vary", json=sent, headers={"X-API-KEY": "secret"})
    assert reply.status_code == 200  # a result's own address will do for a picture


def test_unknown_members_are_left_out_with_a_note_and_unknown_parameters_without(paused):
    sent = {"promt": "a cat", "async_process": True, "base_model_name": "toy.safetensors"}
    reply = paused.post(f"{TEXT}?acept=image/png", json=sent)
    record = paused.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    assert [note for note in record["notes"] if "'promt'" in note and "prompt" in note]


def test_a_part_without_a_name_is_left_out(paused):
    for path, parts in ((TEXT, form(async_process="true")), (GENERATE, {"prompt": "a cat", "async_process": "1"})):
        parts |= {"": "nothing", "base_model_name": "toy.safetensors"}
        assert paused.post(path, data=parts, content_type=MULTIPART).status_code == 200


def test_what_belongs_to_a_picture_is_left_out_with_a_note_where_there_is_none(paused):
    sent = {"input_image": "", "input_mask": text(mask()), "outpaint_selections": ["Left"], "async_process": True}
    reply = paused.post("/v2/generation/image-inpaint-outpaint", json=legacy(**sent))
    record = paused.get(f"/tasks/{reply.headers['X-Task-Id']}").json
    assert record["req_params"]["outpaint_selections"] == []
    assert len([note for note in record["notes"] if "no picture in input_image" in note]) == 2


def test_the_same_request_with_the_same_idempotency_key_is_one_task(paused):
    headers = {"Idempotency-Key": "legacy"}
    first, second = (paused.post(TEXT, json=legacy(async_process=True), headers=headers) for _ in range(2))
    assert first.json["job_id"] == second.json["job_id"]
