"""A GPU's UNet and VAE with less between their matrix products: the library's modules, computing in fewer passes.

Pictures stay channels-last throughout, as convolutions want them; norms, sums and gates take one pass each
(`engine.gpu.kernels`); an attention's projections of one input are one product. Weights keep their names and may
be changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from engine.gpu.compiled_kernels import Kernels
from engine.gpu.fused_pictures import fused_kind, share_time_shifts
from engine.gpu.joined_attention import JoinedCrossAttention, JoinedSelfAttention, join_projections, plain_attention
from engine.gpu.memory_format import to_channels_last

PARTS = ("picture", "row", "attention")
"""What can be fused: work on pictures, work on rows, projections of an attention's one input."""


def fuse(module: Any, kernels: Kernels, parts: Iterable[str] = PARTS) -> None:
    """Have a UNet or a VAE on a GPU compute in fewer passes, with whatever `kernels` has in use; weights keep names.

    It comes before anyone notes where weights lie: some are moved.
    """
    parts = set(parts)
    module.kernels = kernels
    if "attention" in parts:
        for part in module.modules():
            if isinstance(part, Attention) and plain_attention(part):
                join_projections(part)
                processor: Any = JoinedCrossAttention(kernels) if part.is_cross_attention else JoinedSelfAttention()
                part.set_processor(processor)
    if "row" in parts:
        for part in module.modules():
            if type(part) is GEGLU:
                _become(FusedGate, part, kernels)
            if type(part) is Transformer2DModel and plain_transformer(part):
                _become(FusedTransformer, part, kernels)
    if "picture" in parts:
        to_channels_last(module)
        for part in module.modules():
            kind = fused_kind(part)
            if kind is not None:
                _become(kind, part, kernels)
        share_time_shifts(module)


def _become(fused: type[nn.Module], part: Any, kernels: Kernels) -> None:
    """Make a library's module, weights and all, one that computes with kernels."""
    part.__class__ = fused
    part.kernels = kernels


class FusedGate(GEGLU):
    """A gated projection."""

    kernels: Kernels

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Half of the projection times the GELU of its other half."""
        kernels = self.kernels.now
        return super().forward(hidden_states) if kernels is None else kernels.gated(self.proj(hidden_states))


class FusedTransformer(Transformer2DModel):
    """Transformer blocks whose sums and norms are one pass each; without any copy of a channels-last picture."""

    kernels: Kernels
    norm: Any
    proj_in: Any
    proj_out: Any

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any) -> Any:
        """The picture changed by all blocks, alone in a tuple."""
        kernels = self.kernels.now
        if kernels is None:
            return super().forward(hidden_states, encoder_hidden_states, return_dict=False)
        n, channels, height, width = hidden_states.shape
        rows = self.norm(hidden_states).permute(0, 2, 3, 1).reshape(n, height * width, channels)
        total = self._computed(kernels, self.proj_in(rows), encoder_hidden_states)
        picture = self.proj_out(total).reshape(n, height, width, channels).permute(0, 3, 1, 2)
        return (picture + hidden_states,)

    def _computed(self, kernels: ModuleType, total: Tensor, text: Any) -> Tensor:
        """The rows `[n, tokens, width]` changed by all blocks."""
        blocks: list[Any] = list(self.transformer_blocks)
        normed = self._normed(kernels, total, blocks[0].norm1)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            total, normed = self._added(kernels, block.attn1(normed), total, block.norm2)
            read = block.attn2(normed, encoder_hidden_states=text)
            total, normed = self._added(kernels, read, total, block.norm3)
            fed = block.ff(normed)
            if following is None:
                total = self._summed(kernels, fed, total, block)
            else:
                total, normed = self._added(kernels, fed, total, following.norm1)
        return total

    def _normed(self, kernels: ModuleType, rows: Tensor, norm: Any) -> Any:
        """A block's input."""
        return kernels.layer_norm(rows, norm)

    def _added(self, kernels: ModuleType, made: Any, total: Tensor, norm: Any) -> tuple[Tensor, Any]:
        """The sum with what a layer made, and the next layer's input."""
        added: tuple[Tensor, Any] = kernels.added_layer_norm(made, total, norm)
        return added

    def _summed(self, kernels: ModuleType, made: Any, total: Tensor, block: Any) -> Tensor:
        """The sum with what the last layer of a block made."""
        summed: Tensor = made + total
        return summed


def plain_transformer(transformer: Any) -> bool:
    """Whether a transformer is as SDXL's UNets have them."""
    blocks = transformer.transformer_blocks
    return transformer.use_linear_projection and all(
        block.norm_type == "layer_norm"
        and block.pos_embed is None
        and block.attn2 is not None
        and not block.only_cross_attention
        and block.norm1.weight is not None
        for block in blocks
    )
