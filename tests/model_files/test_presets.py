"""Presets: found by name, checked like a request, and mapped to the right parameters."""

import json
import os
import re
from pathlib import Path

import pytest
from flask import Flask

from engine.files import known_files
from fooocus_flask.model_files import presets
from fooocus_flask.model_files.folders import folders
from schemas.generate import DEFAULTS, empty_lora

PRESETS = Path(__file__).parent / "data" / "presets"


@pytest.fixture
def app(tmp_path):
    """An application whose instance has a folder for presets."""
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config["MODELS_PATH"] = str(tmp_path / "models")
    folders.init_app(app)
    (tmp_path / "presets").mkdir()
    with app.app_context():
        yield app


def add(app, name, **keys):
    """Add an operator's preset."""
    write(app, name, json.dumps(keys))


def write(app, name, text):
    """Write a file among the operator's presets."""
    (Path(app.instance_path) / "presets" / f"{name}.json").write_text(text, "utf-8")


def test_the_shipped_ones_are_listed_after_the_one_that_changes_nothing(app):
    assert presets.names() == [
        "initial",
        *("anime", "default", "lcm", "lightning", "playground_v2.5", "pony_v6", "realistic", "sai"),
    ]


@pytest.mark.parametrize("name", ["anime", "lightning", "playground_v2.5", "pony_v6", "realistic", "sai"])
def test_a_shipped_preset_fits_a_request(app, name):
    assert presets.values(name).items() > {}.items()
    assert set(presets.values(name)) <= set(DEFAULTS)


def test_a_preset_whose_name_is_not_utf_8_breaks_no_list(app):
    (Path(app.instance_path) / "presets" / os.fsdecode(b"caf\xe9.json")).write_text("{}")
    assert "initial" in presets.names() and all(name.encode() for name in presets.names())
    with pytest.raises(presets.PresetError, match="there are"):
        presets.values("nowhere")


def test_initial_sets_nothing(app):
    assert presets.values("initial") == {}


def test_the_default_preset_sets_the_contracts_defaults(app):
    assert {name: value for name, value in presets.values("default").items() if value != DEFAULTS[name]} == {}


def test_guidance_and_adaptive_guidance_get_their_own_keys(app):
    add(app, "mine", default_cfg_scale=6.5, default_cfg_tsnr=9)
    assert presets.values("mine") == {"guidance_scale": 6.5, "adaptive_cfg": 9.0}


def test_loras_of_both_forms_are_read(app):
    add(app, "mine", default_loras=[[True, "a.safetensors", 0.5], ["b.safetensors", 0.25], [False, "c.safetensors", 1]])
    loras = presets.values("mine")["loras"]
    assert [(lora["enabled"], lora["model_name"], lora["weight"]) for lora in loras[:4]] == [
        (True, "a.safetensors", 0.5),
        (True, "b.safetensors", 0.25),
        (False, "c.safetensors", 1.0),
        (True, "None", 1.0),
    ]


def test_a_key_that_is_null_or_absent_changes_nothing(app):
    add(app, "mine", default_prompt="a cat", default_model=None, some_other_key=1)
    assert presets.values("mine") == {"prompt": "a cat"}


def test_an_operators_preset_stands_in_for_a_shipped_one(app):
    add(app, "anime", default_prompt="mine")
    assert presets.values("anime") == {"prompt": "mine"}
    assert presets.names().count("anime") == 1


@pytest.mark.parametrize("name", ["nowhere", "Anime", "../presets/anime", "anime.json", ""])
def test_an_unknown_name_is_told_with_the_names_there_are(app, name):
    with pytest.raises(presets.PresetError, match="lightning"):
        presets.values(name)


def test_a_value_out_of_range_falls_back_alone_and_is_told_with_its_parameter(app):
    add(app, "mine", default_sample_sharpness=99, default_cfg_scale=3.5)
    values, notes = presets.values_and_notes("mine")
    assert values == {"guidance_scale": 3.5}
    assert len(notes) == 1
    assert re.search(r"default_sample_sharpness of the preset mine is left out: sharpness.*30", notes[0])


def case(app, name):
    """What a preset out of people's folders sets, and the notes on it."""
    (Path(app.instance_path) / "presets" / f"{name}.json").write_bytes((PRESETS / f"{name}.json").read_bytes())
    return presets.values_and_notes(name)


def test_a_style_that_is_not_here_falls_back_alone(app):
    values, notes = case(app, "gone_style")
    assert values == {"style_selections": ["Fooocus V2"], "guidance_scale": 3.5}
    assert len(notes) == 1 and "gone_style: A Style Of Another Fork is left out" in notes[0]


@pytest.mark.parametrize("name", ["label_ratio", "spaced_ratio"])
def test_sizes_are_read_as_people_write_them(app, name):
    values, notes = case(app, name)
    assert (values["aspect_ratios_selection"], notes) == ("1152*896", [])


@pytest.mark.parametrize("name", ["lower_none", "weight_5"])
def test_empty_slots_are_no_loras_whatever_their_weight(app, name):
    values, notes = case(app, name)
    assert (values["loras"], notes) == ([empty_lora()] * 5, [])


def test_keys_of_old_presets_are_told_with_what_to_write(app):
    values, notes = case(app, "old_keys")
    assert values == {"refiner_model_name": "None", "guidance_scale": 3.5}
    assert len(notes) == 1 and '[["x.safetensors", 0.5]]' in notes[0]


def test_a_preset_with_a_byte_order_mark_is_read(app):
    assert case(app, "bom") == ({"guidance_scale": 3.5}, [])


def test_a_lora_that_does_not_fit_falls_back_alone(app):
    add(app, "mine", default_loras=[["a.safetensors", 99], ["b.safetensors", 0.5], ["only"]])
    values, notes = presets.values_and_notes("mine")
    assert [lora["model_name"] for lora in values["loras"]] == ["b.safetensors", *["None"] * 4]
    assert len(notes) == 2 and "['only']" in notes[0] and "a.safetensors" in notes[1]


def test_of_more_loras_than_slots_those_that_act_go_first(app):
    listed = [["None", 1], [False, "off.safetensors", 1], *([f"{letter}.safetensors", 0.5] for letter in "abcdef")]
    add(app, "mine", default_loras=listed)
    values, notes = presets.values_and_notes("mine")
    assert [lora["model_name"] for lora in values["loras"]] == [f"{letter}.safetensors" for letter in "abcde"]
    assert len(notes) == 1 and "f.safetensors is left out" in notes[0]


def test_more_default_loras_than_slots_act_as_far_as_they_fit(app, caplog):
    listed = [[True, "None", 1.0], *([True, f"{letter}.safetensors", 0.5] for letter in "abcdef")]
    (Path(app.instance_path) / "config.txt").write_text(json.dumps({"default_loras": listed}))
    loras = presets.global_defaults()["loras"]
    assert [lora["model_name"] for lora in loras] == [f"{letter}.safetensors" for letter in "abcde"]
    assert "f.safetensors is left out" in caplog.text


def test_a_preset_of_another_program_does_not_end_the_start(app, caplog):
    add(
        app,
        "mine",
        default_aspect_ratio="0*0",
        default_performance="",
        default_cfg_scale=3.5,
        default_sampler="res_multistep",
        checkpoint_downloads={"a.gguf": "https://h/a.gguf", "b.safetensors": "https://h/b.safetensors"},
    )
    app.config["PRESET"] = "mine"
    assert presets.global_defaults() == DEFAULTS | {"guidance_scale": 3.5}
    assert "default_aspect_ratio of the preset mine is left out" in caplog.text
    assert [file.name for file in presets.standing_downloads()] == ["b.safetensors"]
    assert "a.gguf is left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"), [("{", "ends too early"), ('{"a": 1,}', "comma"), (r'{"a": "\F"}', "backslash")]
)
def test_a_file_that_is_no_json_is_told_with_the_true_cause(app, text, why):
    write(app, "broken", text)
    with pytest.raises(presets.PresetError, match=why):
        presets.values("broken")


def test_a_list_that_is_none_falls_back_alone(app):
    add(app, "mine", default_loras=5, default_cfg_scale=3.5)
    values, notes = presets.values_and_notes("mine")
    assert (values, len(notes)) == ({"guidance_scale": 3.5}, 1)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_file_that_holds_no_preset_is_told(app, text):
    write(app, "broken", text)
    with pytest.raises(presets.PresetError, match="'broken' cannot be read"):
        presets.values("broken")


def test_the_servers_defaults_are_the_contracts(app):
    assert presets.global_defaults() == DEFAULTS


def test_a_preset_at_the_start_changes_the_defaults_but_not_the_fixed_ones(app):
    add(app, "mine", default_cfg_scale=6.5, default_performance="Lightning", default_image_number=7)
    app.config["PRESET"] = "mine"
    assert presets.global_defaults() == DEFAULTS | {"guidance_scale": 6.5}


def test_defaults_handed_out_can_be_changed_without_changing_the_servers(app):
    presets.global_defaults()["loras"][0]["enabled"] = False
    assert presets.global_defaults()["loras"][0]["enabled"] is True


def test_defaults_lie_over_one_another_in_the_order_of_fooocus(app, monkeypatch):
    config = {
        "default_cfg_scale": 5,
        "default_clip_skip": 3,
        "default_sampler": "euler",
        "default_output_format": "webp",
    }
    (Path(app.instance_path) / "config.txt").write_text(json.dumps(config | {"default_performance": "Quality"}))
    add(app, "mine", default_cfg_scale=6.5, default_clip_skip=4)
    app.config["PRESET"] = "mine"
    monkeypatch.setenv("default_clip_skip", "1")
    monkeypatch.setenv("default_black_out_nsfw", "TRUE")
    monkeypatch.setenv("default_styles", "['Fooocus Sharp']")
    assert presets.global_defaults() == DEFAULTS | {
        "guidance_scale": 6.5,
        "clip_skip": 1,
        "sampler_name": "euler",
        "output_format": "webp",
        "black_out_nsfw": True,
        "style_selections": ["Fooocus Sharp"],
    }


def test_a_default_that_does_not_fit_is_told_and_left_out(app, caplog, monkeypatch):
    (Path(app.instance_path) / "config.txt").write_text('{"default_sampler": "swift", "default_loras": [["only"]]}')
    monkeypatch.setenv("default_cfg_scale", "many")
    assert presets.global_defaults() == DEFAULTS
    for key in ("default_sampler", "default_loras", "default_cfg_scale"):
        assert f"{key} of " in caplog.text


@pytest.mark.parametrize(
    "there", ["juggernautXL_v8Rundiffusion.safetensors", "juggernautXL_v6Rundiffusion.safetensors"]
)
def test_an_older_version_of_the_default_model_stands_in_for_it(app, there):
    checkpoints = Path(app.config["MODELS_PATH"]) / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / there).touch()
    assert presets.global_defaults() == DEFAULTS | {"base_model_name": there}


@pytest.mark.parametrize("name", sorted(presets.SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_a_shipped_preset_names_is_in_the_table(app, name):
    files = presets.downloads(name.stem)
    assert files
    assert all(file is known_files.by_name(file.kind, file.name) for file in files)


def test_an_operators_preset_says_where_its_files_are(app):
    add(app, "mine", embeddings_downloads={"a/b.pt": "https://h/b.pt"}, vae_downloads=None)
    assert presets.downloads("mine") == [known_files.KnownFile("embeddings", "a/b.pt", "https://h/b.pt")]


@pytest.mark.parametrize(
    "listed", [["a.pth"], {"../a.pth": "https://h/"}, {"a.pth": "file:///a"}, {"a.py": "https://h/"}, {"a.pth": 5}]
)
def test_a_download_that_is_none_is_told_and_leaves_the_others(app, listed):
    add(app, "mine", lora_downloads=listed, vae_downloads={"v.pth": "https://h/v.pth"})
    assert [file.name for file in presets.downloads("mine")] == ["v.pth"]
    notes = presets.values_and_notes("mine")[1]
    assert len(notes) == 1 and "lora_downloads of the preset mine" in notes[0]


def test_keys_that_set_nothing_are_named(app):
    odd = {f"default_odd_{number}": 1 for number in range(10)}
    add(app, "mine", default_cfg_scale=3.5, _remark="for cats", default_cfg=7, **odd)
    values, notes = presets.values_and_notes("mine")
    assert values == {"guidance_scale": 3.5}
    assert notes == [
        "Keys of the preset mine that set nothing here: default_cfg, "
        + ", ".join(f"default_odd_{number}" for number in range(7))
        + " and 3 more"
    ]


def test_shipped_presets_have_no_such_keys(app):
    assert [presets.values_and_notes(name)[1] for name in presets.names()] == [[]] * len(presets.names())
