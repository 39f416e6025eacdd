"""The layers of CLIP's transformers (Radford et al. 2021, arXiv:2103.00020), which read texts and pictures alike.

They are those of transformers' CLIP: the same names of weights, the same bytes. Importing the library's takes an engine
twice as long as importing torch, at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

NORM_EPS = 1e-5


def quick_gelu(x: Tensor) -> Tensor:
    """The GELU that OpenAI trained CLIP with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": gelu}


@dataclass(frozen=True)
class LayerSizes:
    """The layers' width, heads, number and inner width, and which of `ACTIVATIONS` is theirs.

    In `causal` ones each token reads those before it, and itself; in others all.
    """

    width: int
    heads: int
    layers: int
    inner: int
    activation: str
    causal: bool


class Attention(nn.Module):
    """Tokens read each other."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.heads, self.causal = sizes.heads, sizes.causal
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(sizes.width, sizes.width) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        """What the tokens `[texts, tokens, width]` read."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        read = scaled_dot_product_attention(query, key, value, is_causal=self.causal and hidden.shape[1] > 1)
        return self.out_proj(read.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The second half of a layer."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[sizes.activation]
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.inner), nn.Linear(sizes.inner, sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output, of the shape of `hidden`."""
        return self.fc2(self.activation(self.fc1(hidden)))


class Layer(nn.Module):
    """One layer, which norms what it reads."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(sizes), FeedForward(sizes)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(sizes.width, eps=NORM_EPS) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output, of the shape of `hidden`."""
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        return hidden + self.mlp(self.layer_norm2(hidden))


class Layers(nn.Module):
    """All layers, under the library's name for them."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """What goes into each layer and what comes out of the last."""
        states = [hidden]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states
