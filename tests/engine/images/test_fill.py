"""The filled area, against the reference values."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from engine.images.fill import BLURS, filled
from tests.engine.images.samples import bar, block, pattern


@pytest.mark.parametrize(
    ("image", "total", "pixels"),
    [
        (pattern, 25_078_721, {(128, 128): (128, 130, 129), (100, 90): (182, 69, 71), (128, 80): (108, 144, 178)}),
        (bar, 2_537_780, {(128, 128): (120, 71, 24), (100, 84): (14, 9, 3), (128, 170): (27, 16, 6)}),
    ],
)
def test_surroundings_spread_into_the_masked_area(image, total, pixels):
    made = filled(image(), block())
    assert {place: tuple(made[place].tolist()) for place in pixels} == pixels
    assert int(made.sum()) == total


def test_what_is_outside_stays():
    made = filled(pattern(), block())
    assert (made[block() == 0] == pattern()[block() == 0]).all()


def blurred_whole(image, mask):
    """The same by blurs of the whole picture, after each of which what is outside is put back."""
    current = image
    for radius, repeats in BLURS:
        for _ in range(repeats):
            current = np.array(Image.fromarray(current).filter(ImageFilter.BoxBlur(radius)))
            current[mask == 0] = image[mask == 0]
    return current


@pytest.mark.parametrize(
    "area",
    [
        (slice(60, 90), slice(20, 30)),
        (slice(0, 5), slice(0, 90)),
        (slice(80, 150), slice(70, 71)),
        (slice(0), slice(0)),
    ],
    ids=("inside", "at an edge", "to a corner", "nothing"),
)
def test_what_is_far_from_the_area_need_not_be_blurred(area):
    image = np.random.default_rng(1).integers(0, 256, (150, 90, 3), dtype=np.uint8)
    mask = np.zeros((150, 90), np.uint8)
    mask[area] = 255
    assert (filled(image, mask) == blurred_whole(image, mask)).all()
