"""Masks: fitted, grown, inverted, soft."""

import numpy as np
import pytest

from engine.images.masks import binary, fitted, grown, inpaint_mask, soft


def dot(size=101, at=50):
    mask = np.zeros((size, size), np.uint8)
    mask[at, at] = 255
    return mask


@pytest.mark.parametrize(("pixels", "side"), [(0, 3), (2, 7), (2.9, 7), (-1, 1), (-2, 0)])
def test_growing_and_shrinking_in_all_eight_directions(pixels, side):
    mask = np.zeros((20, 20), np.uint8)
    mask[8:11, 8:11] = 255
    changed = grown(mask, pixels)
    assert np.count_nonzero(changed) == side * side
    assert np.count_nonzero(changed.any(axis=0)) == side


def test_it_is_inverted_after_it_is_grown():
    mask = inpaint_mask(dot(), 101, 101, grow=1, invert=True)
    assert np.count_nonzero(mask == 0) == 9


def test_no_mask_paints_nothing():
    assert inpaint_mask(None, 6, 4).tolist() == [[0] * 6] * 4


def test_a_mask_of_another_size_is_fitted_and_keeps_its_greys():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    mask[:, 6:] = 60
    fit = fitted(mask, 32, 16)
    assert fit.shape == (16, 32)
    assert (fit[:, :15] == 255).all()
    assert (fit[:, 17:23] == 0).all()
    assert (fit[:, 26:] == 60).all()


def test_a_mask_paints_above_127():
    assert binary(np.array([[0, 127, 128, 255]], np.uint8)).tolist() == [[0, 0, 255, 255]]


def test_a_soft_mask_falls_by_8_with_every_pixel_also_diagonally():
    expected = [255, *range(248, -1, -8), 0, 0]
    mask = soft(dot())
    assert mask[50, 50:85].tolist() == expected
    assert mask[range(50, 85), range(50, 85)].tolist() == expected
    assert mask[range(50, 85), range(50, 15, -1)].tolist() == expected


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_soft_mask_of_one_value(value):
    assert np.unique(soft(np.full((9, 9), value, np.uint8))).tolist() == [255 if value > 127 else 0]
