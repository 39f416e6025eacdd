"""The sheet of all pictures."""

import numpy as np
import pytest

from engine.images.grid import grid


def plain(value, size=(4, 6)):
    return np.full((*size, 3), value, np.uint8)


@pytest.mark.parametrize(("count", "rows", "columns"), [(2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (7, 3, 3)])
def test_rows_and_columns_are_nearly_as_many(count, rows, columns):
    assert grid([plain(9)] * count).shape == (rows * 4, columns * 6, 3)


def test_pictures_stand_row_by_row_and_the_rest_is_black():
    sheet = grid([plain(10), plain(20), plain(30)])
    assert [sheet[y, x, 0] for y in (0, 4) for x in (0, 6)] == [10, 20, 30, 0]
