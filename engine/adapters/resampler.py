"""What turns a picture's vectors into tokens beside the text's: the projections of IP-Adapter (Ye et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from engine.detectors.clip_vision import ImageFeatures
from engine.errors import CheckpointError
from engine.models.fill import fill, unfilled
from engine.models.unet import heads


class PerceiverAttention(nn.Module):
    """Latent tokens attend to the picture's and to themselves (Perceiver, as in Flamingo, Alayrac et al. 2022)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.heads = heads(inner)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, seen: Tensor, latents: Tensor) -> Tensor:
        """What is added to the latents."""
        seen, latents = self.norm1(seen), self.norm2(latents)
        key, value = self.to_kv(torch.cat([seen, latents], dim=1)).chunk(2, dim=-1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(latents), key, value)
        )
        return self.to_out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """The projection of the Plus adapters: learned tokens that read the picture's patches layer by layer."""

    def __init__(self, tokens: int, width: int, inner: int, layers: int, mlp: int, seen: int, context: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, tokens, width))
        self.proj_in, self.proj_out = nn.Linear(seen, width), nn.Linear(width, context)
        self.norm_out = nn.LayerNorm(context)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(width, inner), _feed_forward(width, mlp)]) for _ in range(layers)
        )

    @classmethod
    def shaped(cls, tensors: Mapping[str, Tensor]) -> Resampler:
        """One of the sizes of these tensors."""
        layers = 0
        while f"layers.{layers}.0.to_q.weight" in tensors:
            layers += 1
        _, tokens, width = tensors["latents"].shape
        inner, mlp = tensors["layers.0.0.to_q.weight"].shape[0], tensors["layers.0.1.1.weight"].shape[0]
        seen, context = tensors["proj_in.weight"].shape[1], tensors["proj_out.weight"].shape[0]
        return cls(tokens, width, inner, layers, mlp, seen, context)

    def forward(self, features: ImageFeatures) -> Tensor:
        """The tokens `[n, tokens, context width]` of n pictures."""
        seen = self.proj_in(features.patches)
        latents = self.latents.expand(len(seen), -1, -1)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(seen, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class Projection(nn.Module):
    """The projection of the plain adapters: tokens from the picture as a whole."""

    def __init__(self, tokens: int, seen: int, context: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj, self.norm = nn.Linear(seen, tokens * context), nn.LayerNorm(context)

    @classmethod
    def shaped(cls, tensors: Mapping[str, Tensor]) -> Projection:
        """One of the sizes of these tensors."""
        out, seen = tensors["proj.weight"].shape
        context = tensors["norm.weight"].shape[0]
        return cls(out // context, seen, context)

    def forward(self, features: ImageFeatures) -> Tensor:
        """The tokens `[1, tokens, context width]`."""
        return self.norm(self.proj(features.whole).unflatten(-1, (self.tokens, -1)))


def load_projection(tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> Any:
    """The projection with these weights (an adapter's `image_proj`), a `Resampler` or a `Projection`.

    Raises:
        CheckpointError: weights of neither, or incomplete ones.
    """
    kinds: dict[str, type[Resampler] | type[Projection]] = {"latents": Resampler, "proj.weight": Projection}
    kind = next((kinds[name] for name in kinds if name in tensors), None)
    if kind is None:
        raise CheckpointError("its image projection is of an unknown kind; take a Plus or a plain IP-Adapter")
    try:
        with unfilled():
            module = kind.shaped(tensors)
    except KeyError as error:
        raise CheckpointError(f"its image projection lacks {error.args[0]}") from error
    return fill(module, tensors, device, dtype, "its image projection")


def _feed_forward(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False)
    )
