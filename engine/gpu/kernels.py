"""Small GPU kernels for what lies between a UNet's matrix products: norms, sums and gates in one pass each.

They are written in Triton, which comes with torch's CUDA builds; importing this module needs it. Pictures are in
memory as `[n, h, w, channels]` (torch calls that channels-last). Sums are fp32; results are rounded where the
library's own modules round.
"""

from __future__ import annotations

import math
from itertools import product

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

COLUMNS = 64
"""Channels that one program of the group norm takes."""
FEW_ROWS, MANY_ROWS = 32, 128
"""Pixels that one program takes of a small picture, and of a large one."""
LARGE = 8192
GATED = 1024
"""Elements that one program of the gate makes."""


@triton.jit(do_not_specialize=["pixels", "chunks"])
def _moments_kernel(x, shift, means, squares, pixels, channels, chunks, HAS_SHIFT: tl.constexpr,
                    ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """Each channel's mean, and its squared distances from it, over one chunk of a picture's pixels."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    offset = n.to(tl.int64) * pixels * channels
    value = tl.load(x + offset + rows[:, None].to(tl.int64) * channels + cols[None, :], inside, 0.0)
    wide = value.to(tl.float32)
    if HAS_SHIFT:
        added = tl.load(shift + n * channels + cols, cols < channels, 0.0).to(tl.float32)
        wide = (wide + added[None, :]).to(value.dtype).to(tl.float32)
        wide = tl.where(inside, wide, 0.0)
    count = tl.minimum(ROWS, pixels - chunk * ROWS).to(tl.float32)
    mean = tl.sum(wide, 0) / count
    distance = tl.where(inside, wide - mean[None, :], 0.0)
    place = (n * chunks + chunk) * channels + cols
    tl.store(means + place, mean, cols < channels)
    tl.store(squares + place, tl.sum(distance * distance, 0), cols < channels)


@triton.jit(do_not_specialize=["pixels", "chunks", "width", "rows"])
def _scales_kernel(means, squares, weight, bias, scales, offsets, pixels, channels, chunks, rows, width, eps,
                   CHUNKS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """A group's moments out of those of its channels' chunks, and what they make of each channel: scale and offset."""
    group, n = tl.program_id(0), tl.program_id(1)
    inner = tl.arange(0, COLS)
    cols = group * width + inner
    total = tl.zeros((CHUNKS, COLS), tl.float32)
    first = 0
    while first < chunks:
        chunk = first + tl.arange(0, CHUNKS)
        there = (chunk[:, None] < chunks) & (inner[None, :] < width)
        count = tl.minimum(rows, pixels - chunk * rows).to(tl.float32)
        mean = tl.load(means + (n * chunks + chunk[:, None]) * channels + cols[None, :], there, 0.0)
        total += tl.where(there, mean * count[:, None], 0.0)
        first += CHUNKS
    size = (pixels * width).to(tl.float32)
    centre = tl.sum(tl.sum(total, 1), 0) / size
    total = tl.zeros((CHUNKS, COLS), tl.float32)
    first = 0
    while first < chunks:
        chunk = first + tl.arange(0, CHUNKS)
        there = (chunk[:, None] < chunks) & (inner[None, :] < width)
        count = tl.minimum(rows, pixels - chunk * rows).to(tl.float32)
        place = (n * chunks + chunk[:, None]) * channels + cols[None, :]
        mean = tl.load(means + place, there, 0.0) - centre
        total += tl.where(there, tl.load(squares + place, there, 0.0) + mean * mean * count[:, None], 0.0)
        first += CHUNKS
    spread = 1.0 / tl.sqrt(tl.sum(tl.sum(total, 1), 0) / size + eps)
    in_group = inner < width
    scale = tl.load(weight + cols, in_group, 0.0).to(tl.float32) * spread
    offset = tl.load(bias + cols, in_group, 0.0).to(tl.float32) - centre * scale
    tl.store(scales + n * channels + cols, scale, in_group)
    tl.store(offsets + n * channels + cols, offset, in_group)


@triton.jit(do_not_specialize=["pixels"])
def _scaled_kernel(x, shift, scales, offsets, out, pixels, channels, HAS_SHIFT: tl.constexpr, SILU: tl.constexpr,
                   ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
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
        added = tl.load(shift + n * channels + cols, known, 0.0).to(tl.float32)
        wide = (wide + added[None, :]).to(value.dtype).to(tl.float32)
    scale = tl.load(scales + n * channels + cols, known, 0.0)
    offset = tl.load(offsets + n * channels + cols, known, 0.0)
    wide = wide * scale[None, :] + offset[None, :]
    if SILU:
        wide = wide.to(value.dtype).to(tl.float32)
        wide = wide / (1.0 + tl.exp(-wide))
    tl.store(out + place, wide.to(value.dtype), inside)


@triton.jit
def _layer_norm_kernel(x, residual, weight, bias, total, out, width, eps, HAS_RESIDUAL: tl.constexpr,
                       COLS: tl.constexpr):  # fmt: skip
    """One row: perhaps added to another, which is kept, then normalised."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, COLS)
    inside = cols < width
    value = tl.load(x + row * width + cols, inside, 0.0)
    wide = value.to(tl.float32)
    if HAS_RESIDUAL:
        wide += tl.load(residual + row * width + cols, inside, 0.0).to(tl.float32)
        rounded = wide.to(value.dtype)
        tl.store(total + row * width + cols, rounded, inside)
        wide = rounded.to(tl.float32)
    mean = tl.sum(wide, 0) / width
    distance = tl.where(inside, wide - mean, 0.0)
    spread = 1.0 / tl.sqrt(tl.sum(distance * distance, 0) / width + eps)
    scale = tl.load(weight + cols, inside, 0.0).to(tl.float32)
    offset = tl.load(bias + cols, inside, 0.0).to(tl.float32)
    tl.store(out + row * width + cols, (distance * spread * scale + offset).to(value.dtype), inside)


@triton.jit
def _gated_kernel(x, out, width, COLS: tl.constexpr):
    """The first half of a row times the GELU of its second."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * COLS + tl.arange(0, COLS)
    inside = cols < width
    value = tl.load(x + row * 2 * width + cols, inside, 0.0)
    gate = tl.load(x + row * 2 * width + width + cols, inside, 0.0).to(tl.float32)
    gate = (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))).to(value.dtype)
    tl.store(out + row * width + cols, (value.to(tl.float32) * gate.to(tl.float32)).to(value.dtype), inside)


@triton.jit(do_not_specialize=["pixels"])
def _summed_kernel(x, bias, other, out, pixels, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Two pictures and a number per channel, added."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    place = n.to(tl.int64) * pixels * channels + rows[:, None].to(tl.int64) * channels + cols[None, :]
    value = tl.load(x + place, inside, 0.0)
    added = tl.load(bias + cols, cols < channels, 0.0).to(tl.float32)
    wide = (value.to(tl.float32) + added[None, :]).to(value.dtype).to(tl.float32)
    wide += tl.load(other + place, inside, 0.0).to(tl.float32)
    tl.store(out + place, wide.to(value.dtype), inside)


def try_all(device: torch.device, dtype: torch.dtype) -> None:
    """Have every kernel compiled for this number format, or found in the cache on disk.

    Raises:
        Exception: what Triton fails with; without a C compiler it cannot start a kernel.
    """
    with torch.device(device):
        norm = nn.GroupNorm(8, 128, dtype=dtype)
        shift, bias = torch.zeros(1, 128, dtype=dtype), torch.zeros(128, dtype=dtype)
        for side in (16, math.isqrt(LARGE) + 1):
            x = torch.zeros(1, 128, side, side, dtype=dtype)
            for silu, added in product((False, True), (None, shift)):
                group_norm(x, norm, silu=silu, shift=added)
            summed(x, bias, x)
        for width in (320, 640, 1280):
            rows = nn.LayerNorm(width, dtype=dtype)
            line = torch.zeros(1, 16, width, dtype=dtype)
            layer_norm(line, rows)
            added_layer_norm(line, line, rows)
            gated(line)


def group_norm(x: Tensor, norm: nn.GroupNorm, *, silu: bool = False, shift: Tensor | None = None) -> Tensor:
    """`norm` of a picture `[n, channels, h, w]`, channels-last, to which `shift` `[n, channels]` is added before."""
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    pixels = height * width
    rows = MANY_ROWS if pixels >= LARGE else FEW_ROWS
    chunks, blocks = triton.cdiv(pixels, rows), triton.cdiv(channels, COLUMNS)
    moments = torch.empty(2, n, chunks, channels, device=x.device)
    scales = torch.empty(2, n, channels, device=x.device)
    out = torch.empty_like(x)
    if shift is not None:
        shift = shift.contiguous()
    added, has_shift = (x, False) if shift is None else (shift, True)
    in_group = channels // norm.num_groups
    _moments_kernel[chunks, blocks, n](
        x, added, moments[0], moments[1], pixels, channels, chunks, HAS_SHIFT=has_shift, ROWS=rows, COLS=COLUMNS
    )
    _scales_kernel[norm.num_groups, n](
        moments[0], moments[1], norm.weight, norm.bias, scales[0], scales[1], pixels, channels, chunks, rows, in_group,
        norm.eps, CHUNKS=32, COLS=max(128, triton.next_power_of_2(in_group)),
    )  # fmt: skip
    _scaled_kernel[chunks, blocks, n](
        x, added, scales[0], scales[1], out, pixels, channels, HAS_SHIFT=has_shift, SILU=silu, ROWS=rows, COLS=COLUMNS
    )
    return out


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm` of the rows of `x` `[..., width]`."""
    x = x.contiguous()
    out, width = torch.empty_like(x), x.shape[-1]
    _layer_norm_kernel[x.numel() // width,](
        x, x, norm.weight, norm.bias, x, out, width, norm.eps, HAS_RESIDUAL=False, COLS=triton.next_power_of_2(width)
    )
    return out


def added_layer_norm(x: Tensor, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """The sum of two tensors `[..., width]`, and `norm` of it."""
    x, residual = x.contiguous(), residual.contiguous()
    total, out, width = torch.empty_like(x), torch.empty_like(x), x.shape[-1]
    _layer_norm_kernel[x.numel() // width,](
        x, residual, norm.weight, norm.bias, total, out, width, norm.eps, HAS_RESIDUAL=True,
        COLS=triton.next_power_of_2(width),
    )  # fmt: skip
    return total, out


def gated(x: Tensor) -> Tensor:
    """The first half of the last axis times the GELU of its second half."""
    x = x.contiguous()
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    _gated_kernel[x.numel() // (2 * width), triton.cdiv(width, GATED)](x, out, width, COLS=GATED)
    return out


def summed(x: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    """Two pictures `[n, channels, h, w]`, channels-last, and a number per channel, added."""
    x = x.contiguous(memory_format=torch.channels_last)
    other = other.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    n, channels, height, width = x.shape
    pixels = height * width
    rows = MANY_ROWS if pixels >= LARGE else FEW_ROWS
    tiles = triton.cdiv(pixels, rows), triton.cdiv(channels, COLUMNS), n
    _summed_kernel[tiles](x, bias, other, out, pixels, channels, ROWS=rows, COLS=COLUMNS)
    return out
