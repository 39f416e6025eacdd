"""CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020): token ids to hidden states and a pooled vector.

It is transformers' `CLIPTextModel`, and with a projection its `CLIPTextModelWithProjection`: the same names of weights,
the same bytes. Importing the library's takes an engine twice as long as importing torch, at every start.
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
class ClipTextSizes:
    """A text transformer's sizes: entries of its table, places of a text, width, heads and inner width of its layers.

    `projection` is the width of the pooled vector where that is projected, `activation` one of `ACTIVATIONS`, and `end`
    the token that ends a text.
    """

    vocabulary: int
    places: int
    width: int
    heads: int
    layers: int
    inner: int
    activation: str
    end: int
    projection: int | None = None


@dataclass(frozen=True)
class ClipText:
    """What a text transformer makes of texts."""

    states: list[Tensor]
    """What goes into each layer and what comes out of the last, each `[texts, tokens, width]`."""
    final: Tensor
    """The last of them, normed."""
    pooled: Tensor | None
    """The projection of `final` where a text ends, `[texts, projection]`; None without one."""


class TokenEmbeddings(nn.Module):
    """The vectors of tokens and of their places."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.position_embedding = nn.Embedding(sizes.places, sizes.width)


class Attention(nn.Module):
    """Each token reads those before it, and itself."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(sizes.width, sizes.width) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        """What the tokens `[texts, tokens, width]` read."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        read = scaled_dot_product_attention(query, key, value, is_causal=hidden.shape[1] > 1)
        return self.out_proj(read.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The second half of a layer."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[sizes.activation]
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.inner), nn.Linear(sizes.inner, sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output, of the shape of `hidden`."""
        return self.fc2(self.activation(self.fc1(hidden)))


class Layer(nn.Module):
    """One layer, which norms what it reads."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(sizes), FeedForward(sizes)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(sizes.width, eps=NORM_EPS) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """Its output, of the shape of `hidden`."""
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        return hidden + self.mlp(self.layer_norm2(hidden))


class Layers(nn.Module):
    """All layers, under the library's name for them."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))


class ClipTextModel(nn.Module):
    """A text transformer of these sizes."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embeddings, self.encoder = TokenEmbeddings(sizes), Layers(sizes)
        self.final_layer_norm = nn.LayerNorm(sizes.width, eps=NORM_EPS)
        if sizes.projection is not None:
            self.text_projection = nn.Linear(sizes.width, sizes.projection, bias=False)

    def forward(self, ids: Tensor, replaced: Callable[[Tensor], Tensor] = lambda embedded: embedded) -> ClipText:
        """What it makes of texts, token ids `[texts, tokens]`; `replaced` may put other vectors in the place of theirs,
        given as `[texts, tokens, width]`."""
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        hidden = replaced(self.embeddings.token_embedding(ids)) + self.embeddings.position_embedding(places)
        states = [hidden]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        final = self.final_layer_norm(states[-1])
        if self.sizes.projection is None:
            return ClipText(states, final, None)
        first_end = (ids == self.sizes.end).int().argmax(dim=-1)
        at_end = final[torch.arange(len(ids), device=ids.device), first_end]
        return ClipText(states, final, self.text_projection(at_end))
