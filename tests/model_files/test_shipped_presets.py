"""The shipped presets hold what the engine needs, and nothing it does not know."""

import json
from importlib.resources import files
from urllib.parse import urlsplit

import pytest

from engine import choices

FOLDER = files("fooocus_flask.model_files") / "presets"
PRESETS = {
    path.name.removesuffix(".json"): json.loads(path.read_text("utf-8"))
    for path in sorted(FOLDER.iterdir(), key=lambda path: path.name)
}
STYLE_NAMES = {
    style["name"]
    for path in (files("engine.prompt") / "data" / "sdxl_styles").iterdir()
    for style in json.loads(path.read_text("utf-8"))
}
EVERYWHERE = {
    "default_model",
    "default_refiner",
    "default_refiner_switch",
    "default_loras",
    "default_cfg_scale",
    "default_sample_sharpness",
    "default_sampler",
    "default_scheduler",
    "default_performance",
    "default_prompt",
    "default_prompt_negative",
    "default_styles",
    "default_aspect_ratio",
    "checkpoint_downloads",
    "embeddings_downloads",
    "lora_downloads",
    "vae_downloads",
}
SOMETIMES = {"default_overwrite_step", "default_vae", "default_inpaint_engine_version", "previous_default_models"}
each_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def test_the_eight_presets_of_fooocus_are_there():
    assert list(PRESETS) == [
        "anime",
        "default",
        "lcm",
        "lightning",
        "playground_v2.5",
        "pony_v6",
        "realistic",
        "sai",
    ]


@each_preset
def test_a_preset_is_complete_and_has_no_unknown_key(preset):
    assert EVERYWHERE <= set(preset) <= EVERYWHERE | SOMETIMES


@each_preset
def test_a_preset_names_only_what_a_request_may_name(preset):
    assert preset["default_sampler"] in choices.SAMPLERS
    assert preset["default_scheduler"] in choices.SCHEDULERS
    assert preset["default_performance"] in choices.PERFORMANCES
    assert preset["default_aspect_ratio"].replace("*", "×") in choices.ASPECT_RATIOS
    assert set(preset["default_styles"]) <= {choices.EXPANSION_STYLE, *STYLE_NAMES}
    assert preset.get("default_inpaint_engine_version", "v2.6") in choices.INPAINT_ENGINES


@each_preset
def test_a_preset_has_five_lora_slots_of_switch_name_and_weight(preset):
    assert len(preset["default_loras"]) == 5
    for enabled, name, weight in preset["default_loras"]:
        assert enabled is True
        assert name == choices.NO_MODEL or name in preset["lora_downloads"]
        assert -2 <= weight <= 2


@each_preset
def test_every_file_a_preset_draws_with_can_be_downloaded_under_its_own_name(preset):
    checkpoints = {preset["default_model"], preset["default_refiner"]} - {choices.NO_MODEL}
    assert checkpoints == set(preset["checkpoint_downloads"])
    assert {preset.get("default_vae")} - {None} == set(preset["vae_downloads"])
    for kind in ("checkpoint", "embeddings", "lora", "vae"):
        for file, url in preset[f"{kind}_downloads"].items():
            parts = urlsplit(url)
            assert (parts.scheme, parts.netloc) == ("https", "huggingface.co")
            assert parts.path.rpartition("/")[2] == file


@pytest.mark.parametrize(
    ("name", "model", "scale", "size"),
    [
        ("default", "juggernautXL_v8Rundiffusion", 4, "1152*896"),
        ("anime", "animaPencilXL_v500", 6, "896*1152"),
        ("realistic", "realisticStockPhoto_v20", 3, "896*1152"),
        ("sai", "sd_xl_base_1.0_0.9vae", 7, "1152*896"),
        ("lcm", "juggernautXL_v8Rundiffusion", 4, "1152*896"),
        ("lightning", "juggernautXL_v8Rundiffusion", 4, "1152*896"),
        ("playground_v2.5", "playground-v2.5-1024px-aesthetic.fp16", 2, "1024*1024"),
        ("pony_v6", "ponyDiffusionV6XL", 7, "896*1152"),
    ],
)
def test_a_preset_has_its_model_scale_and_size(name, model, scale, size):
    preset = PRESETS[name]
    assert (preset["default_model"], preset["default_cfg_scale"], preset["default_aspect_ratio"]) == (
        f"{model}.safetensors",
        scale,
        size,
    )


def test_the_realistic_preset_has_a_negative_prompt_and_the_others_have_none():
    assert [name for name, preset in PRESETS.items() if preset["default_prompt_negative"]] == ["realistic"]
