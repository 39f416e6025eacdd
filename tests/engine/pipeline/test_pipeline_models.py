"""Requests that name LoRAs, refiners and VAEs, drawn whole by the real pipeline with toy files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.make_checkpoint import SIZES, random_weights
from engine.errors import CheckpointError
from engine.files.catalogue import Folders
from engine.files.hashes import HashCache
from engine.messages import PictureDone, Progressed
from engine.models import weight_names
from engine.pipeline.pipeline import Pipeline
from tests.expansion_files import expansion_files
from tests.toy import toy_checkpoint, toy_draw

LORA_BASE = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_v"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder: two checkpoints, LoRAs, a VAE."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "loras/sub", "vae", "embeddings"):
        (folder / kind).mkdir(parents=True)
    toy_checkpoint(folder / "checkpoints" / "base.safetensors")
    toy_checkpoint(folder / "checkpoints" / "second.safetensors", seed=5)
    save_file(lora(1), folder / "loras" / "style.safetensors")
    save_file(lora(2), folder / "loras" / "sub" / "other.safetensors")
    save_file(lora(3), folder / "loras" / "sdxl_lightning_4step_lora.safetensors")
    vae = {name: tensor for name, tensor in random_weights(SIZES["tiny"], seed=9) if name.startswith(weight_names.VAE)}
    save_file(vae, folder / "vae" / "other.safetensors")
    width = {"clip_l": SIZES["tiny"].clip_l[0], "clip_g": SIZES["tiny"].clip_g[0]}
    save_file({part: torch.ones(2, wide) for part, wide in width.items()}, folder / "embeddings" / "bright.safetensors")
    expansion_files(folder / "prompt_expansion" / "fooocus_expansion")
    return folder


def lora(seed):
    generator = torch.Generator().manual_seed(seed)
    wide = sum(size[0] for size in (SIZES["tiny"].clip_l, SIZES["tiny"].clip_g))
    up = torch.randn(SIZES["tiny"].widths[-1], 2, generator=generator)
    down = torch.randn(2, wide, generator=generator)
    return {f"{LORA_BASE}.lora_up.weight": up, f"{LORA_BASE}.lora_down.weight": down}


@pytest.fixture(scope="module")
def pipeline(models, toy):
    return Pipeline("cpu", Folders.below(models), builtin=toy)


@pytest.fixture
def drawn(pipeline, models, tmp_path):
    """Draws a small picture with the first checkpoint: its pixels, its end, its metadata, its messages."""
    count = iter(range(100))

    def draw(**changes):
        heard = []
        params = {"base_model_name": "base.safetensors"} | changes
        checkpoint = models / "checkpoints" / params["base_model_name"]
        command = toy_draw(tmp_path, f"task{next(count)}", checkpoint=checkpoint, **params)
        ended = pipeline.draw(command, heard.append)
        (done,) = [event for event in heard if isinstance(event, PictureDone)]
        with Image.open(done.path) as image:
            told = json.loads(image.text["parameters"])
            return np.asarray(image).copy(), ended, told, heard

    return draw


def named(name, weight=1.0):
    return {"loras": [{"enabled": True, "model_name": name, "weight": weight}]}


def test_a_lora_changes_the_picture_by_its_weight_and_is_in_its_metadata(drawn):
    plain, _, _, _ = drawn()
    half, ended, told, _ = drawn(**named("style.safetensors", 0.5))
    whole, _, _, _ = drawn(**named("style.safetensors", 1.0))
    assert not np.array_equal(plain, half) and not np.array_equal(half, whole)
    assert told["lora_combined_1"] == "style : 0.5" and ended.notes == []
    again, _, told, _ = drawn()
    assert np.array_equal(plain, again) and "lora_combined_1" not in told


def test_a_lora_that_is_switched_off_changes_nothing(drawn):
    off = {"loras": [{"enabled": False, "model_name": "style.safetensors", "weight": 1.0}]}
    assert np.array_equal(drawn()[0], drawn(**off)[0])


def test_a_tag_in_the_prompt_is_a_lora_and_no_text(drawn):
    tagged, _, told, _ = drawn(prompt="a red cat <lora:other:0.7>")
    asked, _, _, _ = drawn(**named("sub/other.safetensors", 0.7))
    assert np.array_equal(tagged, asked)
    assert (told["prompt"], told["lora_combined_1"]) == ("a red cat", "other : 0.7")


def test_a_tag_counts_beside_empty_slots_and_what_exceeds_the_limit_is_named(drawn):
    slots = [{"enabled": True, "model_name": "None", "weight": 1.0}] * 5
    _, ended, told, _ = drawn(prompt="a red cat <lora:other:0.7>", loras=slots)
    assert (told["lora_combined_1"], ended.notes) == ("other : 0.7", [])
    full = named("style.safetensors", 0.1)["loras"] * 5
    _, ended, told, _ = drawn(prompt="a red cat <lora:other:0.7>", loras=full)
    assert "other" not in {name for name, *_ in told["loras"]}
    assert len(ended.notes) == 1 and "sub/other.safetensors of the prompt is left out" in ended.notes[0]


def test_a_fast_mode_brings_its_lora_and_what_it_forces(drawn):
    picture, _, told, heard = drawn(performance_selection="Lightning", overwrite_step=-1)
    assert told["loras"][0][:2] == ["sdxl_lightning_4step_lora", 1.0]
    forced = ("sampler", "scheduler", "guidance_scale", "sharpness", "adm_guidance", "steps")
    assert [told[key] for key in forced] == ["euler", "sgm_uniform", 1.0, 0.0, "(1.0, 1.0, 0.0)", 4]
    assert sum(isinstance(event, Progressed) and "Sampling step 4/4" in event.message for event in heard) == 1
    assert picture.std() > 1


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
def test_a_refiner_takes_over_in_every_way(drawn, method):
    plain, _, _, _ = drawn(overwrite_step=6)
    refine = {"refiner_model_name": "second.safetensors", "refiner_swap_method": method, "overwrite_switch": 3}
    refined, _, told, _ = drawn(overwrite_step=6, **refine)
    assert not np.array_equal(plain, refined)
    assert told["refiner_model"] == "second"
    again, _, _, _ = drawn(overwrite_step=6, **refine)
    assert np.array_equal(refined, again)


def test_a_refiner_that_is_the_base_is_none(drawn):
    plain, _, told, _ = drawn(refiner_model_name="base.safetensors")
    assert np.array_equal(plain, drawn()[0]) and told["refiner_model"] == "None"


def test_another_vae_decodes_the_same_latent(drawn):
    plain, _, _, _ = drawn()
    other, _, told, _ = drawn(vae_name="other.safetensors")
    assert not np.array_equal(plain, other) and told["vae"] == "other"


def test_a_checkpoint_without_a_vae_draws_with_one_that_is_named(drawn, models):
    weights = load_file(models / "checkpoints" / "base.safetensors")
    bare = {name: tensor for name, tensor in weights.items() if not name.startswith(weight_names.VAE)}
    save_file(bare, models / "checkpoints" / "bare.safetensors")
    picture, _, _, _ = drawn(base_model_name="bare.safetensors", vae_name="other.safetensors")
    assert np.array_equal(picture, drawn(vae_name="other.safetensors")[0])
    with pytest.raises(CheckpointError, match=r"bare\.safetensors .* vae_name"):
        drawn(base_model_name="bare.safetensors")


def test_an_embedding_stands_for_its_word(drawn):
    plain, _, _, _ = drawn(prompt="a red cat")
    bright, ended, _, _ = drawn(prompt="a red embedding:bright cat")
    assert not np.array_equal(plain, bright) and ended.notes == []
    ignored, ended, _, _ = drawn(prompt="a red embedding:gone cat")
    assert np.array_equal(plain, ignored)
    assert ended.notes == ["There is no embedding called gone; it is ignored"]


def test_an_expansion_adds_words_that_the_metadata_tell(drawn):
    plain, _, _, _ = drawn()
    expanded, ended, told, heard = drawn(style_selections=["Fooocus V2"])
    assert not np.array_equal(plain, expanded) and ended.notes == []
    assert told["prompt_expansion"].startswith("a red cat, ") and told["styles"] == "['Fooocus V2']"
    assert told["full_prompt"] == ["a red cat", told["prompt_expansion"]]
    assert any(isinstance(event, Progressed) and "Fooocus text #1" in event.message for event in heard)
    again, _, _, _ = drawn(style_selections=["Fooocus V2"])
    assert np.array_equal(expanded, again)


@pytest.mark.parametrize(
    "changes",
    [named("gone.safetensors"), {"vae_name": "gone.safetensors"}, {"refiner_model_name": "gone.safetensors"}],
    ids=("lora", "vae", "refiner"),
)
def test_a_file_that_went_away_is_named(drawn, changes):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        drawn(**changes)


def test_the_hash_of_every_model_is_in_the_metadata(models, toy, tmp_path):
    pipeline = Pipeline("cpu", Folders.below(models), builtin=toy, hashes=HashCache(tmp_path / "hashes.txt"))
    checkpoint = models / "checkpoints" / "base.safetensors"
    command = toy_draw(
        tmp_path, checkpoint=checkpoint, base_model_name="base.safetensors", **named("style.safetensors")
    )
    pipeline.draw(command, lambda event: None)
    with Image.open(tmp_path / "task-0.png") as image:
        told = json.loads(image.text["parameters"])
    assert len(told["base_model_hash"]) == 10
    assert [len(entry[2]) for entry in told["loras"]] == [10]
