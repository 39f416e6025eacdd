"""The files of a checkpoint and those of the built-in model, under one interface."""

import inspect
from pathlib import Path

import pytest

from engine.choices import BUILTIN_CHECKPOINT, CONTROL_TYPES, PERFORMANCES
from engine.errors import CheckpointError
from engine.file_set import FileSet
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.files.file_sets import Installed, Shipped, file_set
from engine.modes import modes_of
from engine.required_files import (
    CANNY,
    CLIP_VISION,
    CPDS,
    FACE_PROMPT,
    IMAGE_PROMPT_NEGATIVE,
    INPAINT_HEAD,
    INPAINT_PATCHES,
    UPSCALER,
)
from schemas.generate import DEFAULTS
from tests.toy import toy_params

FILES = {
    "upscale_models": (UPSCALER,),
    "inpaint": (INPAINT_HEAD, INPAINT_PATCHES["v2.6"]),
    "controlnet": (CANNY, CPDS, FACE_PROMPT, IMAGE_PROMPT_NEGATIVE),
    "clip_vision": (CLIP_VISION,),
    "vae_approx": ("xlvaeapp.pth",),
    "loras": ("sdxl_lcm_lora.safetensors",),
}
CONTROL = [{"cn_img": "/inputs/c.png", "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": kind} for kind in CONTROL_TYPES]
FAST = PERFORMANCES["Lightning"]


@pytest.fixture
def empty(tmp_path):
    """The catalogue of a models folder with nothing in it."""
    return Catalogue(Folders.below(tmp_path / "empty"))


@pytest.fixture
def full(tmp_path):
    """The catalogue of a models folder with the files of every feature."""
    for kind, names in FILES.items():
        for name in names:
            path = tmp_path / "models" / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return Catalogue(Folders.below(tmp_path / "models"))


def paths(files):
    """Every file of a set, for one kind or engine each."""
    return [
        files.upscaler(),
        files.inpaint_head(),
        files.inpaint_patch("v2.6"),
        files.control_net("PyraCanny"),
        files.control_net("CPDS"),
        *files.image_prompt_adapter("FaceSwap"),
        files.clip_vision(),
        files.performance_lora("sdxl_lcm_lora.safetensors"),
    ]


def test_a_checkpoint_selects_the_models_folders_and_none_the_shipped_files(empty):
    assert file_set(empty, None) == Shipped(empty)
    assert file_set(empty, "/models/mine.safetensors") == Installed(empty, Path("/models/mine.safetensors"))


@pytest.mark.parametrize("kind", [Installed, Shipped])
def test_a_set_has_what_the_interface_names_and_no_more(kind):
    def public(cls):
        return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")} | {"checkpoint"}

    assert public(kind) - {"catalogue"} == public(FileSet)


def test_a_checkpoint_is_drawn_with_the_files_of_the_models_folders(full):
    names = {path.name for path in paths(Installed(full, Path("mine.safetensors")))}
    assert names == {name for kind, there in FILES.items() if kind != "vae_approx" for name in there}


def test_the_built_in_model_is_drawn_with_the_shipped_files_alone(empty, full):
    assert all(path.parent == builtin_set.FOLDER and path.is_file() for path in paths(Shipped(empty)))
    assert paths(Shipped(full))[1:] == paths(Shipped(empty))[1:]


def test_an_installed_upscaler_enlarges_for_the_built_in_model_too(full):
    assert Shipped(full).upscaler() == full.find("upscale_models", UPSCALER)


def test_a_missing_file_is_named_with_its_folder(empty):
    files = Installed(empty, Path("mine.safetensors"))
    with pytest.raises(CheckpointError, match=r"fooocus_inpaint_head\.pth is not in the models folder inpaint"):
        files.inpaint_head()
    with pytest.raises(CheckpointError, match=r"control-lora-canny-rank128\.safetensors"):
        files.control_net("PyraCanny")


def test_previews_of_the_built_in_model_never_use_a_network_for_sdxl(empty, full):
    path = Path("mine.safetensors")
    assert Installed(full, path).preview_network("xlvaeapp.pth") == full.find("vae_approx", "xlvaeapp.pth")
    assert Installed(empty, path).preview_network("xlvaeapp.pth") is None
    assert Shipped(full).preview_network("xlvaeapp.pth") is None


def test_the_recorded_checkpoint_is_the_one_that_draws(empty):
    assert Installed(empty, Path("mine.safetensors")).checkpoint_name("sub/mine.safetensors") == "sub/mine.safetensors"
    assert Shipped(empty).checkpoint_name("sub/mine.safetensors") == BUILTIN_CHECKPOINT
    assert Shipped(empty).checkpoint == builtin_set.CHECKPOINT


def test_the_built_in_model_draws_fast_modes_with_its_own_lora_and_tells_that(empty):
    shipped, plain = Shipped(empty), PERFORMANCES["Speed"]
    fast = shipped.performance(FAST)
    assert (fast.lora, fast.lora_weight, fast.sampler, fast.scheduler) == (builtin_set.FEW_STEP.name, 1.0, "lcm", "lcm")
    assert fast.steps == FAST.steps and shipped.performance(plain) is plain
    modes = modes_of(toy_params())
    (note,) = shipped.notes(FAST, modes)
    assert f"4 steps with lcm and {builtin_set.FEW_STEP.name}, not with {FAST.lora}" in note
    assert shipped.notes(plain, modes) == []


def test_a_checkpoint_draws_everything_as_requested(empty):
    files = Installed(empty, Path("mine.safetensors"))
    assert files.performance(FAST) is FAST and files.notes(FAST, modes_of(toy_params(controlnet_image=CONTROL))) == []
    assert files.inpaint_engine("v2.6") == "v2.6" and files.inpaint_notes("v2.6") == []
    assert list(files.control_kinds()) == list(CONTROL_TYPES)


def test_without_its_files_the_built_in_model_has_no_inpaint_engine(empty, monkeypatch, tmp_path):
    shipped = Shipped(empty)
    assert shipped.inpaint_engine("v1") == "v1" and "stands in for v1" in shipped.inpaint_notes("v1")[0]
    assert shipped.inpaint_engine("None") == "None" and shipped.inpaint_notes("None") == []
    monkeypatch.setattr(builtin_set, "INPAINT_PATCH", tmp_path / "none.safetensors")
    assert shipped.inpaint_engine("v1") == "None"
    assert shipped.inpaint_notes("v1") == ["The built-in model repaints without an inpaint engine"]


def test_the_built_in_model_reads_the_kinds_of_control_image_that_it_has_files_for(empty, monkeypatch, tmp_path):
    assert set(Shipped(empty).control_kinds()) == set(CONTROL_TYPES)
    missing = dict.fromkeys(("PyraCanny", "CPDS"), (tmp_path / "none.safetensors",))
    monkeypatch.setattr(builtin_set, "CONTROL", {**builtin_set.CONTROL, **missing})
    assert set(Shipped(empty).control_kinds()) == {"ImagePrompt", "FaceSwap"}


def test_the_built_in_model_needs_only_what_a_request_names(empty):
    lora = {"enabled": True, "model_name": "style.safetensors", "weight": 1.0}
    params = toy_params(loras=[lora], performance_selection="Lightning", controlnet_image=CONTROL)
    assert [need.name for need in Shipped(empty).needs(params)] == ["style.safetensors"]
    names = [need.name for need in Installed(empty, Path("mine.safetensors")).needs(params)]
    assert names[:2] == ["style.safetensors", FAST.lora] and CANNY in names


def test_what_finds_masks_and_nudity_is_needed_with_every_model(empty):
    step = DEFAULTS["enhance_ctrls"][0] | {"enhance_enabled": True, "enhance_mask_model": "u2net"}
    params = toy_params(enhance_checkbox=True, enhance_ctrls=[step], black_out_nsfw=True)
    for files in (Shipped(empty), Installed(empty, Path("mine.safetensors"))):
        members = [need.member for need in files.needs(params)]
        assert members[-2:] == ["enhance_ctrls", "black_out_nsfw"]
