"""Outlines, structure and inpainting by the built-in model's own files: seen in the pixels."""

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.files import builtin_set
from engine.images.canny import pyra_canny
from engine.models.upscaler import Upscaler
from engine.pipeline.pipeline import Pipeline
from tests.toy import toy_draw

pytestmark = pytest.mark.slow

SIDE = 512
NEAR, BRIGHT = 2, 96
GUIDED = "a red ball and a blue book"
BOX = slice(40, 150), slice(330, 470)
"""A part of the plain background."""
RIM = 32


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draws with the built-in model into the folder of input pictures."""
    folder, pipeline = tmp_path_factory.mktemp("pictures"), Pipeline("cpu")

    def draw(name, **changes):
        wish = {"prompt": "a red apple on a white background", "overwrite_step": 8, "disable_preview": True}
        wish |= {"aspect_ratios_selection": f"{SIDE}×{SIDE}"}
        ended = pipeline.draw(toy_draw(folder, name, inputs=str(folder), **wish | changes), lambda _: None)
        assert ended.outcome == "finished"
        return np.asarray(Image.open(folder / f"{name}-0.png"))

    draw.folder, draw.apple = folder, draw("apple")
    return draw


@pytest.fixture(scope="module")
def sketch(drawn):
    """A picture of flat shapes where the model would not put them."""
    picture = np.full((SIDE, SIDE, 3), 235, np.uint8)
    cv2.circle(picture, (170, 330), 120, (200, 40, 40), -1)
    cv2.rectangle(picture, (360, 90), (460, 260), (40, 60, 180), -1)
    Image.fromarray(picture).save(drawn.folder / "sketch.png")
    return picture


def outlined(picture):
    return pyra_canny(np.ascontiguousarray(picture))[:, :, 0] >= BRIGHT


def overlap(made, wanted):
    """How well one picture's outlines cover another's, 0 to 1, a little apart."""
    kernel = np.ones((2 * NEAR + 1,) * 2, np.uint8)
    a, b = outlined(made), outlined(wanted)
    near_a, near_b = (cv2.dilate(lines.astype(np.uint8), kernel) > 0 for lines in (a, b))
    found, right = (b & near_a).sum() / max(1, b.sum()), (a & near_b).sum() / max(1, a.sum())
    return 2 * found * right / max(1e-6, found + right)


def guide(kind, weight=1.0, stop=1.0):
    given = {"cn_img": "/inputs/sketch.png", "cn_type": kind, "cn_weight": weight, "cn_stop": stop}
    return {"controlnet_image": [given], "prompt": GUIDED, "image_seed": 7}


@pytest.fixture(scope="module")
def without(drawn, sketch):
    """How well the outlines are met by chance."""
    return overlap(drawn("free", prompt=GUIDED, image_seed=7), sketch)


def test_outlines_are_kept_and_by_weight(drawn, sketch, without):
    usual = overlap(drawn("usual", **guide("PyraCanny", 0.6, 0.6)), sketch)
    full = overlap(drawn("full", **guide("PyraCanny")), sketch)
    assert full > 0.35 and full > usual > without + 0.1


def test_outlines_are_kept_at_the_default_size(drawn, sketch):
    Image.fromarray(sketch).resize((1152, 896)).save(drawn.folder / "wide.png")
    wish = guide("PyraCanny") | {"aspect_ratios_selection": "1152×896"}
    wish["controlnet_image"][0]["cn_img"] = "/inputs/wide.png"
    made = drawn("wide-made", **wish)
    assert made.shape == (896, 1152, 3)
    small = np.asarray(Image.fromarray(made).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    assert overlap(small, sketch) > 0.25


def test_structure_is_kept(drawn, sketch, without):
    assert overlap(drawn("structure", **guide("CPDS")), sketch) > without + 0.1


def repainted(drawn, name, **changes):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[BOX] = 255
    Image.fromarray(mask).save(drawn.folder / "mask.png")
    given = {"inpaint_input_image": "/inputs/apple-0.png", "inpaint_mask_image_upload": "/inputs/mask.png"}
    return drawn(name, **given, image_seed=99, **changes)


def test_what_is_repainted_fits_what_is_around_it_and_the_rest_stays(drawn, redraw_at):
    redraw_at(SIDE)
    own, none = (repainted(drawn, f"engine-{engine}", inpaint_engine=engine) for engine in ("v2.6", "None"))
    outside = np.ones((SIDE, SIDE), bool)
    outside[BOX[0].start - RIM : BOX[0].stop + RIM, BOX[1].start - RIM : BOX[1].stop + RIM] = False
    assert np.array_equal(own[outside], drawn.apple[outside])

    def apart(made):
        return np.abs(made[BOX].astype(float) - drawn.apple[BOX].astype(float)).mean()

    assert apart(own) < 25 and apart(own) < apart(none) / 2


def test_the_masked_part_becomes_what_the_prompt_says(drawn, redraw_at):
    redraw_at(SIDE)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[100:420, 100:420] = 255
    Image.fromarray(mask).save(drawn.folder / "middle.png")
    given = {"inpaint_input_image": "/inputs/apple-0.png", "inpaint_mask_image_upload": "/inputs/middle.png"}
    made = drawn("sunflower", prompt="a yellow sunflower", **given, image_seed=99)[100:420, 100:420].astype(int)
    red, green, blue = np.moveaxis(made, 2, 0)
    assert ((red > 150) & (green > 120) & (blue < 110)).mean() > 0.15


def test_the_upscaler_comes_nearer_to_a_picture_than_interpolation(drawn):
    Image.fromarray(drawn.apple).resize((SIDE // 2,) * 2, Image.Resampling.BICUBIC).save(drawn.folder / "half.png")
    half = np.array(Image.open(drawn.folder / "half.png"))
    upscaler = Pipeline("cpu").store.load(builtin_set.UPSCALER, Upscaler.load)
    interpolated = np.asarray(Image.fromarray(half).resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    def error(made):
        return np.square(made.astype(float) - drawn.apple.astype(float)).mean()

    assert error(upscaler.upscale(half)) < error(interpolated)
