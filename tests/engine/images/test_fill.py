"""The filled area, against the reference values."""

import pytest

from engine.images.fill import filled
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
