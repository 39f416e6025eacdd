"""Tiles: where they are, how they fade, and that they make a whole."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from engine.models.tiling import averaged, faded, places, tiled


def picture(height, width):
    return torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))


def test_tiles_begin_a_stride_apart_and_end_with_the_picture():
    found = places(100, 70, (32, 64), 8)
    assert sorted({(rows.start, rows.stop) for rows, _ in found}) == [(0, 64), (56, 100)]
    assert sorted({(columns.start, columns.stop) for _, columns in found}) == [(0, 32), (24, 56), (48, 70)]
    assert found[0][1] != found[1][1]  # row by row
    assert found[0][0] == found[1][0]


def test_a_tile_fades_at_both_ends():
    assert faded(8, 4).tolist() == [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]
    assert faded(3, 4).tolist() == [0.1875, 0.25, 0.1875]
    assert faded(3, 8).tolist() == [3 / 64 * 6 / 8, 4 / 64 * 5 / 8, 3 / 64]  # as the public program's slices wrap
    assert faded(3, 0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [(16, 16), (64, 16), (500, 500)])
def test_what_looks_at_one_pixel_gives_the_same_in_tiles(size):
    given = picture(40, 50)
    made = tiled(lambda tile: tile * 2, given, size, 4, 1)
    assert torch.allclose(made, given * 2, atol=1e-6)


def test_results_may_be_larger_or_smaller():
    given = picture(40, 48)
    larger = averaged(lambda tile: interpolate(tile, scale_factor=2.0), given, [(16, 16), (24, 16)], 4, 2)
    assert torch.allclose(larger, interpolate(given, scale_factor=2.0), atol=1e-6)
    smaller = tiled(lambda tile: avg_pool2d(tile, 8), given, (24, 24), 8, 1 / 8)
    assert torch.allclose(smaller, avg_pool2d(given, 8), atol=1e-6)


def test_where_two_overlap_the_nearer_middle_counts_more():
    order = iter([0.0, 1.0, 1.0])
    made = tiled(lambda tile: torch.full_like(tile, next(order)), torch.zeros(1, 1, 4, 12), (8, 8), 4, 1)[0, 0, 0]
    assert made[:4].tolist() == [0] * 4
    assert torch.allclose(made[4:8], torch.tensor([0.2, 0.4, 0.6, 0.8]))


def test_it_tells_of_every_tile_and_can_be_ended():
    told = []
    averaged(lambda tile: tile, picture(20, 20), [(16, 16), (32, 32)], 4, 1, lambda *state: told.append(state))
    assert told == [(n, 5) for n in range(1, 6)]

    def stop(done, _total):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tiled(lambda tile: tile, picture(20, 20), (16, 16), 4, 1, stop)
