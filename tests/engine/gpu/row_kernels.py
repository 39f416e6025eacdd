"""The GPU kernels of rows in torch's own words, for a processor; and a watch over whatever reads weights.

A weight that has left its device keeps its shape and has no memory: a processor that reads it ends without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.utils._python_dispatch import TorchDispatchMode

from engine.gpu.eight_bit_rows import EightBitRows, Unbiased, in_eight_bits
from engine.sampling.unet_call import UNetCall


def reads_text(*_: Any) -> bool:
    """Whether there is a kernel that reads the text: none here."""
    return False


def gated(x: Tensor) -> Tensor:
    """The first half of the last axis times the GELU of its second half."""
    value, gate = x.chunk(2, dim=-1)
    return value * gelu(gate)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm` of rows."""
    made: Tensor = norm(x)
    return made


def added_layer_norm(x: Tensor, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """A sum, and `norm` of it."""
    total = x + residual
    return total, norm(total)


def quantised(x: Tensor) -> EightBitRows:
    """Rows in 8 bits."""
    return in_eight_bits(x)


def quantised_norm(x: Tensor, norm: nn.LayerNorm) -> EightBitRows:
    """`norm` of rows, in 8 bits."""
    return in_eight_bits(norm(x))


def added_quantised_norm(x: Unbiased, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, EightBitRows]:
    """The sum of two tensors and a bias, and `norm` of it in 8 bits."""
    total = (x.values.float() + x.bias + residual).to(residual.dtype)
    return total, in_eight_bits(norm(total))


def quantised_gate(x: Unbiased) -> EightBitRows:
    """The first half of the last axis times the GELU of its second half, in 8 bits."""
    return in_eight_bits(gated(x.values.float() + x.bias))


class Away(Exception):
    """A weight was to be read that is away."""


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        _require_at_hand(args, str(func))
        return func(*args, **(kwargs or {}))


def output(unet: Any, call: UNetCall) -> Tensor:
    """What a UNet makes of a call, with weights that are there."""
    try:
        with _Watch():
            return call.on(unet)
    except Away as error:
        what = str(error)
    pytest.fail(what)  # without the trace: its frames hold weights that cannot be shown


class Watched:
    """Kernels of which the same holds: torch does not see their work."""

    def __init__(self, kernels: Any) -> None:
        self.kernels = kernels

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(self.kernels, name)

        def watched(*given: Any, **named: Any) -> Any:
            _require_at_hand([*given, *named.values()], name)
            return kernel(*given, **named)

        return watched


def _require_at_hand(given: Iterable[Any], reader: str) -> None:
    """Every tensor among what a function is given, and every weight of a module, has its memory."""
    for each in given:
        if isinstance(each, Tensor) and each.numel() and not each.untyped_storage().nbytes():
            raise Away(f"{reader} reads a weight {list(each.shape)} that is away")
        if isinstance(each, nn.Module):
            _require_at_hand(each.parameters(recurse=False), reader)
        elif isinstance(each, (tuple, list)):
            _require_at_hand(each, reader)
