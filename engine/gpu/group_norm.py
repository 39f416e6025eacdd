"""The group norm of channels-last pictures as two GPU kernels: the groups' moments over chunks, and what they make.

They are written in Triton; importing this module needs it. Sums are fp32, of distances from a pixel of the chunk, so
that nothing is lost where a picture's mean is large.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

NORMED = 128
"""Channels, in whole groups, that one program of the group norm takes."""
NORM_ROWS, NORM_WARPS = 32, 4
"""Pixels that it reads at a time, and its warps."""
PROGRAMS, MOST_CHUNKS = 528, 64
"""How many of them there are, about, and into how many chunks of its pixels a picture is parted at most."""


@triton.jit(do_not_specialize=["pixels", "chunks", "rows"])
def _moments_kernel(x, shift, means, squares, pixels, channels, chunks, rows, HAS_SHIFT: tl.constexpr,
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
        added = tl.load(shift + n * channels + cols, known, 0.0).to(tl.float32)
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


@triton.jit(do_not_specialize=["pixels", "chunks", "rows"])
def _scaled_kernel(x, shift, weight, bias, means, squares, out, pixels, channels, chunks, rows, eps,
                   HAS_SHIFT: tl.constexpr, SILU: tl.constexpr, WIDTH: tl.constexpr, GROUPS: tl.constexpr,
                   PADDED: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Each channel scaled and moved by its group's moments, out of those of all chunks, and perhaps through SiLU."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    groups, parts = tl.arange(0, PADDED), tl.arange(0, CHUNKS)
    at = (n * chunks + parts[:, None]) * (channels // WIDTH) + block * GROUPS + groups[None, :]
    there = (parts[:, None] < chunks) & ((groups < GROUPS) & (block * GROUPS + groups < channels // WIDTH))[None, :]
    count = tl.maximum(tl.minimum(rows, pixels - parts * rows), 0).to(tl.float32)[:, None]
    mean = tl.load(means + at, there, 0.0)
    centre = tl.sum(mean * count, 0) / pixels
    away = mean - centre[None, :]
    squared = tl.load(squares + at, there, 0.0) + tl.where(there, away * away * count * WIDTH, 0.0)
    spread = 1.0 / tl.sqrt(tl.sum(squared, 0) / (pixels.to(tl.float32) * WIDTH) + eps)
    inner, line = tl.arange(0, COLS), tl.arange(0, ROWS)
    cols = block * (GROUPS * WIDTH) + inner
    known = (inner < GROUPS * WIDTH) & (cols < channels)
    mine = (inner // WIDTH)[:, None] == groups[None, :]
    scale = tl.load(weight + cols, known, 0.0).to(tl.float32) * tl.sum(tl.where(mine, spread[None, :], 0.0), 1)
    offset = tl.load(bias + cols, known, 0.0).to(tl.float32)
    offset -= tl.sum(tl.where(mine, centre[None, :], 0.0), 1) * scale
    added = tl.zeros((COLS,), tl.float32)
    if HAS_SHIFT:
        added = tl.load(shift + n * channels + cols, known, 0.0).to(tl.float32)
    first, last = chunk * rows, tl.minimum(chunk * rows + rows, pixels)
    picture = n.to(tl.int64) * pixels * channels
    while first < last:
        row = first + line
        inside = (row[:, None] < last) & known[None, :]
        place = picture + row[:, None].to(tl.int64) * channels + cols[None, :]
        value = tl.load(x + place, inside, 0.0)
        wide = value.to(tl.float32)
        if HAS_SHIFT:
            wide = (wide + added[None, :]).to(value.dtype).to(tl.float32)
        wide = wide * scale[None, :] + offset[None, :]
        if SILU:
            wide = wide.to(value.dtype).to(tl.float32)
            wide = wide / (1.0 + tl.exp(-wide))
        tl.store(out + place, wide.to(value.dtype), inside)
        first += ROWS


def group_norm(x: Tensor, norm: nn.GroupNorm, *, silu: bool = False, shift: Tensor | None = None) -> Tensor:
    """`norm` of a picture `[n, channels, h, w]`, channels-last, to which `shift` `[n, channels]` is added before."""
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    pixels, in_group = height * width, channels // norm.num_groups
    together = max(1, min(norm.num_groups, NORMED // in_group))
    blocks = triton.cdiv(norm.num_groups, together)
    rows = triton.cdiv(pixels, max(1, min(MOST_CHUNKS, PROGRAMS // (blocks * n), triton.cdiv(pixels, NORM_ROWS))))
    chunks = triton.cdiv(pixels, rows)
    moments = torch.empty(2, n, chunks, norm.num_groups, device=x.device)
    out = torch.empty_like(x)
    added = x if shift is None else shift.contiguous()
    sizes = {
        "HAS_SHIFT": shift is not None, "WIDTH": in_group, "GROUPS": together,
        "PADDED": max(2, triton.next_power_of_2(together)), "ROWS": NORM_ROWS,
        "COLS": triton.next_power_of_2(together * in_group), "num_warps": NORM_WARPS,
    }  # fmt: skip
    grid = chunks, blocks, n
    _moments_kernel[grid](x, added, moments[0], moments[1], pixels, channels, chunks, rows, **sizes)
    _scaled_kernel[grid](
        x, added, norm.weight, norm.bias, moments[0], moments[1], out, pixels, channels, chunks, rows, norm.eps,
        SILU=silu, CHUNKS=MOST_CHUNKS, **sizes,
    )  # fmt: skip
    return out
