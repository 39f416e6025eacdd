"""Layers whose weights lie in half precision and whose arithmetic is fp32: half the memory, the same bytes out.

diffusers' layerwise casting converts a layer's own weights to and fro at each call: they move, those that a file holds
in fp32 are rounded, and every call converts twice. Here a layer converts a copy, and only what is not fp32.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import embedding, layer_norm, linear


class UpcastLinear(nn.Linear):
    """A linear layer that computes in fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """Its output, fp32."""
        return linear(input, self.weight.float(), None if self.bias is None else self.bias.float())


class UpcastLayerNorm(nn.LayerNorm):
    """A layer norm that computes in fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """Its output, fp32."""
        return layer_norm(input, self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


class UpcastEmbedding(nn.Embedding):
    """A table whose rows are read as fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """The rows, fp32."""
        return embedding(input, self.weight).float()


UPCAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: UpcastLinear,
    nn.LayerNorm: UpcastLayerNorm,
    nn.Embedding: UpcastEmbedding,
}


def compute_in_fp32(module: nn.Module) -> None:
    """Have the layers of a module compute in fp32, whatever their weights are stored in.

    Raises:
        TypeError: a layer with weights of its own is of no known kind.
    """
    for layer in module.modules():
        if type(layer) in UPCAST:
            layer.__class__ = UPCAST[type(layer)]
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"{type(layer).__name__} cannot compute in another number format than its weights'")
