"""The group norm of channels-last pictures as GPU kernels: the groups' moments over chunks, and what they make.

They are written in Triton; importing this module needs it. Sums are fp32, of distances from a pixel of the chunk, so
that nothing is lost where a picture's mean is large. Two pictures whose channels follow each other are read where they
lie, and joined in the same pass.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

NORMED = 128
"""Channels, in whole groups, that one program takes for their moments."""
NORM_ROWS, NORM_WARPS = 32, 4
"""Pixels that it reads at a time, and its warps."""
PROGRAMS = 528
"""How many of them there are, about: each takes a chunk of a picture's pixels."""
CHUNKS = 64
"""Chunks whose moments are read at a time."""
COLUMNS = 64
"""Channels of a picture that one program scales, adds or doubles."""
FEW_ROWS, MANY_ROWS = 32, 128
"""Pixels that it takes of a small picture, and of one that is `LARGE`."""
LARGE = 8192


@triton.jit
def _loaded(x, beside, n, rows, cols, inside, pixels, channels, own, JOINED: tl.constexpr):
    """Pixels of a picture, of which `x` has the first `own` channels and, where it is JOINED, `beside` the rest."""
    picture = n.to(tl.int64) * pixels + rows
    if not JOINED:
        return tl.load(x + picture * channels + cols, inside, 0.0)
    first = tl.load(x + picture * own + cols, inside & (cols < own), 0.0)
    second = tl.load(beside + picture * (channels - own) + cols - own, inside & (cols >= own), 0.0)
    return tl.where(cols < own, first, second)


@triton.jit(do_not_specialize=["pixels", "chunks", "rows", "shift_row"])
def _moments_kernel(x, beside, shift, means, squares, pixels, channels, own, chunks, rows, shift_row,
                    HAS_SHIFT: tl.constexpr, JOINED: tl.constexpr, WIDTH: tl.constexpr, GROUPS: tl.constexpr,
                    PADDED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Each group's mean, and its squared distances from it, over one chunk of a picture's pixels."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    inner, line = tl.arange(0, COLS), tl.arange(0, ROWS)
    cols = block * (GROUPS * WIDTH) + inner
    known = (inner < GROUPS * WIDTH) & (cols < channels)
    first, last = chunk * rows, tl.minimum(chunk * rows + rows, pixels)
    start = _loaded(x, beside, n, first, cols, known, pixels, channels, own, JOINED)
    pivot = start.to(tl.float32)
    added = tl.zeros((COLS,), tl.float32)
    if HAS_SHIFT:
        added = tl.load(shift + n * shift_row + cols, known, 0.0).to(tl.float32)
        pivot = (pivot + added).to(start.dtype).to(tl.float32)
    total = tl.zeros((ROWS, COLS), tl.float32)
    square = tl.zeros((ROWS, COLS), tl.float32)
    while first < last:
        place = first + line
        inside = (place[:, None] < last) & known[None, :]
        value = _loaded(x, beside, n, place[:, None], cols[None, :], inside, pixels, channels, own, JOINED)
        wide = value.to(tl.float32)
        if HAS_SHIFT:
            wide = (wide + added[None, :]).to(value.dtype).to(tl.float32)
        distance = tl.where(inside, wide - pivot[None, :], 0.0)
        total += distance
        square += distance * distance
        first += ROWS
    count = (last - chunk * rows).to(tl.float32)
    summed = tl.sum(total, 0)
    mean = pivot + summed / count
    square_of = tl.sum(square, 0) - summed * summed / count
    groups = tl.arange(0, PADDED)
    mine = known[:, None] & ((inner // WIDTH)[:, None] == groups[None, :])
    centre = tl.sum(tl.where(mine, mean[:, None], 0.0), 0) / WIDTH
    away = mean[:, None] - centre[None, :]
    squared = tl.sum(tl.where(mine, square_of[:, None] + count * away * away, 0.0), 0)
    at = (n * chunks + chunk) * (channels // WIDTH) + block * GROUPS + groups
    there = (groups < GROUPS) & (block * GROUPS + groups < channels // WIDTH)
    tl.store(means + at, centre, there)
    tl.store(squares + at, squared, there)


@triton.jit(do_not_specialize=["pixels", "chunks", "rows", "width"])
def _scales_kernel(means, squares, weight, bias, scales, offsets, pixels, channels, chunks, rows, width, eps,
                   CHUNKS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """A group's moments out of those of its chunks, and what they make of each channel: scale and offset."""
    group, n = tl.program_id(0), tl.program_id(1)
    place = n * chunks * tl.num_programs(0) + group
    total = tl.zeros((CHUNKS,), tl.float32)
    first = 0
    while first < chunks:
        chunk = first + tl.arange(0, CHUNKS)
        count = tl.maximum(tl.minimum(rows, pixels - chunk * rows), 0).to(tl.float32)
        total += count * tl.load(means + place + chunk * tl.num_programs(0), chunk < chunks, 0.0)
        first += CHUNKS
    centre = tl.sum(total, 0) / pixels
    total = tl.zeros((CHUNKS,), tl.float32)
    first = 0
    while first < chunks:
        chunk = first + tl.arange(0, CHUNKS)
        count = tl.maximum(tl.minimum(rows, pixels - chunk * rows), 0).to(tl.float32)
        away = tl.load(means + place + chunk * tl.num_programs(0), chunk < chunks, 0.0) - centre
        total += away * away * count * width
        total += tl.load(squares + place + chunk * tl.num_programs(0), chunk < chunks, 0.0)
        first += CHUNKS
    spread = 1.0 / tl.sqrt(tl.sum(total, 0) / (pixels.to(tl.float32) * width) + eps)
    inner = tl.arange(0, COLS)
    cols, known = group * width + inner, inner < width
    scale = tl.load(weight + cols, known, 0.0).to(tl.float32) * spread
    tl.store(scales + n * channels + cols, scale, known)
    offset = tl.load(bias + cols, known, 0.0).to(tl.float32) - centre * scale
    tl.store(offsets + n * channels + cols, offset, known)


@triton.jit(do_not_specialize=["pixels", "shift_row"])
def _scaled_kernel(x, beside, shift, scales, offsets, joined, out, pixels, channels, own, shift_row,
                   HAS_SHIFT: tl.constexpr, JOINED: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr,
                   COLS: tl.constexpr):  # fmt: skip
    """Each channel scaled and moved, and perhaps through SiLU; two pictures are also `joined` as they are."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    place = n.to(tl.int64) * pixels * channels + rows[:, None].to(tl.int64) * channels + cols[None, :]
    value = _loaded(x, beside, n, rows[:, None], cols[None, :], inside, pixels, channels, own, JOINED)
    if JOINED:
        tl.store(joined + place, value, inside)
    wide = value.to(tl.float32)
    known = cols < channels
    if HAS_SHIFT:
        added = tl.load(shift + n * shift_row + cols, known, 0.0).to(tl.float32)
        wide = (wide + added[None, :]).to(value.dtype).to(tl.float32)
    scale = tl.load(scales + n * channels + cols, known, 0.0)
    offset = tl.load(offsets + n * channels + cols, known, 0.0)
    wide = wide * scale[None, :] + offset[None, :]
    if SILU:
        wide = wide.to(value.dtype).to(tl.float32)
        wide = wide / (1.0 + tl.exp(-wide))
    tl.store(out + place, wide.to(value.dtype), inside)


def group_norm(x: Tensor, norm: nn.GroupNorm, *, silu: bool = False, shift: Tensor | None = None) -> Tensor:
    """`norm` of a picture `[n, channels, h, w]`, channels-last, to which `shift` `[n, channels]` is added before."""
    return _normed(x.contiguous(memory_format=torch.channels_last), None, norm, shift, silu=silu)[1]


def joined_group_norm(x: Tensor, beside: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """Two pictures' channels, those of `x` first, as one picture, channels-last; and `norm` of it, through SiLU."""
    x, beside = (picture.contiguous(memory_format=torch.channels_last) for picture in (x, beside))
    return _normed(x, beside, norm, None, silu=True)


def _normed(
    x: Tensor, beside: Tensor | None, norm: nn.GroupNorm, shift: Tensor | None, *, silu: bool
) -> tuple[Tensor, Tensor]:
    """The picture as it was given, or joined, and what became of it."""
    n, own, height, width = x.shape
    channels, pixels, groups = norm.num_channels, height * width, norm.num_groups
    in_group = channels // groups
    together = max(1, min(groups, NORMED // in_group))
    blocks = triton.cdiv(groups, together)
    rows = NORM_ROWS * triton.cdiv(pixels, NORM_ROWS * max(1, PROGRAMS // (blocks * n)))
    chunks = triton.cdiv(pixels, rows)
    moments = torch.empty(2, n, chunks, groups, device=x.device)
    scales = torch.empty(2, n, channels, device=x.device)
    out = torch.empty_like(x) if beside is None else x.new_empty(n, height, width, channels).permute(0, 3, 1, 2)
    joined = x if beside is None else torch.empty_like(out)
    second, added = x if beside is None else beside, x if shift is None else shift
    shift_row = 0 if shift is None else shift.stride(0)
    forms = {"HAS_SHIFT": shift is not None, "JOINED": beside is not None}
    _moments_kernel[chunks, blocks, n](
        x, second, added, moments[0], moments[1], pixels, channels, own, chunks, rows, shift_row, WIDTH=in_group,
        GROUPS=together, PADDED=max(2, triton.next_power_of_2(together)), ROWS=NORM_ROWS,
        COLS=triton.next_power_of_2(together * in_group), num_warps=NORM_WARPS, **forms,
    )  # fmt: skip
    _scales_kernel[groups, n](
        moments[0], moments[1], norm.weight, norm.bias, scales[0], scales[1], pixels, channels, chunks, rows, in_group,
        norm.eps, CHUNKS=CHUNKS, COLS=max(128, triton.next_power_of_2(in_group)), num_warps=1,
    )  # fmt: skip
    pixels, channels, tile, tiles = tiled(out)
    _scaled_kernel[tiles](
        x, second, added, scales[0], scales[1], joined, out, pixels, channels, own, shift_row, SILU=silu, ROWS=tile,
        COLS=COLUMNS, **forms,
    )  # fmt: skip
    return joined, out


def tiled(x: Tensor) -> tuple[int, int, int, tuple[int, int, int]]:
    """A picture's pixels and channels, the pixels that one program takes, and how many programs there are."""
    n, channels, height, width = x.shape
    pixels = height * width
    rows = MANY_ROWS if pixels >= LARGE else FEW_ROWS
    return pixels, channels, rows, (triton.cdiv(pixels, rows), triton.cdiv(channels, COLUMNS), n)
