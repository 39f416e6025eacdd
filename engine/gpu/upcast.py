"""Layers whose weights lie in a smaller number format than their arithmetic's: half the memory, or a quarter.

Weights that a file holds in fp16 give the same bytes as fp32 ones. diffusers' layerwise casting converts a layer's own
weights to and fro at each call: they move, those that a file holds in fp32 are rounded, and every call converts twice.
Here a layer converts a copy, and only what is not in the arithmetic's format.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, group_norm, layer_norm, linear


class UpcastLinear(nn.Linear):
    """A linear layer that computes in `arithmetic`."""

    arithmetic = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """Its output."""
        return linear(input, self.weight.to(self.arithmetic), _upcast(self.bias, self.arithmetic))


class UpcastConv2d(nn.Conv2d):
    """A convolution that computes in `arithmetic`."""

    arithmetic = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """Its output."""
        return self._conv_forward(input, self.weight.to(self.arithmetic), _upcast(self.bias, self.arithmetic))


class UpcastLayerNorm(nn.LayerNorm):
    """A layer norm that computes in `arithmetic`."""

    arithmetic = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """Its output."""
        weight, bias = (_upcast(tensor, self.arithmetic) for tensor in (self.weight, self.bias))
        return layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class UpcastGroupNorm(nn.GroupNorm):
    """A group norm that computes in `arithmetic`."""

    arithmetic = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """Its output."""
        weight, bias = (_upcast(tensor, self.arithmetic) for tensor in (self.weight, self.bias))
        return group_norm(input, self.num_groups, weight, bias, self.eps)


class UpcastEmbedding(nn.Embedding):
    """A table whose rows are read in `arithmetic`."""

    arithmetic = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """The rows."""
        return embedding(input, self.weight).to(self.arithmetic)


UPCAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: UpcastLinear,
    nn.Conv2d: UpcastConv2d,
    nn.LayerNorm: UpcastLayerNorm,
    nn.GroupNorm: UpcastGroupNorm,
    nn.Embedding: UpcastEmbedding,
}


def compute_in(module: nn.Module, arithmetic: torch.dtype) -> None:
    """Have the layers of a module compute in a number format, whatever their weights are stored in.

    Raises:
        TypeError: a layer with weights of its own is of no known kind.
    """
    for layer in module.modules():
        if type(layer) in UPCAST:
            upcast: Any = layer
            upcast.__class__, upcast.arithmetic = UPCAST[type(layer)], arithmetic
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"{type(layer).__name__} cannot compute in another number format than its weights'")


def arithmetic_of(layer: Any) -> torch.dtype:
    """The number format that a layer with a weight computes in."""
    arithmetic: torch.dtype = getattr(layer, "arithmetic", layer.weight.dtype)
    return arithmetic


def stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in the number format it is kept in.

    In 8-bit formats only matrices are kept, for vectors take no room, and what is too large becomes the largest number:
    those formats have none for it, or only infinity.
    """
    if dtype.itemsize > 1 or tensor.dtype == dtype:
        return tensor.to(dtype)
    if tensor.dim() < 2:
        return tensor.half()
    most = torch.finfo(dtype).max
    return tensor.float().clamp(-most, most).to(dtype)


def _upcast(tensor: Tensor | None, arithmetic: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(arithmetic)
