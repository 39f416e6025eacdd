"""The box that inpainting looks at, against the reference values."""

import numpy as np
import pytest

from engine.images.region import Box, EmptyMask, region


def marked(size, rows, columns, value=255):
    mask = np.zeros(size, np.uint8)
    mask[slice(*rows), slice(*columns)] = value
    return mask


@pytest.mark.parametrize(
    ("size", "rows", "columns", "field", "box"),
    [
        ((1024, 1024), (400, 600), (400, 600), 0.618, (183, 816, 183, 816)),
        ((1024, 1024), (400, 600), (400, 600), 0, (386, 613, 386, 613)),
        ((1024, 1024), (400, 600), (400, 600), 1, (0, 1024, 0, 1024)),
        ((1024, 1024), (0, 100), (0, 100), 0.618, (0, 633, 0, 633)),
        ((1024, 1536), (500, 520), (1400, 1500), 0.618, (35, 984, 586, 1536)),
        ((1024, 1536), (500, 520), (1400, 1500), 0, (453, 566, 1393, 1506)),
        ((1331, 1024), (0, 307), (0, 1024), 0.618, (0, 823, 0, 1024)),
        ((1024, 1331), (0, 1024), (1024, 1331), 0.618, (0, 1024, 508, 1331)),
        ((777, 1333), (100, 101), (200, 203), 0.5, (0, 666, 0, 667)),
    ],
)
def test_the_box_around_a_mask(size, rows, columns, field, box):
    assert region(marked(size, rows, columns), field) == Box(*box)


def test_greys_count():
    assert region(marked((64, 64), (10, 20), (10, 20), value=1), 0).height > 0


@pytest.mark.parametrize("field", [0, 1])
def test_an_empty_mask_has_no_box(field):
    with pytest.raises(EmptyMask):
        region(np.zeros((8, 8), np.uint8), field)
