"""AUTOMATIC1111's routes: what clients send becomes a task like any other, and they read what they know."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blueprints.sdapi import answers, group, options, translation
from engine.files.hashes import HashCache
from engine.images import a1111
from fooocus_flask.access import keys
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.submission import parsing
from fooocus_flask.submission.prepare import catalogue
from schemas.other_apis.sdapi import TextToImageSchema
from tests.serving import LASTING
from tests.toy import toy_params

speaks_sql = pytest.mark.sql("blueprints/sdapi/options", "tables")

API = "/sdapi/v1"
SEQUENCES = sorted((Path(__file__).parent / "sdapi_sequences").glob("*.json"))
TINY = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 7}
BUILTIN = {"override_settings": {"sd_model_checkpoint": "fooocus_mini.safetensors"}}


def text_of(picture: Image.Image) -> str:
    """The picture as a client sends it."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def picture_of(text: str) -> np.ndarray:
    """The pixels of a picture in an answer."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


def draw(server, route="txt2img", **members):
    """The answer to a small request."""
    return server.ask("POST", f"{API}/{route}", TINY | members)


def basic(secret, user="anybody"):
    """The header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture
def server(server):
    """The shared server with the toy checkpoint chosen."""
    server.ask("POST", f"{API}/options", {"sd_model_checkpoint": "toy.safetensors"})
    yield server
    server.ask("POST", f"{API}/options", {"sd_model_checkpoint": ""})


@pytest.fixture
def add_key(app):
    """Makes a key; the header that carries it."""

    def add(name, *scopes):
        with app.app_context():
            return basic(keys.add(name, scopes or ("read", "draw")), name)

    return add


@pytest.fixture
def translated(app):
    """What becomes of a request for pictures."""

    def translate(options=None, **members):
        with app.test_request_context():
            return translation.text_to_image(TextToImageSchema().load(members), options or {}, catalogue())

    return translate


@pytest.fixture
def faults(translated):
    """What is wrong with a request: the members, and all texts in one."""

    def refused(**members):
        with pytest.raises(InvalidRequest) as caught:
            translated(**members)
        return [fault.loc[1] for fault in caught.value.faults], " ".join(fault.msg for fault in caught.value.faults)

    return refused


# --- what there is


def test_models_have_titles_that_options_name(client):
    models = client.get(f"{API}/sd-models").json
    assert [model["model_name"] for model in models] == ["broken", "toy", "fooocus_mini"]
    assert client.get(f"{API}/options").json["sd_model_checkpoint"] in [model["title"] for model in models]
    assert "forge_preset" not in client.get(f"{API}/options").json


def test_a_known_hash_stands_in_the_title_and_the_title_is_taken_back_with_and_without_it(app, client, models):
    hash = HashCache(Path(app.instance_path) / "hash_cache.txt").hash(models / "checkpoints" / "toy.safetensors")
    title = f"toy.safetensors [{hash}]"
    assert title in [model["title"] for model in client.get(f"{API}/sd-models").json]
    for name in (title, "toy.safetensors", "toy"):
        assert client.post(f"{API}/options", json={"sd_model_checkpoint": name}).json is None
        assert client.get(f"{API}/options").json["sd_model_checkpoint"] == title


def test_each_sampler_and_schedule_is_listed_once_and_taken_back(client, translated):
    samplers = [sampler["name"] for sampler in client.get(f"{API}/samplers").json]
    schedulers = client.get(f"{API}/schedulers").json
    assert len(set(samplers)) == len(samplers) and {"Euler a", "DPM++ 3M SDE", "heunpp2"} <= set(samplers)
    assert schedulers[0]["name"] == "automatic" and {"turbo", "lcm", "tcd"} <= {entry["name"] for entry in schedulers}
    for name in samplers:
        own = translated(sampler_name=name).members["sampler_name"]
        assert a1111.SAMPLER_LABELS.get(own, own) == name
    for entry in schedulers[1:]:
        for name in (entry["name"], entry["label"]):
            assert translated(scheduler=name).members["scheduler_name"] == entry["name"]


def test_the_other_lists_have_what_clients_read(client):
    assert [upscaler["name"] for upscaler in client.get(f"{API}/upscalers").json] == ["None", "Fooocus"]
    assert client.get(f"{API}/latent-upscale-modes").json == client.get(f"{API}/sd-vae").json == []
    assert client.get(f"{API}/loras").json == []
    styles = {style["name"]: style for style in client.get(f"{API}/prompt-styles").json}
    assert "{prompt}" in styles["SAI Anime"]["prompt"] and styles["Fooocus V2"]["prompt"] == ""


def test_what_is_not_served_is_a_404_that_lists_what_is(app, client):
    refused = client.get(f"{API}/cmd-flags")
    assert refused.status_code == 404
    with app.test_request_context():
        served = group.routes()
    assert len(served) == 17
    assert all(f"{method} {path}" in refused.json["detail"] for path, methods in served.items() for method in methods)
    assert client.post("/sdapi/v1/unload-checkpoint").status_code == 404
    wrong = client.get(f"{API}/txt2img")
    assert (wrong.status_code, set(wrong.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert "sdapi" not in client.get("/elsewhere").json["detail"]


# --- keys and options


def test_the_password_of_http_basic_is_the_key_on_these_routes_alone(client, add_key):
    header = add_key("anna")
    assert client.get(f"{API}/options", headers=header).status_code == 200
    assert client.get("/tasks", headers=header).status_code == 403
    for headers in ({}, basic("fk_wrong"), {"Authorization": "Basic !"}, {"Authorization": "Basic"}):
        refused = client.get(f"{API}/options", headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
        assert "password of HTTP Basic" in refused.json["detail"]


def test_a_password_that_a_browser_remembers_opens_nothing_to_pages_of_other_sites(client, add_key):
    foreign = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    header = add_key("anna")
    assert client.post(f"{API}/options", json={}, headers=header | foreign).status_code == 403
    assert client.post(f"{API}/options", json={}, headers=header).status_code == 200
    secret = base64.b64decode(header["Authorization"].split()[1]).decode().partition(":")[2]
    assert client.post(f"{API}/options", json={}, headers={"X-API-KEY": secret} | foreign).status_code == 200


def test_a_key_may_do_here_what_it_may_do_elsewhere(client, add_key):
    reader = add_key("reader", "read")
    assert client.get(f"{API}/sd-models", headers=reader).status_code == 200
    refused = client.post(f"{API}/txt2img", headers=reader, json={})
    assert refused.status_code == 403 and "lacks the scope draw" in refused.json["detail"]


@speaks_sql
def test_two_keys_switch_models_without_seeing_each_other(client, add_key):
    anna, ben = add_key("anna"), add_key("ben")
    for headers, name in ((anna, "fooocus_mini.safetensors"), (ben, "toy.safetensors")):
        chosen = {"sd_model_checkpoint": name, "CLIP_stop_at_last_layers": len(name) % 12 + 1}
        assert client.post(f"{API}/options", headers=headers, json=chosen).json is None
    for headers, name in ((anna, "fooocus_mini.safetensors"), (ben, "toy.safetensors")):
        told = client.get(f"{API}/options", headers=headers).json
        assert told["sd_model_checkpoint"] == name and told["CLIP_stop_at_last_layers"] == len(name) % 12 + 1


@speaks_sql
def test_options_may_come_back_whole_with_any_others(client):
    whole = client.get(f"{API}/options").json
    assert client.post(f"{API}/options", json=whole | {"live_previews": {"a": [1]}, "sd_vae": None}).json is None
    assert client.get(f"{API}/options").json == whole
    assert client.post(f"{API}/options", json={"samples_format": "WEBP"}).json is None
    assert client.get(f"{API}/options").json == whole | {"samples_format": "webp"}


def test_an_option_that_names_no_file_is_refused_with_those_there_are(client):
    refused = client.post(f"{API}/options", json={"sd_model_checkpoint": "v1-5.ckpt", "sd_vae": "kl.pt"})
    assert refused.status_code == 422
    assert [fault["loc"][1] for fault in refused.json["detail"]] == ["sd_model_checkpoint", "sd_vae"]
    assert "toy.safetensors" in refused.json["detail"][0]["msg"] and "Automatic" in refused.json["detail"][1]["msg"]


@speaks_sql
def test_the_options_of_a_removed_key_are_forgotten(app, client, add_key):
    client.post(f"{API}/options", headers=add_key("anna"), json={"samples_format": "jpg"})
    add_key("other")
    with app.app_context():
        keys.revoke("anna")
        keys.remove("anna")
    assert client.get(f"{API}/options", headers=add_key("anna")).json["samples_format"] == "png"


def test_without_a_choice_the_first_checkpoint_draws_where_the_servers_own_is_missing(app):
    with app.test_request_context():
        there, own = catalogue(), options.standing("base_model_name")
        assert options.model({}, there) == "broken.safetensors"
        assert own in options.note_on("broken.safetensors", {})[0] and options.note_on(own, {}) == []
        chosen = {"sd_model_checkpoint": "toy"}
        assert options.model(chosen, there) == "toy.safetensors" and options.note_on("toy.safetensors", chosen) == []
        assert options.model({"sd_model_checkpoint": "gone.safetensors"}, there) == "gone.safetensors"


# --- the translation


def test_members_have_our_names(translated):
    made = translated(
        prompt="a cat",
        negative_prompt="dogs",
        styles=["SAI Anime"],
        seed=5,
        steps="20",
        cfg_scale="6.5",
        width=520,
        height=768,
        batch_size=2,
        n_iter=3,
        refiner_checkpoint="toy",
        refiner_switch_at=0.8,
        clip_skip=1,
        override_settings={"sd_model_checkpoint": "toy [0123456789]", "sd_vae": "Automatic", "samples_format": "jpg"},
    )
    assert made.members == {
        "prompt": "a cat",
        "negative_prompt": "dogs",
        "style_selections": ["SAI Anime"],
        "image_seed": 5,
        "overwrite_step": 20,
        "guidance_scale": 6.5,
        "overwrite_width": 520,
        "overwrite_height": 768,
        "image_number": 6,
        "refiner_model_name": "toy.safetensors",
        "refiner_switch": 0.8,
        "clip_skip": 1,
        "base_model_name": "toy.safetensors",
        "vae_name": "Default (model)",
        "output_format": "jpg",
        "metadata_scheme": "a1111",
    }
    assert made.notes == [] and made.settled == {}


def test_what_is_absent_or_null_has_defaults_of_its_own(translated):
    made = translated(prompt=None, seed=None, styles=None, sampler_name=None, override_settings=None)
    assert made.members["style_selections"] == [] and made.members["image_number"] == 1
    assert (made.members["overwrite_width"], made.members["overwrite_height"]) == (1024, 1024)
    assert made.members.keys().isdisjoint({"sampler_name", "scheduler_name", "overwrite_step", "guidance_scale"})
    assert 0 <= made.settled["image_seed"] < 2**32


@pytest.mark.parametrize(
    ("sampler", "schedule", "own"),
    [
        ("Euler a", "Automatic", ("euler_ancestral", "normal")),
        ("DPM++ 2M", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE", "Automatic", ("dpmpp_2m_sde_gpu", "exponential")),
        ("DPM++ 3M SDE", "sgm_uniform", ("dpmpp_3m_sde_gpu", "sgm_uniform")),
        ("DPM++ 2M Karras", "automatic", ("dpmpp_2m", "karras")),
        ("DPM++ SDE Exponential", None, ("dpmpp_sde_gpu", "exponential")),
        ("Euler", "DDIM", ("euler", "ddim_uniform")),
        ("dpmpp_2m_sde", "Uniform", ("dpmpp_2m_sde", "normal")),
    ],
)
def test_samplers_and_schedules_go_by_their_labels(translated, sampler, schedule, own):
    made = translated(sampler_name=sampler, scheduler=schedule, sampler_index="Heun")
    assert (made.members["sampler_name"], made.members["scheduler_name"]) == own


def test_an_older_name_counts_where_the_newer_is_absent(translated):
    assert translated(sampler_index="Heun").members["sampler_name"] == "heun"


def test_a_request_goes_before_the_callers_options(translated):
    chosen = {"sd_model_checkpoint": "fooocus_mini.safetensors", "CLIP_stop_at_last_layers": 3}
    members = translated(chosen, override_settings={"sd_model_checkpoint": "toy"}).members
    assert (members["base_model_name"], members["clip_skip"]) == ("toy.safetensors", 3)
    assert translated(chosen, clip_skip=2).members["clip_skip"] == 2


def test_what_has_no_counterpart_is_named_unless_it_asks_for_nothing(translated):
    silent = {"subseed": -1, "restore_faces": False, "s_noise": 1, "hr_scheduler": "x", "alwayson_scripts": {}}
    assert translated(**silent, script_args=[], save_images=True).notes == []
    made = translated(restore_faces=True, mine={"a": 1}, override_settings={"eta_noise": 3}, width=70)
    assert made.notes == [
        "width 70 is rounded down to 64, a multiple of 8",
        "Not applied, since nothing here does the same: 'mine', 'restore_faces', 'override_settings.eta_noise'",
    ]


def test_hires_is_an_upscale_of_the_result_and_says_so(translated):
    made = translated(enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.4, hr_sampler_name="x")
    assert made.members["enhance_uov_method"] == "Upscale (Custom)" and made.members["upscale_multiple"] == 1.5
    assert made.members["overwrite_upscale_strength"] == 0.4 and made.members["save_final_enhanced_image_only"]
    assert [note.split(":")[0] for note in made.notes] == [
        "Enlarged by the upscaler Fooocus",
        "enable_hr",
        "Not applied, since nothing here does the same",
    ]
    assert translated(enable_hr=True, hr_resize_x=1536).members["upscale_multiple"] == 1.5


def test_all_faults_are_told_at_the_members_that_were_sent(faults):
    members, texts = faults(
        sampler_name="PLMS",
        batch_size=8,
        n_iter=5,
        script_name="x/y/z plot",
        alwayson_scripts={"ADetailer": {"args": [True]}, "Sag": {"args": [False]}},
        enable_hr=True,
        hr_resize_y=30000,
    )
    assert members == ["sampler_name", "n_iter", "alwayson_scripts", "script_name", "hr_resize_x"]
    assert "DPM++ 3M SDE" in texts and "enhance_ctrls" in texts and "controlnet_image" in texts
    assert faults(scheduler="KL Optimal")[0] == ["scheduler"]
    assert faults(enable_hr=True, denoising_strength=0)[0] == ["denoising_strength"]
    assert "controlnet_image" in faults(alwayson_scripts={"controlnet": {"args": [{}]}})[1]


def test_the_schemas_own_bounds_hold(client):
    refused = client.post(f"{API}/txt2img", json={"steps": 0, "cfg_scale": "x", "width": 9000, "override_settings": 3})
    assert refused.status_code == 422
    assert {fault["loc"][1] for fault in refused.json["detail"]} == {"steps", "cfg_scale", "width", "override_settings"}


def test_faults_found_later_are_told_at_the_members_that_were_sent(client):
    sent = {"prompt": "a cat", "override_settings": {"sd_model_checkpoint": "gone"}, "refiner_checkpoint": "away"}
    refused = client.post(f"{API}/txt2img", json=sent)
    assert refused.status_code == 422
    assert [fault["loc"][1] for fault in refused.json["detail"]] == ["sd_model_checkpoint", "refiner_checkpoint"]


def test_a_picture_that_cannot_be_enlarged_here_is_refused_at_the_member_that_asks_for_it(make_app):
    client = make_app(MAX_PIXELS=5000).test_client()
    sent = {"image": text_of(Image.new("RGB", (32, 32), "red")), "resize_mode": 1, "upscaling_resize_w": 96}
    refused = client.post(f"{API}/extra-single-image", json=sent)
    assert refused.status_code == 422
    assert {fault["loc"][1] for fault in refused.json["detail"]} == {"upscaling_resize"}
    refused = client.post(f"{API}/extra-single-image", json=sent | {"upscaling_resize_w": 3200})
    assert "1 to 5 times as large, not 100 times" in refused.json["detail"][0]["msg"]


def test_a_picture_is_needed_to_start_from(client):
    for pictures in ([], [""], ["x", "y"], ["no picture"]):
        refused = client.post(f"{API}/img2img", json={"init_images": pictures})
        assert refused.status_code == 422 and refused.json["detail"][0]["loc"][1] == "init_images", pictures


def test_a_large_picture_is_no_large_body(client, monkeypatch):
    monkeypatch.setattr(parsing, "MOST_WITHOUT_PICTURES", 1000)
    large = base64.b64encode(bytes(2000)).decode()
    for members in ({"init_images": [large]}, {"init_images": ["x"], "mask": large}):
        assert client.post(f"{API}/img2img", json=members).status_code == 422
    assert client.post(f"{API}/img2img", json={"init_images": ["x"], "mine": large}).status_code == 413


# --- the caller's own task


@speaks_sql
def test_progress_is_of_the_callers_own_task(client, add, add_key):
    anna, ben = add_key("anna"), add_key("ben")
    task_id = add("running", key_name="anna", params={"image_number": 3}, start_mills=1_720_000_000_000)
    own = client.get(f"{API}/progress", headers=anna).json
    assert (own["state"]["job"], own["state"]["job_count"]) == (task_id, 3) and len(own["state"]["job_timestamp"]) == 14
    idle = client.get(f"{API}/progress", headers=ben).json
    assert (idle["progress"], idle["state"]["job"], idle["state"]["job_count"]) == (0.0, "", 0)
    for route in ("interrupt", "skip"):
        assert client.post(f"{API}/{route}", headers=ben).json == {}
    assert not client.get(f"{API}/progress", headers=anna).json["state"]["interrupted"]
    assert client.post(f"{API}/interrupt", headers=anna).json == {}
    assert client.get(f"{API}/progress", headers=anna).json["state"]["interrupted"]


@speaks_sql
def test_of_several_tasks_that_run_the_callers_own_is_told_and_stopped(client, add, add_key):
    anna, ben = add_key("anna"), add_key("ben")
    others = add("running", key_name="anna", start_mills=1)
    own = add("running", key_name="ben", start_mills=2)
    assert client.get(f"{API}/progress", headers=ben).json["state"]["job"] == own
    assert client.post(f"{API}/interrupt", headers=ben).json == {}
    states = {
        job: client.get(f"{API}/progress", headers=key).json["state"] for job, key in ((others, anna), (own, ben))
    }
    assert [states[job]["interrupted"] for job in (others, own)] == [False, True]


def test_progress_and_interruption_of_a_task_that_draws(server):
    stream = server.follow(**LASTING)
    stream.until("Sampling step")
    now = server.get(f"{API}/progress").json
    assert 0 < now["progress"] < 1
    assert 0 < now["state"]["sampling_step"] < now["state"]["sampling_steps"] == LASTING["overwrite_step"]
    assert now["state"]["job_count"] == 1 and now["textinfo"].startswith("Sampling step")
    assert server.get(f"{API}/progress?skip_current_image=true").json["current_image"] is None
    assert server.ask("POST", f"{API}/interrupt").json == {}
    stream.events()
    record = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
    assert record["task_status"] == "stop"
    assert server.get(f"{API}/progress").json["state"]["job_count"] == 0


# --- drawing


def test_the_same_request_gives_the_same_bytes_as_by_our_own_route(server):
    drawn = draw(server, sampler_name="Euler a", scheduler="Karras", cfg_scale=6, batch_size=2)
    own = server.draw(
        {
            "overwrite_width": 64,
            "overwrite_height": 64,
            "image_number": 2,
            "sampler_name": "euler_ancestral",
            "scheduler_name": "karras",
            "guidance_scale": 6,
            "metadata_scheme": "a1111",
        }
    ).json
    files = [server.get(url.removeprefix(f"http://127.0.0.1:{server.port}")).body for url in own["result"]]
    assert [base64.b64decode(image) for image in drawn.json["images"]] == files
    sent = server.get(f"/tasks/{drawn.headers['X-Task-Id']}").json["req_params"]
    assert {member for member in sent if sent[member] != own["req_params"][member]} == {"aspect_ratios_selection"}


def test_info_is_json_as_a_text_with_what_each_picture_tells(server):
    drawn = draw(server, batch_size=2, sampler_name="DPM++ 2M", negative_prompt="dogs", mine=1)
    assert drawn.json["parameters"] == TINY | {
        "batch_size": 2,
        "sampler_name": "DPM++ 2M",
        "negative_prompt": "dogs",
        "mine": 1,
    }
    told = drawn.json["info"]
    assert isinstance(told, str)
    info = json.loads(told)
    assert (info["seed"], info["all_seeds"], info["steps"], info["sampler_name"]) == (7, [7, 8], 2, "DPM++ 2M")
    assert (info["width"], info["height"], info["sd_model_name"]) == (64, 64, "toy")
    for text, image in zip(info["infotexts"], drawn.json["images"], strict=True):
        assert Image.open(io.BytesIO(base64.b64decode(image))).info["parameters"] == text
        assert text.startswith("a cat\nNegative prompt: dogs\nSteps: 2, Sampler: DPM++ 2M Karras, Seed: ")
    assert any("'mine'" in note for note in info["notes"])


def test_a_picture_without_metadata_is_told_from_what_was_asked_for():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    told = answers.infotext(toy_params(negative_prompt="dogs"), out.getvalue(), 1)
    assert told.startswith(
        "a red cat\nNegative prompt: dogs\nSteps: 3, Sampler: DPM++ 2M SDE Karras, Seed: 8, Size: 128x96"
    )


def test_pictures_may_stay_on_the_server_and_have_another_format(server):
    drawn = draw(server, send_images=False)
    assert drawn.json["images"] == [] and json.loads(drawn.json["info"])["infotexts"]
    image = draw(server, override_settings={"samples_format": "jpg"}).json["images"][0]
    assert Image.open(io.BytesIO(base64.b64decode(image))).format == "JPEG"


@speaks_sql
def test_a_wished_id_is_the_tasks_if_it_is_one_and_fresh(server):
    wished = "0123456789abcdef" * 2
    drawn = draw(server, force_task_id=wished)
    assert drawn.headers["X-Task-Id"] == wished
    assert server.get(f"/tasks/{wished}").json["req_params"]["prompt"] == "a cat"
    for again in (wished, "task(abc)"):
        drawn = draw(server, force_task_id=again)
        assert drawn.headers["X-Task-Id"] != wished
        assert any("force_task_id is not used" in note for note in json.loads(drawn.json["info"])["notes"])


@speaks_sql
def test_options_of_one_request_stay_where_it_says_so(server):
    chosen = {"samples_format": "webp"}
    draw(server, override_settings=chosen)
    assert server.get(f"{API}/options").json["samples_format"] == "png"
    draw(server, override_settings=chosen, override_settings_restore_afterwards=False)
    assert server.get(f"{API}/options").json["samples_format"] == "webp"
    assert server.ask("POST", f"{API}/options", {"samples_format": "png"}).json is None


def test_the_mask_redraws_what_is_white_and_inverted_what_is_black(server):
    picture, mask = Image.new("RGB", (96, 96), (10, 200, 30)), Image.new("L", (96, 96), 0)
    mask.paste(255, (0, 0, 48, 96))
    before = np.asarray(picture).astype(int)
    sent = {"init_images": [text_of(picture)], "mask": text_of(mask), "steps": 1, **BUILTIN}
    changed = []
    for invert in (0, 1):
        drawn = draw(server, "img2img", **sent, inpainting_mask_invert=invert)
        assert drawn.status == 200, drawn.body
        difference = np.abs(picture_of(drawn.json["images"][0]) - before).max(axis=2)
        ends = difference[:, :16], difference[:, -16:]  # the mask's soft edge reaches 31 pixels to either side of it
        changed.append(tuple(bool((end > 8).any()) for end in ends))
    assert changed == [(True, False), (False, True)]


def test_a_picture_is_varied_and_the_answer_tells_it_back_only_if_asked(server):
    start = text_of(Image.new("RGB", (64, 64), "red"))
    drawn = draw(server, "img2img", init_images=[start], denoising_strength=0.5, steps=1)
    assert drawn.status == 200, drawn.body
    info = json.loads(drawn.json["info"])
    assert info["denoising_strength"] == 0.5 and any("own shape" in note for note in info["notes"])
    assert "init_images" not in drawn.json["parameters"]


def test_a_picture_is_enlarged(server):
    server.ask("POST", f"{API}/options", {"sd_model_checkpoint": "fooocus_mini.safetensors"})
    sent = {"image": text_of(Image.new("RGB", (32, 32), "red")), "upscaling_resize": 2, "upscaler_1": "R-ESRGAN 4x+"}
    made = server.ask("POST", f"{API}/extra-single-image", sent)
    assert made.status == 200, made.body
    assert picture_of(made.json["image"]).shape == (1024, 1024, 3)
    assert "R-ESRGAN 4x+ is not here" in made.json["html_info"]
    refused = server.ask("POST", f"{API}/extra-single-image", sent | {"upscaler_1": "None"})
    assert refused.status == 422 and refused.json["detail"][0]["loc"] == ["body", "upscaler_1"]


def test_a_picture_tells_its_parameters_and_what_it_shows(server):
    image = draw(server).json["images"][0]
    told = server.ask("POST", f"{API}/png-info", {"image": f"data:image/png;base64,{image}"}).json
    assert told["info"] == told["items"]["parameters"]
    assert told["parameters"]["Prompt"] == "a cat" and told["parameters"]["Seed"] == "7"
    plain = text_of(Image.new("RGB", (32, 32), "red"))
    assert server.ask("POST", f"{API}/png-info", {"image": plain}).json == {"info": "", "items": {}, "parameters": {}}
    assert server.ask("POST", f"{API}/interrogate", {"image": plain, "model": "deepdanbooru"}).json["caption"]
    refused = server.ask("POST", f"{API}/interrogate", {"image": plain, "model": "blip3"})
    assert refused.status == 422 and "clip, deepdanbooru" in refused.json["detail"][0]["msg"]


# --- clients' sequences


def value_at(answer, path):
    """What a path such as `state.job` leads to."""
    for step in path.split("."):
        answer = answer[step]
    return answer


@pytest.mark.parametrize("path", SEQUENCES, ids=lambda path: path.stem)
def test_what_a_client_sends_one_after_another_is_answered_as_it_reads_it(server, path):
    kept = {}
    for step in json.loads(path.read_text()):
        method, route = step["ask"].split()
        body = (kept if step.get("with_kept") else {}) | step["body"] if "body" in step else None
        reply = server.ask(method, route, body)
        assert reply.status == 200, (step["ask"], reply.body)
        answer = reply.json
        kept = answer if step.get("keep") else kept
        for member in step.get("reads", ()):
            assert answer[member] not in (None, []), member
        for entry in answer if "reads_each" in step else ():
            assert all(isinstance(entry[member], str) for member in step["reads_each"])
        assert all(member not in answer for member in step.get("lacks", ()))
        assert all(value_at(answer, place) == value for place, value in step.get("is", {}).items())
        if "images" in step.get("reads", ()):
            assert json.loads(answer["info"])["infotexts"][0].startswith("a cat")
