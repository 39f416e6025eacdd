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

from engine.gpu.eight_bit_kernels import added_quantised_norm, quantised, quantised_gate, quantised_norm
from engine.gpu.group_norm import COLUMNS, LARGE, group_norm, joined_group_norm, tiled
from engine.gpu.guidance_kernels import CHANNELS, guided_latent, guides
from engine.gpu.text_attention import HEAD_WIDTH, read_text, reads_text

__all__ = [
    "added_layer_norm",
    "added_quantised_norm",
    "doubled",
    "gated",
    "group_norm",
    "guided_latent",
    "guides",
    "joined_group_norm",
    "layer_norm",
    "quantised",
    "quantised_gate",
    "quantised_norm",
    "read_text",
    "reads_text",
    "summed",
    "try_all",
]

GROUPS = 32
GROUP_WIDTHS = {torch.float16: (10, 20, 30, 40, 60, 80), torch.bfloat16: (4, 8, 16)}
"""Channels of a group in SDXL's UNet, and in its VAE: kernels for these are compiled beforehand."""
GATED = (1024, 512)
"""Elements that one program of the gate makes: the first that divides a row's, or the last."""
ROW_WARPS = 2
"""Of a program that normalises a row."""


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
def _summed_kernel(x, bias, second, other, out, pixels, channels, HAS_SECOND: tl.constexpr, HAS_OTHER: tl.constexpr,
                   ROWS: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """One or two pictures and one or two numbers per channel, added."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    place = n.to(tl.int64) * pixels * channels + rows[:, None].to(tl.int64) * channels + cols[None, :]
    value = tl.load(x + place, inside, 0.0)
    added = tl.load(bias + cols, cols < channels, 0.0).to(tl.float32)
    if HAS_SECOND:
        added += tl.load(second + cols, cols < channels, 0.0).to(tl.float32)
    wide = (value.to(tl.float32) + added[None, :]).to(value.dtype).to(tl.float32)
    if HAS_OTHER:
        wide += tl.load(other + place, inside, 0.0).to(tl.float32)
    tl.store(out + place, wide.to(value.dtype), inside)


@triton.jit(do_not_specialize=["pixels", "width"])
def _doubled_kernel(x, out, pixels, width, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Some pixels, each in the four places that it has in a picture of twice the side."""
    chunk, block, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = chunk * ROWS + tl.arange(0, ROWS)
    cols = block * COLS + tl.arange(0, COLS)
    inside = (rows[:, None] < pixels) & (cols[None, :] < channels)
    picture = n.to(tl.int64) * pixels
    value = tl.load(x + (picture + rows[:, None]) * channels + cols[None, :], inside, 0.0)
    place = 4 * picture + 4 * width * (rows // width) + 2 * (rows % width)
    first = out + place[:, None] * channels + cols[None, :]
    below = first + 2 * width * channels
    tl.store(first, value, inside)
    tl.store(first + channels, value, inside)
    tl.store(below, value, inside)
    tl.store(below + channels, value, inside)


def try_all(device: torch.device, dtype: torch.dtype) -> None:
    """Have every kernel compiled for this number format, or found in the cache on disk.

    Raises:
        Exception: what Triton fails with; without a C compiler it cannot start a kernel.
    """
    with torch.device(device):
        for width in GROUP_WIDTHS[dtype]:
            norm = nn.GroupNorm(GROUPS, GROUPS * width, dtype=dtype)
            x = torch.zeros(1, GROUPS * width, 16, 16, dtype=dtype)
            for silu, added in product((False, True), (None, torch.zeros(1, GROUPS * width, dtype=dtype))):
                group_norm(x, norm, silu=silu, shift=added)
            joined_group_norm(x[:, : GROUPS * width // 2], x[:, GROUPS * width // 2 :], norm)
        for side in (16, math.isqrt(LARGE) + 1):
            x, bias = torch.zeros(1, 128, side, side, dtype=dtype), torch.zeros(128, dtype=dtype)
            summed(x, bias), summed(x, bias, x), summed(x, bias, x, bias), doubled(x)
        for width in (320, 640, 1280):
            rows = nn.LayerNorm(width, dtype=dtype)
            line = torch.zeros(1, 16, width, dtype=dtype)
            layer_norm(line, rows)
            added_layer_norm(line, line, rows)
            gated(line)
        query = torch.zeros(1, 16, HEAD_WIDTH, dtype=dtype)
        for keys in (77, 154):
            read_text(query, torch.zeros(1, keys, 2 * HEAD_WIDTH, dtype=dtype), 1)
        for amount in (0.0, 0.5):
            x, output = torch.zeros(1, CHANNELS, 16, 16), torch.zeros(2, CHANNELS, 16, 16, dtype=dtype)
            guided_latent(x, output, (1.0, -1.0), 4.0, amount, 6, 3.0)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm` of the rows of `x` `[..., width]`."""
    x = x.contiguous()
    out, width = torch.empty_like(x), x.shape[-1]
    _layer_norm_kernel[x.numel() // width,](
        x, x, norm.weight, norm.bias, x, out, width, norm.eps, HAS_RESIDUAL=False,
        COLS=triton.next_power_of_2(width), num_warps=ROW_WARPS,
    )  # fmt: skip
    return out


def added_layer_norm(x: Tensor, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """The sum of two tensors `[..., width]`, and `norm` of it."""
    x, residual = x.contiguous(), residual.contiguous()
    total, out, width = torch.empty_like(x), torch.empty_like(x), x.shape[-1]
    _layer_norm_kernel[x.numel() // width,](
        x, residual, norm.weight, norm.bias, total, out, width, norm.eps, HAS_RESIDUAL=True,
        COLS=triton.next_power_of_2(width), num_warps=ROW_WARPS,
    )  # fmt: skip
    return total, out


def gated(x: Tensor) -> Tensor:
    """The first half of the last axis times the GELU of its second half."""
    x = x.contiguous()
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    at_once = next((count for count in GATED if width % count == 0), GATED[-1])
    _gated_kernel[x.numel() // (2 * width), triton.cdiv(width, at_once)](x, out, width, COLS=at_once)
    return out


def summed(x: Tensor, bias: Tensor, other: Tensor | None = None, second: Tensor | None = None) -> Tensor:
    """A picture `[n, channels, h, w]`, channels-last, or two, and a number per channel, or two, added."""
    x = x.contiguous(memory_format=torch.channels_last)
    added = x if other is None else other.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    pixels, channels, rows, tiles = tiled(x)
    _summed_kernel[tiles](
        x, bias, bias if second is None else second, added, out, pixels, channels, HAS_SECOND=second is not None,
        HAS_OTHER=other is not None, ROWS=rows, COLS=COLUMNS,
    )  # fmt: skip
    return out


def doubled(x: Tensor) -> Tensor:
    """A picture `[n, channels, h, w]`, channels-last, of twice the height and width: the nearest pixels."""
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    out = x.new_empty(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
    pixels, channels, rows, tiles = tiled(x)
    _doubled_kernel[tiles](x, out, pixels, width, channels, ROWS=rows, COLS=COLUMNS)
    return out
