"""Masks by words: boxes grown, drawn, and counted."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine.detectors import grounding_dino
from engine.errors import CheckpointError
from engine.files.catalogue import Catalogue, Folders
from engine.messages import Look
from engine.model_store import ModelStore
from engine.vision.find_mask import MaskFound, MaskOptions, draw_boxes, find_mask, grow_boxes
from engine.vision.inspect import enlarged_mask, inspect
from tests.engine.detectors import mask_files


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    mask_files.write_sam(folder / "sam" / "sam_vit_l_0b3195.pth")
    mask_files.write_grounding_dino(folder / "inpaint" / "groundingdino_swint_ogc.pth")
    return ModelStore(torch.device("cpu"), Catalogue(Folders.below(folder)))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The detector sees smaller pictures."""
    monkeypatch.setattr(grounding_dino, "SHORTER", 128)


def picture():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_what_was_found_is_counted(store):
    options = MaskOptions("sam", dino_prompt="eye", sam_model="vit_l", box_threshold=0.0, max_detections=3)
    found = find_mask(store, picture(), options)
    assert (found.boxes, found.segments, found.applied) == (20, 20, 3)
    assert found.mask.shape == (60, 90) and found.mask.dtype == np.uint8 and not found.empty
    again = find_mask(store, picture(), options)
    assert (again.mask == found.mask).all()


def test_nothing_found_is_an_empty_mask(store):
    found = find_mask(store, picture(), MaskOptions("sam", dino_prompt="eye", sam_model="vit_l", box_threshold=1.0))
    assert (found.boxes, found.segments, found.applied, found.empty) == (0, 0, 0, True)


def test_a_model_that_is_not_there_is_named(store):
    with pytest.raises(CheckpointError, match=r"u2net\.onnx is not in the models folder inpaint"):
        find_mask(store, picture(), MaskOptions("u2net"))


def test_greys_alone_are_an_empty_mask():
    assert MaskFound(np.full((4, 4), 127, np.uint8)).empty
    assert not MaskFound(np.full((4, 4), 128, np.uint8)).empty


def test_boxes_grow_and_shrink_on_all_sides():
    box = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert grow_boxes(box, 3).tolist() == [[7.0, 17.0, 33.0, 43.0]]
    assert grow_boxes(box, -3).tolist() == [[13.0, 23.0, 27.0, 37.0]]
    assert draw_boxes(grow_boxes(box, -11), 50, 50).max() == 0
    mask = draw_boxes(box, 50, 50)
    assert (mask[20:41, 10:31] == 255).all() and (mask > 0).sum() == 21 * 21


def test_a_large_picture_is_seen_small_and_its_mask_has_its_size(store, monkeypatch):
    large = encoded(np.repeat(np.repeat(picture(), 40, axis=0), 40, axis=1))
    options = {"model": "sam", "dino_prompt": "eye", "sam_model": "vit_l", "box_threshold": 0.0, "dino_debug": True}
    options |= {"dino_erode_or_dilate": -400.0}

    def seen():
        return np.asarray(Image.open(io.BytesIO(inspect(store, Look("a", "mask", options, large, "-")).picture)))

    mask = seen()
    assert mask.shape == (2400, 3600) and set(np.unique(mask)) <= {0, 255}
    monkeypatch.setattr("engine.vision.inspect.MOST_PIXELS", 10**9)
    assert (mask != seen()).mean() < 0.02


def encoded(pixels):
    """The picture as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_greys_of_a_mask_stay_greys_when_it_grows():
    mask = np.array([[0, 128], [128, 255]], np.uint8)
    assert enlarged_mask(mask, 2, 2) is mask
    grown = enlarged_mask(mask, 200, 200)
    assert grown.shape == (200, 200) and len(np.unique(grown)) > 50
    assert set(np.unique(enlarged_mask(np.array([[0, 255]], np.uint8), 33, 7))) == {0, 255}
