"""What the built-in set makes of pictures as prompts and of pictures to describe, with no file besides it."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from engine.detectors.clip_vision import ClipVision
from engine.detectors.tag_head import TagHead
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.model_store import ModelStore
from engine.pipeline.pipeline import Pipeline
from engine.vision.describe import describe
from tests.toy import toy_draw

pytestmark = pytest.mark.slow

SIDE = 512
STYLE = "3d render"
SHOWN = {"apple": "a red apple on a green background, 3d render", "cat": "a cat on a blue background, 3d render"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draws with the built-in model into the folder of input pictures; an apple and a cat lie there."""
    folder, pipeline = tmp_path_factory.mktemp("pictures"), Pipeline("cpu")

    def draw(name, **changes):
        wish = {"aspect_ratios_selection": f"{SIDE}×{SIDE}", "overwrite_step": 12, "image_seed": 3}
        wish |= {"disable_preview": True}
        ended = pipeline.draw(toy_draw(folder, name, inputs=str(folder), **wish | changes), lambda _: None)
        assert ended.outcome == "finished"
        return np.asarray(Image.open(folder / f"{name}-0.png"))

    draw.shown = {name: draw(name, prompt=prompt) for name, prompt in SHOWN.items()}
    return draw


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Over a models folder with nothing in it."""
    return ModelStore(torch.device("cpu"), Catalogue(Folders.below(tmp_path_factory.mktemp("models"))))


def prompted(drawn, name, weight=0.8):
    """A picture of no words, guided by one of those shown."""
    guide = {"cn_img": f"/inputs/{name}-0.png", "cn_type": "ImagePrompt", "cn_weight": weight, "cn_stop": 0.9}
    return drawn(f"as-{name}-{weight}", prompt=STYLE, controlnet_image=[guide])


@pytest.fixture(scope="module")
def guided(drawn):
    """A picture for each of those shown."""
    return {name: prompted(drawn, name) for name in SHOWN}


def named(store, picture):
    """The object by the tag head."""
    seen = store.load(builtin_set.IMAGE_ENCODER, ClipVision.load).features(picture)
    return store.load(builtin_set.TAG_HEAD, TagHead.load).tags(seen.whole)["object"].tag


def frame(picture):
    """The mean colour of the upper and side rims, as in the training's figures."""
    rim = SIDE // 10
    parts = picture[:rim], picture[:, :rim], picture[:, -rim:]
    return np.concatenate([part.reshape(-1, 3) for part in parts]).mean(0)


def likeness(one, other):
    """How alike the hues of two frames are, -1 to 1, whether light or dark."""
    a, b = (frame(picture) - frame(picture).mean() for picture in (one, other))
    return a @ b / max(1e-6, np.linalg.norm(a) * np.linalg.norm(b))


def test_what_is_described_is_in_the_words(drawn, store):
    for name, picture in drawn.shown.items():
        for kind in ("Photo", "Anime"):
            told = describe(store, picture, kind)
            assert told.model == builtin_set.TAG_HEAD.name
            assert name in told.text, told.text
    for name, colour, kind in (("apple", "green", "Photo"), ("cat", "blue", "Anime")):
        told = describe(store, drawn.shown[name], kind).text
        assert re.search(rf"\b{colour} (studio |gradient )?background", told), told


def test_an_image_prompt_pulls_object_and_colours_towards_its_picture(drawn, guided, store):
    shown, plain = drawn.shown, drawn("plain", prompt=STYLE)
    assert [named(store, picture) for picture in guided.values()] == list(guided)
    assert named(store, plain) not in guided
    for name, other in (("apple", "cat"), ("cat", "apple")):
        assert likeness(guided[name], shown[name]) > likeness(guided[other], shown[name]) + 0.5


def test_without_weight_it_pulls_less(drawn, guided):
    strong, weak = guided["apple"], prompted(drawn, "apple", weight=0.1)
    reference = frame(drawn.shown["apple"])
    assert np.abs(frame(strong) - reference).mean() < np.abs(frame(weak) - reference).mean()


def test_the_files_are_small():
    files = (*builtin_set.CONTROL["ImagePrompt"], builtin_set.TAG_HEAD)
    assert sum(path.stat().st_size for path in files) < 5_000_000
