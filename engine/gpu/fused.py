"""A GPU's UNet and VAE with less between their matrix products: the library's modules, computing in fewer passes.

Pictures stay channels-last throughout, as convolutions want them; norms, sums and gates take one pass each
(`engine.gpu.kernels`); an attention's projections of one input are one product. Weights keep their names and may
be changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, silu

from engine.gpu.compiled_kernels import Kernels
from engine.gpu.joined_attention import (
    JoinedCrossAttention,
    JoinedSelfAttention,
    join_projections,
    joined,
    plain_attention,
)

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
        module.to(memory_format=torch.channels_last)
        for part in module.modules():
            if type(part) is nn.GroupNorm and part.weight is not None:
                _become(FusedGroupNorm, part, kernels)
            elif type(part) is ResnetBlock2D and plain_resnet(part):
                _become(FusedResnet, part, kernels)
        timed = [part for part in module.modules() if type(part) is FusedResnet and part.time_emb_proj is not None]
        if timed:
            shifts = TimeShifts(timed)
            for part in timed:
                part.time_shifts = shifts


def _become(fused: type[nn.Module], part: Any, kernels: Kernels) -> None:
    """Make a library's module, weights and all, one that computes with kernels."""
    part.__class__ = fused
    part.kernels = kernels


class FusedGroupNorm(nn.GroupNorm):
    """A group norm of channels-last pictures; of anything else the library's."""

    kernels: Kernels

    def forward(self, given: Tensor) -> Tensor:
        """The normalised picture."""
        kernels = self.kernels.now
        return super().forward(given) if kernels is None or given.dim() != 4 else kernels.group_norm(given, self)


class FusedResnet(ResnetBlock2D):
    """A resnet whose convolutions leave their biases to the passes that follow."""

    kernels: Kernels
    time_shifts: TimeShifts
    conv1: Any
    conv2: Any
    conv_shortcut: Any

    def forward(self, input_tensor: Tensor, temb: Any, *_: Any, **__: Any) -> Tensor:
        """The block's output, channels-last."""
        kernels = self.kernels.now
        if kernels is None:
            return super().forward(input_tensor, temb)
        input_tensor = input_tensor.contiguous(memory_format=torch.channels_last)
        hidden = kernels.group_norm(input_tensor, self.norm1, silu=True)
        hidden = conv2d(hidden, self.conv1.weight, padding=1)
        shift = self.conv1.bias.expand(len(hidden), -1)
        if self.time_emb_proj is not None:
            shift = self.time_shifts.of(self, temb)
        hidden = kernels.group_norm(hidden, self.norm2, silu=True, shift=shift)
        hidden = conv2d(hidden, self.conv2.weight, padding=1)
        if self.conv_shortcut is None:
            return kernels.summed(hidden, self.conv2.bias, input_tensor)
        bias = self.conv2.bias + self.conv_shortcut.bias
        return kernels.summed(hidden, bias, conv2d(input_tensor, self.conv_shortcut.weight))


class TimeShifts:
    """What the timestep, and a bias, add to the pictures in all resnets of a UNet: one product for all of them.

    The joined weights belong to the first resnet, where whoever moves weights finds them.
    """

    def __init__(self, resnets: list[Any]) -> None:
        self._first = resnets[0]
        self._first.time_weight = joined([resnet.time_emb_proj for resnet in resnets], "weight")
        self._first.time_bias = joined([resnet.time_emb_proj for resnet in resnets], "bias")
        self._first.time_conv_bias = joined([resnet.conv1 for resnet in resnets], "bias")
        self._widths = [resnet.conv1.out_channels for resnet in resnets]
        self._number = {id(resnet): number for number, resnet in enumerate(resnets)}
        self._seen: Tensor | None = None
        self._made: tuple[Tensor, ...] = ()

    def of(self, resnet: Any, temb: Tensor) -> Tensor:
        """What is added in a resnet, `[n, channels]`, made when the first of them asks with this embedding."""
        if self._seen is not temb:
            first = self._first
            made = linear(silu(temb), first.time_weight, first.time_bias + first.time_conv_bias)
            self._seen, self._made = temb, made.split(self._widths, dim=1)
        return self._made[self._number[id(resnet)]]


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
        normed = kernels.layer_norm(total, blocks[0].norm1)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            total, normed = kernels.added_layer_norm(block.attn1(normed), total, block.norm2)
            read = block.attn2(normed, encoder_hidden_states=text)
            total, normed = kernels.added_layer_norm(read, total, block.norm3)
            fed = block.ff(normed)
            if following is None:
                total = fed + total
            else:
                total, normed = kernels.added_layer_norm(fed, total, following.norm1)
        return total


def plain_resnet(resnet: Any, time_norm: str = "default") -> bool:
    """Whether a resnet is as Stable Diffusion's networks have them; those of a VAE's decoder have the norm `group`."""
    return (
        resnet.time_embedding_norm == time_norm
        and not resnet.skip_time_act
        and resnet.upsample is None
        and resnet.downsample is None
        and resnet.output_scale_factor == 1
        and isinstance(resnet.nonlinearity, nn.SiLU)
        and resnet.conv1.padding == (1, 1)
    )


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
