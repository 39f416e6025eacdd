"""The parts of a GPU's UNet and VAE that work on pictures: the library's modules, computing in fewer passes.

Pictures stay channels-last throughout, as convolutions want them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D, UpBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, silu

from engine.gpu.compiled_kernels import Kernels
from engine.gpu.joined_attention import joined

TIME_NORMS = ("default", "group")
"""What resnets call the norm after what the timestep adds: those of a UNet and an encoder, those of a decoder."""


def fused_kind(part: nn.Module) -> type[nn.Module] | None:
    """What a part that works on pictures becomes; None for one that stays as it is."""
    if type(part) is nn.GroupNorm and part.weight is not None:
        return FusedGroupNorm
    if type(part) is ResnetBlock2D and any(plain_resnet(part, kind) for kind in TIME_NORMS):
        return FusedResnet
    if type(part) is Upsample2D and plain_upsample(part):
        return FusedUpsample
    return UPWARD.get(type(part))


def share_time_shifts(module: nn.Module) -> None:
    """Have all fused resnets of a module that a timestep adds to make that in one product."""
    timed: list[Any] = [
        part for part in module.modules() if type(part) is FusedResnet and part.time_emb_proj is not None
    ]
    if timed:
        shifts = TimeShifts(timed)
        for part in timed:
            part.time_shifts = shifts


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

    def forward(self, input_tensor: Tensor, temb: Any, skip: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        """The block's output, channels-last; the channels of a `skip` follow those of its input."""
        kernels = self.kernels.now
        if kernels is None:
            return super().forward(input_tensor if skip is None else torch.cat([input_tensor, skip], dim=1), temb)
        if skip is None:
            input_tensor = input_tensor.contiguous(memory_format=torch.channels_last)
            hidden = kernels.group_norm(input_tensor, self.norm1, silu=True)
        else:
            input_tensor, hidden = kernels.joined_group_norm(input_tensor, skip, self.norm1)
        hidden = conv2d(hidden, self.conv1.weight, padding=1)
        shift = self.conv1.bias.expand(len(hidden), -1)
        if self.time_emb_proj is not None:
            shift = self.time_shifts.of(self, temb)
        hidden = kernels.group_norm(hidden, self.norm2, silu=True, shift=shift)
        hidden = conv2d(hidden, self.conv2.weight, padding=1)
        if self.conv_shortcut is None:
            return kernels.summed(hidden, self.conv2.bias, input_tensor)
        short = conv2d(input_tensor, self.conv_shortcut.weight)
        return kernels.summed(hidden, self.conv2.bias, short, self.conv_shortcut.bias)


class FusedUpBlock(UpBlock2D):
    """Resnets going up, which join what they are given with the skips in passes that they need anyway."""

    kernels: Kernels

    def forward(
        self, hidden_states: Tensor, res_hidden_states_tuple: Any, temb: Any = None, *rest: Any, **given: Any
    ) -> Tensor:
        """The block's output for the skips, the last of which come first."""
        if self.kernels.now is None:
            return super().forward(hidden_states, res_hidden_states_tuple, temb, *rest, **given)
        return _upwards(self, repeat(None), hidden_states, res_hidden_states_tuple, temb, given)


class FusedCrossUpBlock(CrossAttnUpBlock2D):
    """The same with a transformer after each resnet."""

    kernels: Kernels

    def forward(
        self, hidden_states: Tensor, res_hidden_states_tuple: Any, temb: Any = None, *rest: Any, **given: Any
    ) -> Tensor:
        """The block's output for the skips, the last of which come first."""
        if self.kernels.now is None:
            return super().forward(hidden_states, res_hidden_states_tuple, temb, *rest, **given)
        return _upwards(self, self.attentions, hidden_states, res_hidden_states_tuple, temb, given)


UPWARD: dict[type[nn.Module], type[nn.Module]] = {UpBlock2D: FusedUpBlock, CrossAttnUpBlock2D: FusedCrossUpBlock}
"""The blocks that go up, and what becomes of them."""


def _upwards(
    block: Any,
    transformers: Iterable[Any],
    hidden: Tensor,
    skips: Sequence[Tensor],
    temb: Any,
    given: dict[str, Any],
) -> Tensor:
    """A block's output; a resnet whose transformer is None has none after it."""
    for resnet, transformer, skip in zip(block.resnets, transformers, reversed(skips), strict=False):
        hidden = _with_skip(resnet, hidden, skip, temb)
        if transformer is not None:
            text = given.get("encoder_hidden_states")
            hidden = transformer(hidden, encoder_hidden_states=text, return_dict=False)[0]
    for upsample in block.upsamplers or ():
        hidden = upsample(hidden, given.get("upsample_size"))
    return hidden


def _with_skip(resnet: Any, hidden: Tensor, skip: Tensor, temb: Any) -> Tensor:
    """A resnet's output for a picture and a skip; whoever changes what it is given expects them as one."""
    if type(resnet) is FusedResnet and not resnet._forward_pre_hooks:
        return resnet(hidden, temb, skip)
    return resnet(torch.cat([hidden, skip], dim=1), temb)


class FusedUpsample(Upsample2D):
    """A convolution of a picture of twice the side."""

    kernels: Kernels
    conv: Any

    def forward(self, hidden_states: Tensor, output_size: Any = None, *_: Any, **__: Any) -> Tensor:
        """The enlarged, convolved picture; `output_size` is the library's way to ask for one row or column less."""
        kernels, (height, width) = self.kernels.now, hidden_states.shape[-2:]
        if kernels is None or (output_size is not None and tuple(output_size) != (2 * height, 2 * width)):
            return super().forward(hidden_states, output_size)
        made = conv2d(kernels.doubled(hidden_states), self.conv.weight, padding=1)
        return kernels.summed(made, self.conv.bias)


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


def plain_upsample(upsample: Any) -> bool:
    """Whether an upsampling is a doubling and a convolution."""
    return (
        upsample.use_conv
        and upsample.name == "conv"
        and not upsample.use_conv_transpose
        and upsample.interpolate
        and upsample.norm is None
        and upsample.conv.padding == (1, 1)
        and upsample.conv.bias is not None
    )


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
