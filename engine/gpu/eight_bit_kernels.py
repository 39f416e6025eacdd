"""GPU kernels that leave rows in 8 bits: of rows as they are, of normalised ones, of gated ones.

They are written in Triton; importing this module needs it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from engine.gpu.eight_bit_rows import EIGHT, LARGEST, LEAST, EightBitRows, Unbiased


@triton.jit
def _quantised_kernel(x, out, scales, width, least, largest, COLS: tl.constexpr):
    """One row."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, COLS)
    inside = cols < width
    wide = tl.load(x + row * width + cols, inside, 0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(wide), 0), least) / largest
    tl.store(scales + row, scale)
    tl.store(out + row * width + cols, (wide / scale).to(out.dtype.element_ty), inside)


@triton.jit
def _normed_kernel(x, added, residual, weight, bias, total, out, scales, width, eps, least, largest,
                   HAS_RESIDUAL: tl.constexpr, COLS: tl.constexpr):  # fmt: skip
    """One row: perhaps added, with a bias, to another, which is kept, then normalised."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, COLS)
    inside = cols < width
    wide = tl.load(x + row * width + cols, inside, 0.0).to(tl.float32)
    if HAS_RESIDUAL:
        wide += tl.load(added + cols, inside, 0.0).to(tl.float32)
        wide += tl.load(residual + row * width + cols, inside, 0.0).to(tl.float32)
        rounded = wide.to(total.dtype.element_ty)
        tl.store(total + row * width + cols, rounded, inside)
        wide = rounded.to(tl.float32)
    mean = tl.sum(wide, 0) / width
    distance = tl.where(inside, wide - mean, 0.0)
    spread = 1.0 / tl.sqrt(tl.sum(distance * distance, 0) / width + eps)
    made = distance * spread * tl.load(weight + cols, inside, 0.0).to(tl.float32)
    made += tl.load(bias + cols, inside, 0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(made), 0), least) / largest
    tl.store(scales + row, scale)
    tl.store(out + row * width + cols, (made / scale).to(out.dtype.element_ty), inside)


@triton.jit
def _gated_rows_kernel(x, added, out, scales, width, least, largest, COLS: tl.constexpr):
    """A row and a bias: the first half of their sum times the GELU of its second."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, COLS)
    inside = cols < width
    value = tl.load(x + row * 2 * width + cols, inside, 0.0).to(tl.float32)
    value += tl.load(added + cols, inside, 0.0).to(tl.float32)
    gate = tl.load(x + row * 2 * width + width + cols, inside, 0.0).to(tl.float32)
    gate += tl.load(added + width + cols, inside, 0.0).to(tl.float32)
    made = value * (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476)))
    scale = tl.maximum(tl.max(tl.abs(made), 0), least) / largest
    tl.store(scales + row, scale)
    tl.store(out + row * width + cols, (made / scale).to(out.dtype.element_ty), inside)


def quantised(x: Tensor) -> EightBitRows:
    """The rows of `x` `[..., width]`."""
    x = x.contiguous()
    made = _empty(x.shape, x.device)
    width = x.shape[-1]
    _quantised_kernel[len(made.scale),](
        x, made.values, made.scale, width, LEAST, LARGEST, COLS=triton.next_power_of_2(width), num_warps=2
    )
    return made


def quantised_norm(x: Tensor, norm: nn.LayerNorm) -> EightBitRows:
    """`norm` of the rows of `x` `[..., width]`."""
    return _normed(Unbiased(x.contiguous(), x), None, norm)[1]


def added_quantised_norm(x: Unbiased, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, EightBitRows]:
    """The sum of two tensors `[..., width]` and a bias, in the format of `residual`, and `norm` of it."""
    return _normed(x, residual.contiguous(), norm)


def quantised_gate(x: Unbiased) -> EightBitRows:
    """The first half of the last axis times the GELU of its second half."""
    values = x.values.contiguous()
    width = values.shape[-1] // 2
    made = _empty((*values.shape[:-1], width), values.device)
    _gated_rows_kernel[len(made.scale),](
        values, x.bias, made.values, made.scale, width, LEAST, LARGEST, COLS=triton.next_power_of_2(width), num_warps=8
    )
    return made


def _normed(x: Unbiased, residual: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, EightBitRows]:
    values, width = x.values.contiguous(), x.values.shape[-1]
    made = _empty(values.shape, values.device)
    total = values if residual is None else torch.empty_like(residual)
    _normed_kernel[len(made.scale),](
        values, x.bias, total if residual is None else residual, norm.weight, norm.bias, total, made.values, made.scale,
        width, norm.eps, LEAST, LARGEST, HAS_RESIDUAL=residual is not None, COLS=triton.next_power_of_2(width),
        num_warps=2,
    )  # fmt: skip
    return total, made


def _empty(shape: tuple[int, ...], device: torch.device) -> EightBitRows:
    rows = torch.empty(shape, dtype=EIGHT, device=device)
    return EightBitRows(rows, torch.empty(rows.numel() // shape[-1], 1, device=device))
