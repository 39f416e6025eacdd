"""Room around a picture."""

import numpy as np
import pytest

from engine.images.outpaint import outpainted

IMAGE = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
MASK = np.zeros((10, 20), np.uint8)


@pytest.mark.parametrize(
    ("directions", "distances", "size"),
    [
        (["Left"], (0, 0, 0, 0), (10, 26)),
        (["top", "BOTTOM"], (0, 0, 0, 0), (16, 20)),
        (["left", "right", "top", "bottom"], (0, 0, 0, 0), (16, 32)),
        (["right"], (9, 9, 5, 9), (10, 25)),
        (["left", "top"], (2, 0, 0, 4), (13, 22)),
    ],
)
def test_distances_are_a_share_of_the_side_unless_given(directions, distances, size):
    image, mask = outpainted(IMAGE, MASK, directions, distances)
    assert (image.shape, mask.shape) == ((*size, 3), size)


def test_the_edge_is_continued_and_what_is_new_is_painted():
    image, mask = outpainted(IMAGE, MASK, ["left", "bottom"], (4, 0, 0, 2))
    assert (image[:10, 4:] == IMAGE).all()
    assert (image[:10, :4] == IMAGE[:, :1]).all()
    assert (image[10:, 4:] == IMAGE[-1:]).all()
    assert (mask[:10, 4:] == 0).all()
    assert np.count_nonzero(mask) == 12 * 24 - 10 * 20


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="up"):
        outpainted(IMAGE, MASK, ["up"])
