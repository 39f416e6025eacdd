"""What runs out of memory in the middle of a task goes on under a smaller plan: no picture is lost, or comes twice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import required_files
from engine.detectors.safety_checker import SafetyChecker
from engine.detectors.segmentation import Segmenter
from engine.errors import TooLittleMemory
from engine.files.catalogue import Folders
from engine.interruption import Interruption
from engine.pipeline.memory import STEPPED_DOWN
from engine.pipeline.pipeline import Pipeline
from schemas.generate import DEFAULTS
from tests.engine.picture_models import picture_models
from tests.engine.pipeline.test_memory import image_prompt
from tests.engine.pipeline.test_pipeline import Watcher, pixels
from tests.toy import toy_draw

FULL = "CUDA out of memory, as this test has it"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settled", "redrawn_small")]


class RunsOutOfMemory:
    """Has a module run out of memory at the calls with these numbers, the first one being 1."""

    def __init__(self, module, *calls):
        self.calls, self.count = calls, 0
        module.register_forward_pre_hook(self)

    def __call__(self, *_):
        self.count += 1
        if self.count in self.calls:
            raise torch.OutOfMemoryError(FULL)


class Drawn:
    """A task drawn whole: its messages, its pictures' numbers and bytes, its end."""

    def __init__(self, pipeline, folder, interruption=None, **changes):
        self.watcher = Watcher()
        self.ended = pipeline.draw(toy_draw(folder, **changes), self.watcher, interruption)
        self.numbers = [done.index for done in self.watcher.pictures]
        self.files = [Path(done.path).read_bytes() for done in self.watcher.pictures]
        self.plan = self.ended.drawn_with["memory"]["plan"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    inputs = folder / "inputs"
    inputs.mkdir()
    y, x = np.mgrid[:96, :128]
    Image.fromarray(np.stack([x, y, 2 * (x ^ y) % 256], axis=2).astype(np.uint8)).save(inputs / "scene.png")
    return picture_models(folder / "models")


@pytest.fixture
def with_models(models):
    """A pipeline with models for pictures in requests, and what its requests say."""
    pipeline = Pipeline("cpu", Folders.below(models))
    checkpoint = models / "checkpoints" / "base.safetensors"
    wish = {"checkpoint": checkpoint, "inputs": str(models.parent / "inputs"), "disable_preview": True}
    return pipeline, pipeline.store._base(checkpoint).checkpoint, wish | {"overwrite_step": 2}


def built_in(pipeline):
    return pipeline.store._base(pipeline.catalogue.builtin).checkpoint


THREE = {"image_number": 3, "disable_preview": True}


@pytest.fixture(scope="module")
def three(pipeline, tmp_path_factory):
    """Three pictures that there is memory for."""
    return Drawn(pipeline, tmp_path_factory.mktemp("three"), **THREE)


@pytest.mark.parametrize(
    ("calls", "plan"), [((1,), "turns"), ((2,), "turns"), ((3,), "turns"), ((1, 2), "alone"), ((1, 3), "alone")]
)
def test_any_picture_that_finds_no_memory_to_be_decoded_in_is_decoded_again(three, toy, tmp_path, calls, plan):
    stepping = Pipeline("cpu", builtin=toy)
    RunsOutOfMemory(built_in(stepping).vae.module.decoder, *calls)
    stepped = Drawn(stepping, tmp_path, task_id="stepped", **THREE)
    assert stepped.files == three.files and stepped.numbers == [0, 1, 2]
    assert stepped.ended.notes == [STEPPED_DOWN] and stepped.plan == plan
    assert stepped.watcher.messages[-1] == three.watcher.messages[-1]
    after = Drawn(stepping, tmp_path, task_id="after")
    assert after.plan == "resident" and after.ended.notes == []


def test_progress_does_not_fall_behind_a_picture_that_is_over(toy, tmp_path, with_models):
    pipeline, checkpoint, wish = with_models
    net = {"controlnet_image": [image_prompt("PyraCanny")], "image_number": 3}
    RunsOutOfMemory(checkpoint.unet.mid_block, 5)  # the third picture's first step, after which nets are made again
    drawn = Drawn(pipeline, tmp_path, **wish, **net)
    percents = [percent for percent, _ in drawn.watcher.messages]
    assert drawn.numbers == [0, 1, 2] and drawn.plan == "turns"
    assert percents == sorted(percents)


@pytest.mark.parametrize("place", ["vae", "unet"])
def test_nets_that_share_weights_are_made_again_and_no_picture_comes_twice(with_models, models, tmp_path, place):
    pipeline, checkpoint, wish = with_models
    net = {"controlnet_image": [image_prompt("PyraCanny"), image_prompt("CPDS")], "image_number": 3}
    plain = Drawn(Pipeline("cpu", Folders.below(models)), tmp_path, task_id="plain", **wish, **net)
    module = {"vae": checkpoint.vae.module.decoder, "unet": checkpoint.unet.mid_block}[place]
    fails = RunsOutOfMemory(module, 2 if place == "vae" else 4)
    stepped = Drawn(pipeline, tmp_path, task_id="stepped", **wish, **net)
    assert stepped.files == plain.files and stepped.numbers == [0, 1, 2]
    assert stepped.plan == "turns" and stepped.ended.notes.count(STEPPED_DOWN) == 1
    assert fails.count <= (4 if place == "vae" else 8)  # what was there is not drawn again


def test_pictures_that_are_saved_stay_where_not_even_the_smallest_plan_decodes_the_next(toy, tmp_path):
    full = Pipeline("cpu", builtin=toy)
    RunsOutOfMemory(built_in(full).vae.module.decoder, *range(2, 1000))
    watcher = Watcher()
    with pytest.raises(TooLittleMemory, match=r"^The GPU ran out of memory"):
        full.draw(toy_draw(tmp_path, image_number=3, disable_preview=True), watcher)
    assert [done.index for done in watcher.pictures] == [0]
    assert pixels(tmp_path / "task-0.png").std() > 5
    assert full.memory.plan.tiles and not (tmp_path / "task-1.png").exists()


@pytest.mark.parametrize("wish", ["stop", "skip"])
def test_a_wish_that_comes_while_a_picture_waits_to_be_decoded_again_is_heard(toy, tmp_path, wish):
    stepping, interruption = Pipeline("cpu", builtin=toy), Interruption()
    decoder = built_in(stepping).vae.module.decoder
    decoder.register_forward_pre_hook(lambda *_: getattr(interruption, wish)() if fails.count == 0 else None)
    fails = RunsOutOfMemory(decoder, 1)
    drawn = Drawn(stepping, tmp_path, interruption, image_number=2, disable_preview=True)
    if wish == "stop":
        assert drawn.ended.outcome == "stopped" and drawn.numbers == []
    else:
        assert drawn.ended.outcome == "finished" and drawn.numbers == [0]
        assert "Image 2 was skipped" in drawn.ended.notes and STEPPED_DOWN in drawn.ended.notes


def test_a_safety_checker_that_runs_out_of_memory_has_its_picture_decoded_again(with_models, tmp_path):
    pipeline, _, wish = with_models
    checker = pipeline.store.load_named("safety_checker", required_files.SAFETY_CHECKER, SafetyChecker.load)
    RunsOutOfMemory(checker.tower, 2)
    drawn = Drawn(pipeline, tmp_path, **wish, image_number=3, black_out_nsfw=True)
    assert drawn.numbers == [0, 1, 2] and drawn.plan == "turns"
    assert not any(pixels(done.path).any() for done in drawn.watcher.pictures)


ENHANCED = {"image_number": 2, "enhance_checkbox": True, "enhance_uov_method": "Vary (Subtle)"}
STEP = {"enhance_enabled": True, "enhance_mask_model": "u2netp", "enhance_inpaint_engine": "None"}


@pytest.fixture(scope="module")
def enhanced(models, redrawn_small, tmp_path_factory):
    """The files of a task whose two pictures are varied, where there is memory for all."""
    checkpoint, inputs = models / "checkpoints" / "base.safetensors", str(models.parent / "inputs")
    wish = {"checkpoint": checkpoint, "inputs": inputs, "disable_preview": True, "overwrite_step": 2}
    plain = Drawn(Pipeline("cpu", Folders.below(models)), tmp_path_factory.mktemp("enhanced"), **wish, **ENHANCED)
    assert plain.numbers == [0, 1, 2, 3] and plain.ended.notes == []
    return plain.files


@pytest.mark.parametrize(("place", "call"), [("unet", 8), ("decoder", 3)])
def test_an_enhancement_that_runs_out_of_memory_goes_on_after_what_is_saved(
    with_models, enhanced, tmp_path, place, call
):
    pipeline, base, wish = with_models
    RunsOutOfMemory({"unet": base.unet.mid_block, "decoder": base.vae.module.decoder}[place], call)
    drawn = Drawn(pipeline, tmp_path, **wish, **ENHANCED)
    assert drawn.files == enhanced and drawn.numbers == [0, 1, 2, 3]
    assert drawn.plan == "turns" and drawn.ended.notes == [STEPPED_DOWN]


def test_a_step_of_the_enhancement_whose_texts_run_out_of_memory_is_begun_again(
    with_models, models, tmp_path, monkeypatch
):
    monkeypatch.setattr(Segmenter, "mask", lambda _, picture, category: np.full(picture.shape[:2], 255, np.uint8))
    pipeline, base, wish = with_models
    step = DEFAULTS["enhance_ctrls"][0] | STEP | {"enhance_prompt": "a blue dog"}
    steps = {"enhance_checkbox": True, "enhance_ctrls": [step]}
    plain = Drawn(Pipeline("cpu", Folders.below(models)), tmp_path, task_id="plain", **wish, **steps)
    texts = RunsOutOfMemory(base.text_encoders.clip_g.module, 3)
    drawn = Drawn(pipeline, tmp_path, **wish, **steps)
    assert drawn.files == plain.files and drawn.numbers == [0, 1]
    assert drawn.plan == "turns" and drawn.ended.notes == [STEPPED_DOWN] and texts.count > 3


def test_an_encoder_that_runs_out_of_memory_has_the_others_leave_before_it_takes_tiles(with_models, enhanced, tmp_path):
    pipeline, base, wish = with_models
    encoder = RunsOutOfMemory(base.vae.module.encoder, 2)
    assert Drawn(pipeline, tmp_path, **wish, **ENHANCED).files == enhanced
    assert encoder.count == 3


def test_a_mask_that_there_is_no_memory_for_is_looked_for_again(with_models, tmp_path, monkeypatch):
    pipeline, _, wish = with_models
    failures = [torch.OutOfMemoryError(FULL)]

    def mask(segmenter, picture, category):
        if failures:
            raise failures.pop()
        return np.zeros(picture.shape[:2], np.uint8)

    monkeypatch.setattr(Segmenter, "mask", mask)
    steps = {"enhance_checkbox": True, "enhance_ctrls": [DEFAULTS["enhance_ctrls"][0] | STEP]}
    drawn = Drawn(pipeline, tmp_path, **wish, **steps)
    assert drawn.numbers == [0] and drawn.plan == "turns"
    assert drawn.ended.notes == [STEPPED_DOWN, "Step 1 of the enhancement found nothing in image 1"]


def test_a_safety_checker_of_a_picture_that_is_only_enlarged_has_one_more_try(with_models, tmp_path):
    pipeline, _, wish = with_models
    checker = pipeline.store.load_named("safety_checker", required_files.SAFETY_CHECKER, SafetyChecker.load)
    RunsOutOfMemory(checker.tower, 1)
    fast = {"uov_method": "Upscale (Fast 2x)", "uov_input_image": "/inputs/scene.png", "black_out_nsfw": True}
    drawn = Drawn(pipeline, tmp_path, **wish, **fast)
    assert drawn.numbers == [0] and not pixels(tmp_path / "task-0.png").any()


@pytest.mark.parametrize("net", [[], [image_prompt("PyraCanny")]], ids=["plain", "net"])
def test_room_that_is_made_for_a_look_between_two_steps_changes_no_picture(with_models, models, tmp_path, net):
    pipeline, _, wish = with_models
    plain = Drawn(Pipeline("cpu", Folders.below(models)), tmp_path, task_id="plain", **wish, controlnet_image=net)
    made = Drawn(pipeline, tmp_path, Interruption(pipeline.memory.clear), **wish, controlnet_image=net)
    assert made.files == plain.files
