"""What there is to choose from."""

import json

import pytest
from marshmallow import ValidationError

from engine import choices
from fooocus_flask.model_files.folders import style_names
from schemas.generate import GenerateSchema


@pytest.fixture
def client(tmp_path, make_app):
    for name in ("checkpoints/SDXL/b.safetensors", "checkpoints/a.ckpt", "loras/l.safetensors", "vae/v.pth"):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return make_app(INSTANCE=tmp_path, MODELS_PATH="models").test_client()


def test_the_models_are_the_files_there_are_now(client, tmp_path):
    first = client.get("/v1/engines/all-models").json
    assert [name for name in first["model_filenames"] if name != choices.BUILTIN_CHECKPOINT] == [
        "SDXL/b.safetensors",
        "a.ckpt",
    ]
    assert first["lora_filenames"] == ["l.safetensors"]
    (tmp_path / "models" / "loras" / "new.safetensors").write_bytes(b"")
    assert client.get("/v1/engines/all-models").json["lora_filenames"] == ["l.safetensors", "new.safetensors"]


def test_there_are_279_styles(client):
    styles = client.get("/v1/engines/styles").json
    assert len(styles) == len(set(styles)) == 279
    assert styles[:3] == ["Fooocus V2", "Random Style", "Fooocus Enhance"]


def test_a_users_styles_are_listed_and_taken_as_they_are_now(client, tmp_path):
    folder, schema = tmp_path / "sdxl_styles", GenerateSchema(style_names=style_names)
    folder.mkdir()
    for name in ("Watercolour", "Charcoal"):
        (folder / "mine.json").write_text(json.dumps([{"name": name, "prompt": "{prompt} as " + name}]), "utf-8")
        assert client.get("/v1/engines/styles").json[:3] == ["Fooocus V2", "Random Style", name]
        with client.application.app_context():
            assert schema.load({"style_selections": [name]}) == {"style_selections": [name]}
    with client.application.app_context(), pytest.raises(ValidationError):
        schema.load({"style_selections": ["Watercolour"]})


def test_the_vaes_start_with_the_checkpoints_own(client):
    assert client.get("/v1/engines/vaes").json == ["Default (model)", "v.pth"]


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("styles", "style_selections"),
        ("presets", "preset"),
        ("sizes", "aspect_ratios_selection"),
        ("samplers", "sampler_name"),
        ("schedulers", "scheduler_name"),
        ("vaes", "vae_name"),
    ],
)
def test_a_listed_name_is_a_value_of_its_member(client, path, member):
    listed = client.get(f"/v1/engines/{path}").json
    assert listed
    for name in listed:
        GenerateSchema().load({member: [name] if member == "style_selections" else name})


def test_what_a_prompt_may_name_is_listed(client, tmp_path):
    for folder, name in (("wildcards", "mood.txt"), ("models/embeddings", "calm.safetensors")):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("quiet\n")
    wildcards = client.get("/v1/engines/wildcards").json
    assert {"color", "mood"} < set(wildcards) and wildcards == sorted(wildcards)
    assert client.get("/v1/engines/embeddings").json == ["calm.safetensors"]


def test_the_performance_modes_tell_what_they_need(client):
    modes = {mode.pop("name"): mode for mode in client.get("/v1/engines/performance-modes").json}
    assert list(modes) == ["Quality", "Speed", "Extreme Speed", "Lightning", "Hyper-SD"]
    assert modes["Speed"] == {"steps": 30, "upscale_steps": 18, "lora": None, "lora_url": None}
    assert modes["Lightning"]["lora"] == "sdxl_lightning_4step_lora.safetensors"
    assert modes["Lightning"]["lora_url"].startswith("https://")
