"""PyraCanny and CPDS, against the reference values."""

import numpy as np
import pytest

from engine.images.canny import pyra_canny
from engine.images.cpds import cpds
from tests.engine.images.samples import bar, pattern


@pytest.mark.parametrize(
    ("image", "total", "row", "columns", "values"),
    [
        (bar, 426_200, 128, slice(90, 104), [1, 7, 24, 54, 117, 255, 255, 152, 78, 58, 42, 28, 17, 10]),
        (pattern, 3_879_453, 100, slice(100, 110), [10, 9, 8, 8, 9, 11, 13, 15, 17, 20]),
    ],
)
def test_outlines(image, total, row, columns, values):
    found = pyra_canny(image(), 64, 128)
    assert found.shape == (256, 256, 3)
    assert found[row, columns, 0].tolist() == values
    assert int(found[:, :, 0].sum()) == total


@pytest.mark.parametrize(
    ("image", "total", "row", "columns", "values"),
    [
        (bar, 2_080_976, 128, slice(90, 104), [0, 0, 0, 0, 6, 51, 186, 246, 255, 255, 255, 255, 255, 255]),
        (pattern, 7_947_005, 100, slice(100, 110), [36, 42, 46, 48, 50, 52, 55, 58, 61, 63]),
    ],
)
def test_structure(image, total, row, columns, values):
    found = cpds(image())
    assert found.shape == (256, 256, 3)
    assert found[row, columns, 0].tolist() == values
    assert int(found[:, :, 0].sum()) == total


@pytest.mark.parametrize("find", [pyra_canny, cpds])
@pytest.mark.parametrize("size", [(64, 48), (3, 2)])
def test_a_blank_picture_has_none(find, size):
    assert not find(np.full((*size, 3), 130, np.uint8)).any()


def test_high_thresholds_find_less():
    faint = bar() // 8
    assert pyra_canny(faint, 1, 2).any()
    assert not pyra_canny(faint, 250, 255).any()
