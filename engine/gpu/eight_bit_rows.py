"""Rows in numbers of 8 bits, each with a scale of 32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EIGHT = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest number that it holds."""
LEAST = 1e-12
"""What stands for the largest of a row of zeros."""


class EightBitRows(NamedTuple):
    """Rows `[..., width]` in 8 bits, and by how much each is to be multiplied, `[rows, 1]` in fp32."""

    values: Tensor
    scale: Tensor


class Unbiased(NamedTuple):
    """Rows `[..., width]` to which a bias `[width]` is still to be added: with it the product takes longer."""

    values: Tensor
    bias: Tensor


def in_eight_bits(rows: Tensor) -> EightBitRows:
    """Rows `[..., width]` quantised, each by its largest number; the same bytes on every device."""
    wide = rows.float()
    # Not divided: a GPU multiplies by the reciprocal, a processor does not, and weights are quantised on either.
    scale = wide.abs().amax(-1, keepdim=True).clamp(min=LEAST) * (1 / LARGEST)
    return EightBitRows((wide / scale).to(EIGHT), scale.reshape(-1, 1))
