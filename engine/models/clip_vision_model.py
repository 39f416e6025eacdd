"""CLIP's vision transformer (Radford et al. 2021, arXiv:2103.00020): pixels to hidden states and a projected vector.

It is transformers' `CLIPVisionModelWithProjection`: the same names of weights, the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.models.clip_layers import NORM_EPS, Layers, LayerSizes


@dataclass(frozen=True)
class ClipVisionSizes:
    """A vision transformer's sizes: sides of pictures and of their patches, its layers, width of the projection."""

    side: int
    patch: int
    layers: LayerSizes
    projection: int


@dataclass(frozen=True)
class ClipSeen:
    """What a vision transformer makes of pictures."""

    states: list[Tensor]
    """What goes into each layer and what comes out of the last, each `[pictures, 1 + patches, width]`."""
    projected: Tensor
    """The first place of the last of them, normed and projected, `[pictures, projection]`."""


class PatchEmbeddings(nn.Module):
    """The vectors of patches and of their places, and one more for the whole."""

    def __init__(self, sizes: ClipVisionSizes) -> None:
        super().__init__()
        width, places = sizes.layers.width, (sizes.side // sizes.patch) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=sizes.patch, stride=sizes.patch, bias=False)
        self.position_embedding = nn.Embedding(places, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Their sums, `[pictures, 1 + patches, width]`."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        whole = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([whole, patches], dim=1) + self.position_embedding.weight


class VisionTransformer(nn.Module):
    """All before the projection, under the library's names."""

    def __init__(self, sizes: ClipVisionSizes) -> None:
        super().__init__()
        width = sizes.layers.width
        self.embeddings, self.encoder = PatchEmbeddings(sizes), Layers(sizes.layers)
        self.pre_layrnorm, self.post_layernorm = (nn.LayerNorm(width, eps=NORM_EPS) for _ in range(2))


class ClipVisionModel(nn.Module):
    """A vision transformer of these sizes, with its projection."""

    def __init__(self, sizes: ClipVisionSizes) -> None:
        super().__init__()
        self.sizes, self.vision_model = sizes, VisionTransformer(sizes)
        self.visual_projection = nn.Linear(sizes.layers.width, sizes.projection, bias=False)

    def forward(self, pixels: Tensor) -> ClipSeen:
        """What it makes of pictures, normalised pixels `[pictures, 3, side, side]`."""
        states = self.vision_model.encoder(self.vision_model.pre_layrnorm(self.vision_model.embeddings(pixels)))
        return ClipSeen(states, self.visual_projection(self.vision_model.post_layernorm(states[-1][:, 0])))
