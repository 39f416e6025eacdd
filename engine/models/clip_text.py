"""CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020): token ids to hidden states and a pooled vector.

It is transformers' `CLIPTextModel`, and with a projection its `CLIPTextModelWithProjection`: the same names of weights,
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.models.clip_layers import NORM_EPS, Layers, LayerSizes


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

    @property
    def of_layers(self) -> LayerSizes:
        """The sizes of the layers alone."""
        return LayerSizes(self.width, self.heads, self.layers, self.inner, self.activation, causal=True)


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


class ClipTextModel(nn.Module):
    """A text transformer of these sizes."""

    def __init__(self, sizes: ClipTextSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embeddings, self.encoder = TokenEmbeddings(sizes), Layers(sizes.of_layers)
        self.final_layer_norm = nn.LayerNorm(sizes.width, eps=NORM_EPS)
        if sizes.projection is not None:
            self.text_projection = nn.Linear(sizes.width, sizes.projection, bias=False)

    def forward(self, ids: Tensor, replaced: Callable[[Tensor], Tensor] = lambda embedded: embedded) -> ClipText:
        """What it makes of texts, token ids `[texts, tokens]`; `replaced` may put other vectors in the place of theirs,
        given as `[texts, tokens, width]`."""
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        hidden = replaced(self.embeddings.token_embedding(ids)) + self.embeddings.position_embedding(places)
        states = self.encoder(hidden)
        final = self.final_layer_norm(states[-1])
        if self.sizes.projection is None:
            return ClipText(states, final, None)
        first_end = (ids == self.sizes.end).int().argmax(dim=-1)
        at_end = final[torch.arange(len(ids), device=ids.device), first_end]
        return ClipText(states, final, self.text_projection(at_end))
