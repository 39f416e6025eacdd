"""Linear layers that compute in 8 bits: the rows of both factors in numbers of 8 bits, with a scale of 32 for each.

Weights are kept as they are, where LoRAs merge into them, and in 8 bits beside that. What 8 bits cannot hold is lost,
so pictures differ; a GPU of capability 8.9 and more multiplies twice as fast.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from engine.gpu.compiled_kernels import Kernels
from engine.gpu.eight_bit_rows import EightBitRows, Unbiased, in_eight_bits
from engine.gpu.fused import FusedGate, FusedTransformer

MADE = torch.float16
"""What products are rounded to."""


class EightBitLinear(nn.Linear):
    """A linear layer that multiplies in 8 bits, and leaves its bias to the kernel that follows, where there is one."""

    kernels: Kernels
    eight: Tensor
    eight_scale: Tensor

    def forward(self, input: Tensor | EightBitRows) -> Any:
        """Its output."""
        made = product(input, self)
        if self.bias is None:
            return made
        return made + self.bias if self.kernels.now is None else Unbiased(made, self.bias)


def product(rows: Tensor | EightBitRows, owner: Any) -> Tensor:
    """What a layer whose weight `owner` has in 8 bits makes of rows, in their format if they are not quantised yet."""
    given, kernels = rows, owner.kernels.now
    if isinstance(given, Tensor):
        given = in_eight_bits(given) if kernels is None else kernels.quantised(given)
    *shape, width = given.values.shape
    factors = given.values.reshape(-1, width), owner.eight.t(), given.scale, owner.eight_scale.t()
    made = torch._scaled_mm(*factors, out_dtype=MADE, use_fast_accum=True).unflatten(0, shape)
    return made.to(rows.dtype) if isinstance(rows, Tensor) else made


class EightBitSelfAttention:
    """A self-attention's processor: one product in 8 bits for queries, keys and values."""

    def __call__(self, attn: Any, hidden_states: Tensor | EightBitRows, *_: Any, **__: Any) -> Tensor:
        """What the rows `[n, tokens, width]` read of each other."""
        joined = product(hidden_states, attn).unflatten(-1, (3, attn.heads, -1))
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[0](read)


class EightBitGate(FusedGate):
    """A gated projection that is multiplied in 8 bits, and leaves its rows in these."""

    def forward(self, hidden_states: Tensor | EightBitRows, *_: Any, **__: Any) -> Any:
        """Half of the projection times the GELU of its other half."""
        kernels, projected = self.kernels.now, self.proj(hidden_states)
        if kernels is not None:
            return kernels.quantised_gate(projected)
        value, gate = projected.chunk(2, dim=-1)
        return value * gelu(gate)


class EightBitTransformer(FusedTransformer):
    """Transformer blocks whose rows reach their products in 8 bits; what the blocks add up is not."""

    def _normed(self, kernels: ModuleType, rows: Tensor, norm: Any) -> EightBitRows:
        normed: EightBitRows = kernels.quantised_norm(rows, norm)
        return normed

    def _added(self, kernels: ModuleType, made: Unbiased, total: Tensor, norm: Any) -> tuple[Tensor, EightBitRows]:
        added: tuple[Tensor, EightBitRows] = kernels.added_quantised_norm(made, total, norm)
        return added

    def _summed(self, kernels: ModuleType, made: Unbiased, total: Tensor, block: Any) -> Tensor:
        # With its bias, which only the kernels add; any norm does for what nobody reads.
        return self._added(kernels, made, total, block.norm3)[0]


def multiply_in_eight_bits(unet: Any) -> None:
    """Have the blocks of a fused UNet multiply in 8 bits; what becomes of the text stays as it is.

    It comes before anyone notes where weights lie, and how much they take.
    """
    unet.bytes_in_eight_bits = 0
    for transformer in unet.modules():
        if type(transformer) is FusedTransformer:
            transformer.__class__ = EightBitTransformer
            for block in transformer.transformer_blocks:
                unet.bytes_in_eight_bits += _quantise_block(block, transformer.kernels)


def _quantise_block(block: Any, kernels: Kernels) -> int:
    """Have a block multiply in 8 bits; what its weights take in these."""
    layers = [block.attn1.to_out[0], block.attn2.to_q, block.attn2.to_out[0], block.ff.net[0].proj, block.ff.net[2]]
    for layer in layers:
        layer.__class__, layer.kernels = EightBitLinear, kernels
        layer.eight, layer.eight_scale = in_eight_bits(layer.weight.detach())
        layer.weight.eight_bits = layer, 0
    attn, start = block.attn1, 0
    attn.kernels = kernels
    attn.eight, attn.eight_scale = in_eight_bits(attn.joined)
    for layer in (attn.to_q, attn.to_k, attn.to_v):
        layer.weight.eight_bits = attn, start
        start += len(layer.weight)
    attn.set_processor(EightBitSelfAttention())
    block.ff.net[0].__class__ = EightBitGate
    # In place of the dropouts, which take tensors only.
    block.ff.net[1] = block.attn1.to_out[1] = block.attn2.to_out[1] = nn.Identity()
    return sum(owner.eight.nbytes + owner.eight_scale.nbytes for owner in (attn, *layers))


@torch.inference_mode()
def follow_weight(weight: Tensor) -> None:
    """Have a weight that was changed in place, and is at hand, count in 8 bits too, if it is multiplied in these."""
    kept: tuple[Any, int] | None = getattr(weight, "eight_bits", None)
    if kept is not None:
        owner, start = kept
        rows = in_eight_bits(weight)
        owner.eight[start : start + len(weight)] = rows.values
        owner.eight_scale[start : start + len(weight)] = rows.scale
