"""Pictures too large for one go: overlapping tiles, each fading towards its edges, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product

import torch
from torch import Tensor

TileSize = tuple[int, int]
"""Width and height of a tile, in the input's pixels."""

EachTile = Callable[[int, int], None]
"""Hears after every tile how many are done, of how many. What it raises ends the work."""

Place = tuple[slice, slice]
"""Rows and columns."""


def averaged(
    run: Callable[[Tensor], Tensor],
    given: Tensor,
    sizes: Sequence[TileSize],
    overlap: int,
    factor: float,
    each: EachTile | None = None,
) -> Tensor:
    """The mean of passes with tiles of different sizes, fp32 on the CPU; see `tiled`."""
    height, width = given.shape[-2:]
    total = sum(len(places(height, width, size, overlap)) for size in sizes)
    count = iter(range(1, total + 1))

    def tile_done(*_of_pass: int) -> None:
        if each is not None:
            each(next(count), total)

    passes = (tiled(run, given, size, overlap, factor, tile_done) for size in sizes)
    return reduce(torch.Tensor.add_, passes) / len(sizes)


def tiled(
    run: Callable[[Tensor], Tensor],
    given: Tensor,
    size: TileSize,
    overlap: int,
    factor: float,
    each: EachTile | None = None,
) -> Tensor:
    """What `run` makes of `given` `[batch, channels, h, w]`, tile by tile: fp32 on the CPU, `factor` times as large.

    Tiles begin every size − overlap pixels and end with the picture. Where they overlap, a result counts the less the
    nearer it is to its tile's edge.
    """
    height, width = given.shape[-2:]
    todo = places(height, width, size, overlap)
    fade = round(overlap * factor)
    made = total = torch.empty(0)
    for done, (rows, columns) in enumerate(todo, 1):
        tile = run(given[:, :, rows, columns]).float().cpu()
        weight = faded(tile.shape[-2], fade)[:, None] * faded(tile.shape[-1], fade)
        if done == 1:
            made = torch.zeros(*tile.shape[:2], round(height * factor), round(width * factor))
            total = torch.zeros(made.shape[-2:])
        top, left = round(rows.start * factor), round(columns.start * factor)
        place = slice(top, top + tile.shape[-2]), slice(left, left + tile.shape[-1])
        made[:, :, *place] += tile * weight
        total[place] += weight
        if each is not None:
            each(done, len(todo))
    return made / total


def places(height: int, width: int, size: TileSize, overlap: int) -> list[Place]:
    """Where the tiles of a picture are, row by row."""
    across, down = size
    return list(product(_spans(height, down, overlap), _spans(width, across, overlap)))


def faded(length: int, fade: int) -> Tensor:
    """How much each of a tile's rows (or columns) counts: 1 in the middle, less and less in the `fade` last ones.

    In a tile shorter than `fade` those rows count less once more whose distance from the far edge, counted on past the
    near one, is below `fade`: so it is where the pictures of the models come from, and it shows at the seam.
    """
    rising = torch.arange(1, length + 1) / max(fade, 1)
    weights = rising.clamp(max=1) * rising.flip(0).clamp(max=1)
    first = max(0, 2 * length - fade)
    past = torch.arange(first, max(first, length - 1))
    weights[past] *= (2 * length - past) / max(fade, 1)
    return weights


def _spans(side: int, tile: int, overlap: int) -> Iterator[slice]:
    return (slice(start, min(start + tile, side)) for start in range(0, side, tile - overlap))
