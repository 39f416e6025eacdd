"""Attention whose projections of one input are one product, and the text's that are made once for many calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from engine.gpu.compiled_kernels import Kernels


class JoinedSelfAttention:
    """A self-attention's processor: one product for queries, keys and values."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """What the rows `[n, tokens, width]` read of each other."""
        joined = linear(hidden_states, attn.joined).unflatten(-1, (3, attn.heads, -1))
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[0](read)


class JoinedCrossAttention:
    """A cross-attention's processor: one product for keys and values, or those that `TextProjections` made."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """What the rows `[n, tokens, width]` read of the text."""
        query, kernels = attn.to_q(hidden_states), self.kernels.now
        joined = linear(encoder_hidden_states, attn.joined) if attn.text is None else attn.text
        if kernels is not None and kernels.reads_text(attn.heads, query.shape[-1]):
            return attn.to_out[0](kernels.read_text(query, joined, attn.heads))
        key, value = joined.unflatten(-1, (2, attn.heads, -1)).permute(2, 0, 3, 1, 4)
        query = query.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[0](read)


class TextProjections:
    """The keys and values that a fused UNet's cross-attentions make of texts `[n, tokens, width]`, for many calls.

    They have places of their own, to which recorded calls keep.
    """

    def __init__(self, unet: Any, like: Tensor) -> None:
        parts = [part for part in unet.modules() if isinstance(part, Attention) and part.is_cross_attention]
        self._layers: list[Any] = [part for part in parts if hasattr(part, "joined")]
        self._made = [like.new_empty(*like.shape[:2], len(layer.joined)) for layer in self._layers]

    def make(self, context: Tensor) -> None:
        """Have them be those of this text, by the products that the layers would compute."""
        rows = context.flatten(0, 1)
        for layer, made in zip(self._layers, self._made, strict=True):
            torch.mm(rows, layer.joined.t(), out=made.flatten(0, 1))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have the cross-attentions read them, whatever text the UNet is called with."""
        for layer, made in zip(self._layers, self._made, strict=True):
            layer.text = made
        try:
            yield
        finally:
            for layer in self._layers:
                layer.text = None


def join_projections(attn: Any, *, carried: bool = True) -> None:
    """Let the weights of projections of one input lie one after the other, so that one product makes them all.

    Where they lie so already, as those of a net that shares a UNet's, they stay. `carried` is as for `joined`.
    """
    layers = [attn.to_k, attn.to_v] if attn.is_cross_attention else [attn.to_q, attn.to_k, attn.to_v]
    lying = _lying_joined([layer.weight for layer in layers])
    attn.joined, attn.text = joined(layers, "weight", carried=carried) if lying is None else lying, None


def plain_attention(attn: Any) -> bool:
    """Whether an attention is as Stable Diffusion's UNets have them."""
    layers = (attn.to_q, attn.to_k, attn.to_v)
    unusual = (attn.group_norm, attn.spatial_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    return (
        all(type(layer) is nn.Linear and layer.bias is None for layer in layers)
        and not any(unusual)
        and not attn.residual_connection
        and attn.rescale_output_factor == 1
    )


def joined(layers: list[Any], name: str, *, carried: bool = True) -> Tensor:
    """The weights of layers as one tensor, of which theirs are parts from now on.

    Those on the host are `carried` to a device later, or computed with there, and then nothing is kept beside them.
    """
    joined = torch.cat([getattr(layer, name).data for layer in layers])
    parts = joined.split([len(getattr(layer, name)) for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        read = getattr(layer, name).data
        weight: Any = nn.Parameter(part, requires_grad=False)
        if carried and read.device.type == "cpu":
            weight.read_from = read  # a mapped file's memory, by which it is had without LoRAs (`offload`)
        setattr(layer, name, weight)
    return joined


def _lying_joined(weights: list[Tensor]) -> Tensor | None:
    """Weights `[…, width]` as one tensor without a copy, if each begins in memory where the one before it ends."""
    first = weights[0]
    storage, at = first.untyped_storage().data_ptr(), first.storage_offset()
    for weight in weights:
        here = weight.untyped_storage().data_ptr() == storage and weight.storage_offset() == at
        if not here or weight.dtype != first.dtype or weight.shape[1:] != first.shape[1:] or not weight.is_contiguous():
            return None
        at += weight.numel()
    return first.data.as_strided((sum(map(len, weights)), first.shape[1]), first.stride())
