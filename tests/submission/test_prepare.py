"""From what a client sent to what the engine draws."""

import json
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from safetensors.numpy import save_file

from engine import choices
from engine.files import builtin_set
from engine.params import MAX_SEED, GenerateParams
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.folders import folders
from fooocus_flask.submission.prepare import prepare
from schemas.generate import DEFAULTS, GenerateSchema, shipped_styles
from schemas.tasks import TaskRecordSchema
from tests.empty_models import EMPTY_MODEL

PICTURE = "/inputs/cat.png"
OTHERS = {
    "prompt": "a cat",
    "negative_prompt": "a dog",
    "style_selections": [],
    "performance_selection": "Lightning",
    "aspect_ratios_selection": "512*512",
    "image_number": 4,
    "output_format": "webp",
    "output_quality": 80,
    "image_seed": 5,
    "read_wildcards_in_order": True,
    "sharpness": 3.5,
    "guidance_scale": 6.0,
    "base_model_name": choices.BUILTIN_CHECKPOINT,
    "disable_preview": True,
    "disable_intermediate_results": True,
    "disable_seed_increment": True,
    "save_metadata_to_images": False,
    "metadata_scheme": "a1111",
    "save_name": "cat",
    "require_base64": True,
    "adm_scaler_positive": 1.0,
    "adm_scaler_negative": 1.0,
    "adm_scaler_end": 0.5,
    "adaptive_cfg": 5.0,
    "clip_skip": 1,
    "sampler_name": "euler",
    "scheduler_name": "normal",
    "overwrite_step": 12,
    "overwrite_width": 512,
    "overwrite_height": 640,
    "refiner_switch": 0.8,
    "refiner_swap_method": "vae",
    "generate_image_grid": True,
    "overwrite_switch": 5,
    "freeu_enabled": True,
    "freeu_b1": 1.5,
    "freeu_b2": 1.5,
    "freeu_s1": 0.5,
    "freeu_s2": 0.5,
    "stream_output": True,
    "async_process": True,
    "webhook_url": "http://hook.example/",
    "current_tab": "ip",
    "save_final_enhanced_image_only": True,
    "debugging_dino": True,
    "dino_erode_or_dilate": 3,
    "debugging_enhance_masks_checkbox": True,
    "enhance_checkbox": True,
    "enhance_uov_method": "Upscale (2x)",
    "enhance_uov_processing_order": "After Last Enhancement",
    "enhance_uov_prompt_type": "Last Filled Enhancement Prompts",
    "uov_method": "Vary (Subtle)",
    "uov_input_image": PICTURE,
    "outpaint_selections": ["Left"],
    "outpaint_distance": [1, 2, 3, 4],
    "inpaint_input_image": PICTURE,
    "inpaint_additional_prompt": "a hat",
    "inpaint_mask_image_upload": PICTURE,
    "inpaint_erode_or_dilate": 3,
    "mixing_image_prompt_and_vary_upscale": True,
    "mixing_image_prompt_and_inpaint": True,
    "upscale_multiple": 2,
    "overwrite_vary_strength": 0.5,
    "overwrite_upscale_strength": 0.5,
    "debugging_cn_preprocessor": True,
    "skipping_cn_preprocessor": True,
    "canny_low_threshold": 1,
    "canny_high_threshold": 2,
    "controlnet_softness": 0.5,
    "debugging_inpaint_preprocessor": True,
    "inpaint_disable_initial_latent": True,
    "inpaint_engine": "v1",
    "inpaint_strength": 0.5,
    "inpaint_respective_field": 0.5,
}


@pytest.fixture
def app(tmp_path):
    """An application whose models folder is empty."""
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config["MODELS_PATH"] = str(tmp_path / "models")
    app.config["MAX_PIXELS"] = 0  # no bound, for there are no pictures to measure
    for folder in ("checkpoints", "loras", "vae"):
        (tmp_path / "models" / folder).mkdir(parents=True)
    folders.init_app(app)
    with app.app_context():
        yield app


@pytest.fixture
def checkpoint(app):
    """The contract's default checkpoint, on disk."""
    return add(app, "checkpoints", DEFAULTS["base_model_name"])


def add(app, folder, name):
    """Put a model file's name on disk."""
    path = Path(app.config["MODELS_PATH"]) / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(EMPTY_MODEL)
    return str(path)


def prepared(**sent):
    """Load and prepare, as the endpoint does."""
    return prepare(GenerateSchema().load(sent))


def faults(**sent):
    """The faults of a request: (type, member) pairs, and their messages."""
    with pytest.raises(InvalidRequest) as caught:
        prepared(**sent)
    told = caught.value.faults
    assert all(fault.loc[0] == "body" for fault in told)
    return [(fault.type, fault.loc[1]) for fault in told], [fault.msg for fault in told]


def test_all_defaults_can_be_sent(app):
    sent = {name: field.absent for name, field in GenerateSchema().fields.items()}
    params = prepared(**sent).params.to_dict()
    decided = {"image_seed", "aspect_ratios_selection", "input_image_checkbox", "loras"}
    assert {name for name in DEFAULTS if json.loads(json.dumps(params[name])) != DEFAULTS[name]} <= decided


def test_every_member_reaches_the_engine(app):
    elsewhere = {"loras", "preset", "refiner_model_name", "vae_name", "controlnet_image", "enhance_ctrls"}
    decided = {"input_image_checkbox", "inpaint_advanced_masking_checkbox", "invert_mask_checkbox"}
    pictures = {"enhance_input_image", "black_out_nsfw"}
    assert set(OTHERS) | elsewhere | decided | pictures == set(DEFAULTS)
    params = prepared(**OTHERS).params.to_dict()
    expected = OTHERS | {
        "aspect_ratios_selection": "512×512",
        "style_selections": (),
        "outpaint_selections": ("Left",),
        "outpaint_distance": (1, 2, 3, 4),
    }
    assert {name: params[name] for name in OTHERS} == expected


def test_control_images_need_a_checkpoint_and_its_files(app, monkeypatch):
    monkeypatch.setattr(builtin_set, "CONTROL", {})
    asked = {"controlnet_image": [{"cn_img": PICTURE, "cn_type": "PyraCanny"}]}
    pairs, messages = faults(**asked, base_model_name=choices.BUILTIN_CHECKPOINT)
    assert pairs == [("value_error", "controlnet_image")] and "checkpoint" in messages[0]
    add(app, "checkpoints", "mine.safetensors")
    pairs, messages = faults(**asked, base_model_name="mine.safetensors", loras=[])
    assert pairs == [("missing_file", "controlnet_image")] and "control-lora-canny" in messages[0]
    add(app, "controlnet", "control-lora-canny-rank128.safetensors")
    assert prepared(**asked, base_model_name="mine.safetensors", loras=[]).params.controlnet_image[0].cn_img == PICTURE


def test_the_built_in_model_reads_the_control_images_that_it_has_files_for(app, monkeypatch, tmp_path):
    (tmp_path / "canny.safetensors").touch()
    files = {"PyraCanny": (tmp_path / "canny.safetensors",), "ImagePrompt": (tmp_path / "none.safetensors",)}
    monkeypatch.setattr(builtin_set, "CONTROL", files)
    wish = {"base_model_name": choices.BUILTIN_CHECKPOINT, "loras": []}
    edges = {"cn_img": PICTURE, "cn_type": "PyraCanny"}
    assert prepared(controlnet_image=[edges], **wish).checkpoint is None
    prompts = [{"cn_img": PICTURE, "cn_type": kind} for kind in ("CPDS", "ImagePrompt", "CPDS")]
    pairs, messages = faults(controlnet_image=[edges, *prompts], **wish)
    assert pairs == [("value_error", "controlnet_image")]
    assert "kind CPDS and ImagePrompt need a checkpoint" in messages[0] and messages[0].endswith("reads PyraCanny")


def test_no_refiner_goes_with_the_built_in_model(app):
    add(app, "checkpoints", "refiner.safetensors")
    builtin = {"base_model_name": choices.BUILTIN_CHECKPOINT, "loras": []}
    pairs, messages = faults(**builtin, refiner_model_name="refiner.safetensors")
    assert pairs == [("value_error", "refiner_model_name")] and "None" in messages[0]


def test_a_refiner_of_stable_diffusion_1_5_needs_what_turns_latents_into_its_own(app, checkpoint):
    tensors = {"model.diffusion_model.input_blocks.0.0.weight": np.zeros(1, np.float32)}
    save_file(tensors, add(app, "checkpoints", "sd15.safetensors"))
    tensors["model.diffusion_model.label_emb.0.0.weight"] = np.zeros(1, np.float32)
    save_file(tensors, add(app, "checkpoints", "sdxl.safetensors"))
    assert prepared(refiner_model_name="sdxl.safetensors").params.refiner_model_name == "sdxl.safetensors"
    pairs, (message,) = faults(refiner_model_name="sd15.safetensors")
    assert pairs == [("missing_file", "refiner_model_name")]
    assert "xl-to-v1_interposer-v4.0.safetensors" in message and "models folder vae_approx" in message
    add(app, "vae_approx", "xl-to-v1_interposer-v4.0.safetensors")
    assert prepared(refiner_model_name="sd15.safetensors").params.refiner_model_name == "sd15.safetensors"


def test_a_picture_to_enhance_needs_something_to_be_done_with_it(app):
    pairs, messages = faults(enhance_input_image=PICTURE, enhance_checkbox=True)
    assert pairs == [("value_error", "enhance_input_image")] and "enhance_uov_method" in messages[0]
    wish = {"enhance_checkbox": True, "enhance_uov_method": "Vary (Subtle)"}
    assert prepared(enhance_input_image=PICTURE, **wish).params.enhance_input_image == PICTURE


@pytest.mark.parametrize(
    ("sent", "member", "other"),
    [
        ({"uov_input_image": PICTURE}, "uov_input_image", "uov_method"),
        ({"uov_method": "Upscale (2x)"}, "uov_method", "uov_input_image"),
        ({"uov_method": "Upscale (2x)", "uov_input_image": None}, "uov_method", "uov_input_image"),
        ({"inpaint_mask_image_upload": PICTURE}, "inpaint_mask_image_upload", "inpaint_input_image"),
        ({"outpaint_selections": ["Left"]}, "outpaint_selections", "inpaint_input_image"),
    ],
)
def test_a_picture_and_what_is_done_with_it_need_each_other(app, sent, member, other):
    pairs, (message,) = faults(**sent)
    assert pairs == [("value_error", member)] and member in message and other in message and "to draw" in message


@pytest.mark.parametrize(
    "sent",
    [
        {"uov_input_image": PICTURE, "uov_method": "Disabled"},
        {"inpaint_input_image": PICTURE, "uov_method": "Upscale (2x)"},
        {"inpaint_input_image": PICTURE, "uov_input_image": PICTURE, "outpaint_selections": ["Left"]},
        {"controlnet_image": [{"cn_img": PICTURE}], "inpaint_mask_image_upload": PICTURE, "uov_input_image": PICTURE},
    ],
)
def test_what_clients_with_forms_send_along_is_no_fault(app, sent):
    assert prepared(**GenerateSchema().load(sent)).params


def test_the_filter_is_good_under_either_name(app):
    pairs, messages = faults(black_out_nsfw=True)
    assert pairs == [("missing_file", "black_out_nsfw")] and "safety_checker" in messages[0]
    add(app, "safety_checker", "pytorch_model.bin")
    assert prepared(black_out_nsfw=True).params.black_out_nsfw


def test_a_step_of_enhancing_needs_what_finds_its_mask(app):
    step = {"enhance_enabled": True, "enhance_mask_model": "u2net"}
    pairs, _ = faults(enhance_checkbox=True, enhance_ctrls=[step])
    assert pairs == [("missing_file", "enhance_ctrls")]
    add(app, "inpaint", "u2net.onnx")
    assert prepared(enhance_checkbox=True, enhance_ctrls=[step]).params.enhance_ctrls[0].enhance_enabled


def test_the_members_that_follow_from_others_are_put_in_place(app):
    sent = {"input_image_checkbox": False, "invert_mask_checkbox": True, "inpaint_advanced_masking_checkbox": True}
    params = prepared(**sent).params
    assert params.input_image_checkbox
    assert params.invert_mask_checkbox
    assert not params.inpaint_advanced_masking_checkbox


def test_a_seed_of_minus_one_becomes_a_random_one(app):
    seeds = {prepared(image_seed=-1).params.image_seed for _ in range(8)}
    assert len(seeds) == 8
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_without_a_checkpoint_the_built_in_model_draws_and_says_so(app):
    result = prepared()
    assert result.checkpoint is None
    assert any(choices.BUILTIN_CHECKPOINT in note and DEFAULTS["base_model_name"] in note for note in result.notes)


def test_the_built_in_model_can_be_asked_for_beside_checkpoints(app, checkpoint):
    result = prepared(base_model_name=choices.BUILTIN_CHECKPOINT, loras=[])
    assert (result.checkpoint, result.notes) == (None, [])


def test_a_checkpoint_on_disk_draws(app, checkpoint):
    assert prepared().checkpoint == checkpoint


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(app, checkpoint):
    pairs, messages = faults(base_model_name="other.safetensors")
    assert pairs == [("enum", "base_model_name")]
    assert DEFAULTS["base_model_name"] in messages[0] and choices.BUILTIN_CHECKPOINT in messages[0]


def test_the_lora_of_the_defaults_is_left_out_with_a_note(app):
    result = prepared()
    assert [lora.enabled for lora in result.params.loras] == [False, True, True, True, True]
    assert any("sd_xl_offset_example-lora_1.0.safetensors" in note for note in result.notes)


def test_a_lora_that_is_asked_for_and_missing_is_told_with_those_that_are_there(app):
    add(app, "loras", "there.safetensors")
    pairs, messages = faults(loras=[{"enabled": True, "model_name": "missing.safetensors"}])
    assert pairs == [("enum", "loras")]
    assert "missing.safetensors" in messages[0] and "there.safetensors" in messages[0]


def test_files_that_are_there_can_be_asked_for(app, checkpoint):
    add(app, "loras", "sub/there.safetensors")
    add(app, "vae", "there.safetensors")
    add(app, "checkpoints", "refiner.safetensors")
    lora = {"enabled": True, "model_name": "sub/there.safetensors"}
    result = prepared(loras=[lora], vae_name="there.safetensors", refiner_model_name="refiner.safetensors")
    params = result.params
    assert params.loras[0].enabled and result.notes == []
    assert (params.vae_name, params.refiner_model_name) == ("there.safetensors", "refiner.safetensors")


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "empty"), (b"<!DOCTYPE html><html>", "a web page"), (b"GGUF\3\0", "a GGUF file")]
)
@pytest.mark.parametrize("member", ["base_model_name", "refiner_model_name", "vae_name", "loras"])
def test_a_file_that_is_none_is_refused_by_what_it_is(app, checkpoint, member, content, what):
    folder = {"vae_name": "vae", "loras": "loras"}.get(member, "checkpoints")
    Path(add(app, folder, "wrong.safetensors")).write_bytes(content)
    lora = [{"enabled": True, "model_name": "wrong.safetensors"}]
    pairs, (message,) = faults(**{member: lora if member == "loras" else "wrong.safetensors"})
    assert pairs == [("value_error", member)]
    assert message.startswith(f"wrong.safetensors is {what}")


def test_a_broken_file_that_nobody_insists_on_is_left_out_with_a_note(app, checkpoint):
    name = "sd_xl_offset_example-lora_1.0.safetensors"
    Path(add(app, "loras", name)).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    result = prepared()
    assert not result.params.loras[0].enabled
    assert any(name in note and "a Git LFS pointer" in note for note in result.notes)


def test_a_checkpoint_without_a_vae_needs_one_by_name(app):
    path = add(app, "checkpoints", "bare.safetensors")
    numbers = np.zeros(4, np.float16)
    save_file({"model.diffusion_model.out.2.bias": numbers, "conditioner.x": numbers}, path)
    pairs, (message,) = faults(base_model_name="bare.safetensors", loras=[])
    assert pairs == [("value_error", "base_model_name")] and "has no VAE: name one in vae_name" in message
    add(app, "vae", "there.safetensors")
    named = prepared(base_model_name="bare.safetensors", vae_name="there.safetensors", loras=[])
    assert named.params.vae_name == "there.safetensors"


@pytest.mark.parametrize(("member", "kind"), [("vae_name", "VAE"), ("refiner_model_name", "refiner")])
def test_a_file_that_is_asked_for_and_missing_is_told_with_those_that_are_there(app, checkpoint, member, kind):
    add(app, "vae", "there.safetensors")
    pairs, messages = faults(**{member: "gone.safetensors"})
    assert pairs == [("enum", member)]
    there = "there.safetensors" if kind == "VAE" else DEFAULTS["base_model_name"]
    assert f"no {kind} 'gone.safetensors'" in messages[0] and there in messages[0]


def test_a_known_file_that_is_missing_is_told_with_its_address(app, checkpoint):
    name = "sd_xl_offset_example-lora_1.0.safetensors"
    pairs, messages = faults(loras=[{"enabled": True, "model_name": name, "weight": 0.5}])
    assert pairs == [("missing_file", "loras")]
    assert "models folder loras" in messages[0] and f"resolve/main/{name}" in messages[0]


@pytest.mark.parametrize("lora", [{"enabled": False, "model_name": "x.safetensors"}, {"model_name": "None"}])
def test_a_lora_that_is_switched_off_or_empty_is_no_lora(app, lora):
    assert prepared(loras=[lora]).params.loras[0].model_name == lora["model_name"]


@pytest.mark.parametrize("mode", ["Extreme Speed", "Lightning", "Hyper-SD"])
def test_a_fast_mode_needs_its_lora_on_a_checkpoint(app, mode):
    assert prepared(performance_selection=mode).checkpoint is None
    add(app, "checkpoints", DEFAULTS["base_model_name"])
    pairs, messages = faults(performance_selection=mode)
    assert pairs == [("missing_file", "performance_selection")]
    assert choices.PERFORMANCES[mode].lora in messages[0] and choices.PERFORMANCES[mode].lora_url in messages[0]
    add(app, "loras", choices.PERFORMANCES[mode].lora)
    assert prepared(performance_selection=mode).checkpoint


def test_the_pair_that_cannot_work_together_is_refused(app):
    pair = {"sampler_name": "tcd", "scheduler_name": "edm_playground_v2.5"}
    assert faults(**pair)[0] == [("value_error", "scheduler_name")]
    assert prepared(**pair, performance_selection="Lightning").params.sampler_name == "tcd"


@pytest.mark.parametrize("sampler", choices.SAMPLERS)
def test_every_sampler_and_schedule_is_taken(app, sampler):
    for scheduler in choices.SCHEDULERS:
        if (sampler, scheduler) != ("tcd", "edm_playground_v2.5"):
            params = prepared(sampler_name=sampler, scheduler_name=scheduler).params
            assert (params.sampler_name, params.scheduler_name) == (sampler, scheduler)


def test_a_preset_replaces_what_has_its_default_and_nothing_else(app):
    params = prepared(preset="anime", sharpness=5).params
    assert params.guidance_scale == 6.0
    assert params.style_selections == ("Fooocus V2", "Fooocus Semi Realistic", "Fooocus Masterpiece")
    assert params.aspect_ratios_selection == "896×1152"
    assert (params.sharpness, params.adaptive_cfg, params.preset) == (5.0, 7.0, "anime")


def test_a_value_that_is_sent_and_is_the_default_gives_way_to_the_preset(app):
    assert prepared(preset="anime", guidance_scale=4.0).params.guidance_scale == 6.0
    assert prepared(preset="anime", guidance_scale=4.5).params.guidance_scale == 4.5


def test_a_size_spelt_with_the_other_sign_is_not_the_default(app):
    assert prepared(preset="anime", aspect_ratios_selection="1152×896").params.aspect_ratios_selection == "1152×896"


def test_an_unknown_preset_is_told_with_the_names_there_are(app):
    pairs, messages = faults(preset="../anime")
    assert pairs == [("enum", "preset")]
    assert "lightning" in messages[0]


def test_what_a_preset_names_is_left_out_where_the_built_in_model_stands_in(app):
    result = prepared(preset="sai")
    assert result.params.refiner_model_name == "None"
    assert any("sd_xl_refiner_1.0_0.9vae.safetensors is left out" in note for note in result.notes)
    assert any("sd_xl_offset_example-lora_1.0.safetensors" in note for note in result.notes)


def test_what_a_preset_names_is_refused_on_its_own_checkpoint(app):
    add(app, "checkpoints", "sd_xl_base_1.0_0.9vae.safetensors")
    pairs, messages = faults(preset="sai")
    assert pairs == [("missing_file", "preset"), ("missing_file", "preset")]
    assert "refiner" in messages[0] and "offset" in messages[1]


def test_a_preset_without_an_inpaint_patch_draws(app):
    assert prepared(preset="playground_v2.5").params.inpaint_engine == "None"


@pytest.mark.parametrize(("sent", "used"), [(None, ""), ("", ""), ("http://sent/", "http://sent/")])
def test_a_request_s_parameters_hold_its_own_webhook_and_never_the_servers(app, sent, used):
    app.config["WEBHOOK_URL"] = "http://own/"
    assert prepared(webhook_url=sent).params.webhook_url == used


REFUSED_WEBHOOKS = [
    ("http://user:word@example.com/", "user name"),
    ("http://127.0.0.1:8000/hook", "public"),
    ("http://2130706433/", "public"),
    ("http://0x7f.1/", "public"),
    ("https://10.1.2.3/", "public"),
    ("http://169.254.169.254/latest/meta-data/", "public"),
    ("http://[::1]/", "public"),
    ("http://[::ffff:192.168.0.1]/", "public"),
    ("http://example.com:99999/", "cannot be read"),
    ("http://example.com:0/", "no host"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED_WEBHOOKS)
def test_a_webhook_that_would_never_be_sent_to_is_refused(app, url, reason):
    pairs, (message,) = faults(webhook_url=url)
    assert pairs == [("value_error", "webhook_url")]
    assert reason in message and "http:// or https:// URL of a public host" in message


@pytest.mark.parametrize("url", ["http://93.184.215.14/hook", "https://[2606:4700::1111]/", "http://no.such.host/x"])
def test_a_webhook_on_a_public_address_or_a_name_is_taken(app, url):
    assert prepared(webhook_url=url).params.webhook_url == url


def test_the_operator_may_allow_private_webhooks(app):
    app.config["ALLOW_PRIVATE_ADDRESSES"] = True
    assert prepared(webhook_url="http://127.0.0.1/hook").params.webhook_url == "http://127.0.0.1/hook"
    with pytest.raises(InvalidRequest):
        prepared(webhook_url="http://user@127.0.0.1/hook")


def test_the_servers_own_webhook_may_be_anywhere(app):
    app.config["WEBHOOK_URL"] = "http://10.0.0.7/hook"
    assert prepared(webhook_url="http://10.0.0.7/hook").params.webhook_url == "http://10.0.0.7/hook"


def test_a_server_without_metadata_writes_none(app):
    app.config["DISABLE_METADATA"] = True
    assert prepared().params.save_metadata_to_images is False


def test_the_servers_preset_gives_the_defaults(app):
    app.config["PRESET"] = "anime"
    assert prepared().params.guidance_scale == 6.0
    assert prepared(guidance_scale=4.0).params.guidance_scale == 4.0


def test_a_record_can_be_sent_again(app):
    first = prepared(prompt="a cat", image_seed=5, save_name=None).params
    shown = TaskRecordSchema().dump({"req_params": first.to_dict()})["req_params"]
    again = prepared(**json.loads(json.dumps(shown))).params
    assert again == first
    assert isinstance(again, GenerateParams)


ALL_STYLES = [name for name in shipped_styles() if name != choices.RANDOM_STYLE]


@pytest.mark.parametrize(
    ("members", "taken"),
    [
        ({"style_selections": ALL_STYLES, "prompt": "a cat with a hat, " * 14}, True),
        ({"style_selections": ALL_STYLES, "prompt": "a cat with a hat, " * 15}, False),
        ({"style_selections": ["Random Style"] * 512, "prompt": "a cat " * 40}, False),
        ({"style_selections": ["SAI Anime"], "prompt": "\u732b" * 16_000}, True),
        ({"style_selections": ["SAI Anime", "SAI Anime"], "prompt": "\u732b" * 16_000}, False),
        ({"style_selections": [], "prompt": "\U0001f431" * 20_000, "negative_prompt": "\U0001f431" * 20_000}, True),
    ],
)
def test_all_texts_of_a_picture_together_have_a_longest_length(app, members, taken):
    sent = GenerateSchema().load({"base_model_name": choices.BUILTIN_CHECKPOINT, **members})
    if taken:
        assert prepare(sent)
        return
    with pytest.raises(InvalidRequest) as told:
        prepare(sent)
    assert [(fault.type, fault.loc) for fault in told.value.faults] == [("too_large", ("body", "style_selections"))]


def test_of_a_thousand_lora_tags_the_first_are_noted(app):
    prompt = "".join(f"<lora:{number}:1>" for number in range(1000))
    task = prepare(GenerateSchema().load({"base_model_name": choices.BUILTIN_CHECKPOINT, "prompt": prompt}))
    assert sum("of the prompt is left out" in note for note in task.notes) == 64
