"""A region from the picture to what is drawn at, and back."""

import numpy as np
import pytest

from engine.images.fill import filled
from engine.images.inpaint import inpaint_region
from engine.images.region import Box, EmptyMask
from engine.images.resize import resample
from tests.engine.images.samples import pattern


def masked(size, rows, columns, value=255):
    mask = np.zeros(size, np.uint8)
    mask[slice(*rows), slice(*columns)] = value
    return mask


def quadrupled(image):
    return np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)


def small_region(**changes):
    settings = {"field": 0.5, "strength": 0.5, "upscale": quadrupled} | changes
    return inpaint_region(pattern(), masked((256, 256), (100, 140), (100, 140)), **settings)


def test_a_small_crop_is_enlarged_by_the_upscaler_and_fitted():
    region = small_region()
    assert region.box.height == region.box.width
    assert region.crop.shape == (1024, 1024, 3)
    assert (region.crop == resample(quadrupled(region.box.cut(pattern())), 1024, 1024)).all()


def test_a_large_crop_is_not():
    image = np.zeros((1100, 1100, 3), np.uint8)

    def never(_image):
        raise AssertionError

    region = inpaint_region(image, masked((1100, 1100), (5, 9), (5, 9)), field=1, strength=0.5, upscale=never)
    assert (region.box, region.crop.shape) == (Box(0, 1100, 0, 1100), (1024, 1024, 3))


def test_the_crops_mask_is_black_and_white_and_in_place():
    region = small_region()
    assert np.unique(region.crop_mask).tolist() == [0, 255]
    share = (region.crop_mask > 0).mean()
    assert share == pytest.approx(40 * 40 / (region.box.height * region.box.width), rel=0.02)


def test_only_full_strength_fills():
    assert (small_region(strength=0.99).fill == small_region().crop).all()
    full = small_region(strength=1.0)
    assert (full.fill == filled(full.crop, full.crop_mask)).all()
    assert (full.fill != full.crop).any()


def test_pasting_blends_at_the_soft_edge_and_leaves_the_rest():
    region = small_region()
    drawn = np.full_like(region.crop, 200)
    picture = region.paste(drawn)
    original = pattern()
    assert (picture[105:135, 105:135] == 200).all()
    assert (picture[:60] == original[:60]).all()
    weight = region.soft_mask[95, 120] / 255
    assert region.soft_mask[95, 120] == 256 - 8 * 5
    expected = (200 * np.float32(weight) + original[95, 120] * np.float32(1 - weight)).astype(np.uint8)
    assert np.abs(picture[95, 120].astype(int) - expected.astype(int)).max() <= 1


def test_greys_enlarge_the_box_but_are_not_painted():
    mask = masked((256, 256), (100, 140), (100, 140)) | masked((256, 256), (20, 30), (20, 30), 60)
    region = inpaint_region(pattern(), mask, field=0, strength=0.5, upscale=quadrupled)
    assert region.box.top <= 20
    assert (region.soft_mask[20:30, 20:30] == 0).all()


def test_an_empty_mask_is_refused():
    with pytest.raises(EmptyMask):
        inpaint_region(pattern(), np.zeros((256, 256), np.uint8), field=0.5, strength=1, upscale=quadrupled)
