"""What the built-in model makes of pictures, with no file besides it: seen in the pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from engine import choices
from engine.detectors.clip_vision import ClipVision
from engine.detectors.tag_head import TagHead
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.model_store import ModelStore
from engine.pipeline.pipeline import Pipeline
from tests.toy import toy_draw

pytestmark = pytest.mark.slow

SIDE, SMALL = 512, 320
INSIDE, RIM = slice(170, 350), 32


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draws with the built-in model into the folder of input pictures; apples and a mask lie there."""
    folder, pipeline = tmp_path_factory.mktemp("pictures"), Pipeline("cpu")

    def draw(name, notes=None, **changes):
        wish = {"prompt": "a red apple, 3d render", "overwrite_step": 8, "disable_preview": True}
        wish |= {"aspect_ratios_selection": f"{SIDE}×{SIDE}"}
        ended = pipeline.draw(toy_draw(folder, name, inputs=str(folder), **wish | changes), lambda _: None)
        assert ended.outcome == "finished"
        if notes is not None:
            notes += ended.notes
        return np.asarray(Image.open(folder / f"{name}-0.png")).astype(float)

    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[INSIDE, INSIDE] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    draw.apple = draw("apple")
    draw.small = scaled(draw.apple, SMALL)
    Image.fromarray(draw.small.astype(np.uint8)).save(folder / "small.png")
    return draw


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Over a models folder with nothing in it."""
    return ModelStore(torch.device("cpu"), Catalogue(Folders.below(tmp_path_factory.mktemp("models"))))


def psnr(one, other):
    return 10 * np.log10(255**2 / ((one - other) ** 2).mean())


def scaled(picture, side):
    return np.asarray(Image.fromarray(picture.astype(np.uint8)).resize((side, side), Image.Resampling.LANCZOS), float)


def test_a_picture_sampled_smaller_than_it_is_has_no_frame(drawn):
    notes = []
    made = drawn("framed", prompt="a red apple on a blue background", aspect_ratios_selection="768×704", notes=notes)
    assert made.shape == (704, 768, 3) and any(note.startswith("Sampled at 704×640") for note in notes)

    def steps(part):
        return np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean()

    above = made[:, 8:-8].mean(2)  # the background's upper part, from the edge inwards
    edge, inwards = steps(above[:40, :200]), steps(above[40:80, 40:200])
    assert edge <= 1.5 * inwards + 0.3
    columns = made.mean(2)[:200]
    assert steps(columns[:, :40]) <= 1.5 * steps(columns[:, 40:80]) + 0.3


def test_upscaling_keeps_what_is_in_the_picture(drawn, redraw_at):
    redraw_at(SMALL)
    given = {"uov_input_image": "/inputs/small.png", "uov_method": "Upscale (1.5x)"}
    made = drawn("larger", **given, image_seed=99, overwrite_step=4)
    assert made.shape == (480, 480, 3)
    assert psnr(scaled(made, SMALL), drawn.small) >= 28


def test_enlarging_alone_keeps_the_picture(drawn, redraw_at):
    redraw_at(SMALL)
    made = drawn("fast", uov_input_image="/inputs/small.png", uov_method="Upscale (Fast 2x)")
    assert made.shape == (640, 640, 3)
    bicubic = Image.fromarray(drawn.small.astype(np.uint8)).resize((640, 640), Image.Resampling.BICUBIC)
    assert psnr(scaled(made, SMALL), drawn.small) >= 36 and not np.array_equal(made, np.asarray(bicubic))


def test_a_subtle_variation_is_nearer_than_a_strong_one(drawn, redraw_at):
    redraw_at(SIDE)
    given = {"uov_input_image": "/inputs/apple-0.png", "image_seed": 99}
    subtle, strong = (drawn(kind, **given, uov_method=f"Vary ({kind})") for kind in ("Subtle", "Strong"))
    assert psnr(subtle, drawn.apple) > psnr(strong, drawn.apple) + 3


@pytest.mark.parametrize("mode", ["Extreme Speed", "Lightning", "Hyper-SD"])
def test_a_fast_mode_draws_what_is_asked_for_in_few_steps(drawn, store, mode):
    steps, notes = choices.PERFORMANCES[mode].steps, []
    made = drawn(f"fast {mode}", prompt="a red apple on a blue background", performance_selection=mode,
                 overwrite_step=-1, notes=notes)  # fmt: skip
    assert f"{steps} steps with lcm and {builtin_set.FEW_STEP.name}" in " ".join(notes)
    seen = store.load(builtin_set.IMAGE_ENCODER, ClipVision.load).features(made.astype(np.uint8))
    seen = store.load(builtin_set.TAG_HEAD, TagHead.load).tags(seen.whole)
    assert seen["object"].tag == "apple"
    corner = made[:40, :40].reshape(-1, 3).mean(0)
    assert corner[2] > corner[0] + 40  # the ground is blue


def test_the_masked_part_becomes_what_the_prompt_says_and_the_rest_stays(drawn, redraw_at):
    redraw_at(SIDE)
    given = {"inpaint_input_image": "/inputs/apple-0.png", "inpaint_mask_image_upload": "/inputs/mask.png"}
    made = drawn("sunflower", prompt="a yellow sunflower", **given, image_seed=99)
    outside = np.ones((SIDE, SIDE), bool)
    outside[INSIDE.start - RIM : INSIDE.stop + RIM, INSIDE.start - RIM : INSIDE.stop + RIM] = False
    assert np.array_equal(made[outside], drawn.apple[outside])

    def yellow(picture):
        red, green, blue = np.moveaxis(picture[INSIDE, INSIDE], 2, 0)
        return float(((red > 150) & (green > 150) & (blue < 110)).mean())

    assert yellow(made) > 0.1 > 0.02 > yellow(drawn.apple)
