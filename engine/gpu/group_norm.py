"""The group norm of channels-last pictures as GPU kernels: the groups' moments over chunks, and what they make.

They are written in Triton; importing this module needs it. Sums are fp32, of distances from a pixel of the chunk, so
that nothing is lost where a picture's mean is large.
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
"""Channels that one program scales."""
FEW_ROWS, MANY_ROWS = 32, 128
"""Pixels that it takes of a small picture, and of a large one."""
LARGE = 8192


@triton.jit(do_not_specialize=["pixels", "chunks", "rows", "shift_row"])
def _moments_kernel(x, shift, means, squares, pixels, channels, chunks, rows, shift_row, HAS_SHIFT: tl.constexpr,
                    WIDTH: tl.constexpr, GROUPS: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr,
                    COLS: tl.constexpr):  # fmt: skip
    """Each group's mean, and its squared distances from it, over one chunk of a picture's pixels."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    inner, line = tl.arange(0, COLS), tl.arange(0, ROWS)
    cols = block * (GROUPS * WIDTH) + inner
    known = (inner < GROUPS * WIDTH) & (cols < channels)
    first, last = chunk * rows, tl.minimum(chunk * rows + rows, pixels)
    picture = x + n.to(tl.int64) * pixels * channels
    start = tl.load(picture + first.to(tl.int64) * channels + cols, known, 0.0)
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
        value = tl.load(picture + place[:, None].to(tl.int64) * channels + cols[None, :], inside, 0.0)
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
def _scaled_kernel(x, shift, scales, offsets, out, pixels, channels, shift_row, HAS_SHIFT: tl.constexpr,
                   SILU: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Each channel scaled and moved, and perhaps through SiLU."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    place = n.to(tl.int64) * pixels * channels + rows[:, None].to(tl.int64) * channels + cols[None, :]
    value = tl.load(x + place, inside, 0.0)
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
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    pixels, groups = height * width, norm.num_groups
    in_group = channels // groups
    together = max(1, min(groups, NORMED // in_group))
    blocks = triton.cdiv(groups, together)
    rows = NORM_ROWS * triton.cdiv(pixels, NORM_ROWS * max(1, PROGRAMS // (blocks * n)))
    chunks = triton.cdiv(pixels, rows)
    moments = torch.empty(2, n, chunks, groups, device=x.device)
    scales = torch.empty(2, n, channels, device=x.device)
    out, added = torch.empty_like(x), x if shift is None else shift
    shift_row = 0 if shift is None else shift.stride(0)
    _moments_kernel[chunks, blocks, n](
        x, added, moments[0], moments[1], pixels, channels, chunks, rows, shift_row, HAS_SHIFT=shift is not None,
        WIDTH=in_group, GROUPS=together, PADDED=max(2, triton.next_power_of_2(together)), ROWS=NORM_ROWS,
        COLS=triton.next_power_of_2(together * in_group), num_warps=NORM_WARPS,
    )  # fmt: skip
    _scales_kernel[groups, n](
        moments[0], moments[1], norm.weight, norm.bias, scales[0], scales[1], pixels, channels, chunks, rows, in_group,
        norm.eps, CHUNKS=CHUNKS, COLS=max(128, triton.next_power_of_2(in_group)), num_warps=1,
    )  # fmt: skip
    tile = MANY_ROWS if pixels >= LARGE else FEW_ROWS
    _scaled_kernel[triton.cdiv(pixels, tile), triton.cdiv(channels, COLUMNS), n](
        x, added, scales[0], scales[1], out, pixels, channels, shift_row, HAS_SHIFT=shift is not None, SILU=silu,
        ROWS=tile, COLS=COLUMNS,
    )  # fmt: skip
    return out
