"""A processor's UNet and VAE with less between their products: oneDNN's, each with what follows it done inside.

torch takes its matrix products from another library, which on AMD's processors needs twice the time; biases, gates and
residuals are passes of their own there, and a convolution's weights are rearranged at each call. Weights stay where
they are, keep their names and may be changed in place between two runs of a UNet.
"""

from __future__ import annotations

import platform
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn.functional import conv2d, scaled_dot_product_attention, silu

from engine.gpu.fused import plain_transformer
from engine.gpu.fused_pictures import plain_resnet
from engine.gpu.joined_attention import join_projections, plain_attention

MACHINES = ("x86_64", "AMD64")
"""Elsewhere torch's builds have other libraries under the same names, or none."""
MOST_KEPT = 512 << 20
"""Bytes of weights of a UNet whose rearranged copies are kept: larger ones compute so long that it does not show."""

Made = TypeVar("Made")


def available() -> bool:
    """Whether this torch has oneDNN's products with what follows them."""
    return platform.machine() in MACHINES and torch.backends.mkldnn.is_available()


class Kept:
    """What is made of a UNet's weights and of the text once a run: good while its owner, a denoiser, lives and calls.

    Nothing is kept without an owner, so that changed weights count.
    """

    def __init__(self) -> None:
        self._owner: weakref.ref[Any] | None = None
        self._made: dict[Hashable, Any] = {}

    @property
    def owned(self) -> bool:
        """Whether anything is kept."""
        return self._owner is not None

    def begin(self, owner: object) -> None:
        """From now on it is this one's: what was made for another is dropped."""
        if self._owner is None or self._owner() is not owner:
            self._made.clear()
            self._owner = weakref.ref(owner, self._end)

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under the key, or is made now."""
        if not self.owned:
            return make()
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _end(self, owner: weakref.ref[Any]) -> None:
        if self._owner is owner:
            self._owner = None
            self._made.clear()


def begin_run(unet: Any, owner: object) -> None:
    """Note that a UNet's weights stay as they are while this one calls it."""
    kept: Kept | None = getattr(unet, "kept", None)
    if kept is not None:
        kept.begin(owner)


def use_onednn(module: Any) -> None:
    """Have a UNet or a VAE in fp32 on a processor compute by oneDNN, where torch has it."""
    if not available():
        return
    if sum(weight.nbytes for weight in module.parameters()) <= MOST_KEPT:
        kept = Kept()
        for part in module.modules():
            part.kept = kept
    for part in module.modules():
        if isinstance(part, Attention) and plain_attention(part):
            join_projections(part, carried=False)
            processor: Any = OneDnnCrossAttention() if part.is_cross_attention else OneDnnSelfAttention()
            part.set_processor(processor)
    for part in module.modules():
        if type(part) in ONEDNN and _fits(part):
            part.__class__ = ONEDNN[type(part)]


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Rows `[…, n]` times a layer's weights `[m, n]`, and its bias."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def product_plus(x: Tensor, layer: Any, other: Tensor) -> Tensor:
    """A linear layer's output and `other`, of its shape, together."""
    linear = torch.ops.mkldnn._linear_pointwise.binary
    return linear(x.contiguous(), other.contiguous(), layer.weight, layer.bias, "add")


def packed(weight: Tensor, shape: torch.Size, padding: int = 0, stride: int = 1) -> Tensor:
    """A convolution's weights rearranged for pictures of this shape; for `convolved` alone."""
    reorder = torch.ops.mkldnn._reorder_convolution_weight
    return reorder(weight.contiguous(), [padding] * 2, [stride] * 2, [1, 1], 1, list(shape))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0, stride: int = 1) -> Tensor:
    """A picture convolved with packed weights."""
    convolution = torch.ops.mkldnn._convolution_pointwise
    return convolution(x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, "none", [], "")


class OneDnnLinear(nn.Linear):
    """A linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Its output."""
        return product(input, self.weight, self.bias)


class OneDnnConv2d(nn.Conv2d):
    """A convolution whose weights are rearranged once a run."""

    kept: Kept | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The convolved picture."""
        padding, stride = int(self.padding[0]), self.stride[0]
        if self.kept is None or not self.kept.owned:
            return conv2d(input, self.weight, self.bias, stride, padding)
        return convolved(input, self.packed(input.shape), self.bias, padding, stride)

    def plus(self, input: Tensor, other: Tensor) -> Tensor:
        """The convolved picture and `other`, of its shape, together."""
        if input.shape[-2:] == (1, 1):  # a single pixel's strides say nothing, and torch before 2.13 fails at them
            return conv2d(input, self.weight, self.bias, padding=self.padding) + other
        weight = self.packed(input.shape) if self.kept is not None and self.kept.owned else self.weight
        convolution, other = torch.ops.mkldnn._convolution_pointwise.binary, _channels_last(other)
        places = self.padding, self.stride, self.dilation, self.groups
        return convolution(_channels_last(input), other, weight, self.bias, *places, "add", None, None, [], None)

    def packed(self, shape: torch.Size) -> Tensor:
        """Its weights for pictures of this shape."""
        assert self.kept is not None
        padding, stride = int(self.padding[0]), self.stride[0]
        return self.kept.get((id(self), shape), lambda: packed(self.weight, shape, padding, stride))


class OneDnnGate(GEGLU):
    """A gated projection: one half goes through its GELU inside its product, the other takes it up inside its own."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Half of the projection times the GELU of its other half."""
        x, linear = hidden_states.contiguous(), torch.ops.mkldnn._linear_pointwise
        (weight, gate_weight), (bias, gate_bias) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
        gate = linear(x, gate_weight, gate_bias, "gelu", [], "none")
        return linear.binary(x, gate, weight, bias, "mul")


class OneDnnResnet(ResnetBlock2D):
    """A resnet whose second convolution adds its input."""

    def forward(self, input_tensor: Tensor, temb: Any, *_: Any, **__: Any) -> Tensor:
        """The block's output, channels-last."""
        layers: Any = self
        hidden = layers.conv1(silu(layers.norm1(input_tensor), inplace=True))
        if layers.time_emb_proj is not None:
            hidden += layers.time_emb_proj(silu(temb))[:, :, None, None]
        hidden = silu(layers.norm2(hidden), inplace=True)
        return layers.conv2.plus(hidden, self._shortcut(input_tensor))

    def _shortcut(self, x: Tensor) -> Tensor:
        """The input in as many channels as the output has."""
        layer: Any = self.conv_shortcut
        if layer is None:
            return x
        return product(x.permute(0, 2, 3, 1), layer.weight.flatten(1), layer.bias).permute(0, 3, 1, 2)


class OneDnnTransformer(Transformer2DModel):
    """Transformer blocks without any copy of the picture; what is added last is added inside a product."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any) -> Any:
        """The picture changed by all blocks, alone in a tuple."""
        layers: Any = self
        n, channels, height, width = hidden_states.shape
        total = layers.proj_in(_rows(layers.norm(hidden_states)))
        for block in layers.transformer_blocks:
            total = total + block.attn1(block.norm1(total))
            total = total + block.attn2(block.norm2(total), encoder_hidden_states=encoder_hidden_states)
            gate, _, last = block.ff.net
            total = product_plus(gate(block.norm3(total)), last, total)
        rows = product_plus(total, layers.proj_out, _rows(hidden_states))
        return (rows.reshape(n, height, width, channels).permute(0, 3, 1, 2),)


class OneDnnSelfAttention:
    """A self-attention's processor: one product for queries, keys and values."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """What the rows `[n, tokens, width]` read of each other."""
        joined = product(hidden_states, attn.joined).unflatten(-1, (3, attn.heads, -1))
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        return attn.to_out[0](scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class OneDnnCrossAttention:
    """A cross-attention's processor: one product for keys and values, of a text once a run."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """What the rows `[n, tokens, width]` read of the text."""
        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        def read_text() -> tuple[Tensor, Tensor, Tensor]:
            """Keys and values, and the text, which keeps its place in memory to itself as long as they are kept."""
            joined = product(encoder_hidden_states, attn.joined).unflatten(-1, (2, attn.heads, -1))
            return *joined.permute(2, 0, 3, 1, 4), encoder_hidden_states

        kept: Kept | None = getattr(attn, "kept", None)
        key, value, _text = kept.get((id(attn), id(encoder_hidden_states)), read_text) if kept else read_text()
        return attn.to_out[0](scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


ONEDNN: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: OneDnnLinear,
    nn.Conv2d: OneDnnConv2d,
    GEGLU: OneDnnGate,
    ResnetBlock2D: OneDnnResnet,
    Transformer2DModel: OneDnnTransformer,
}


def _fits(part: Any) -> bool:
    if isinstance(part, nn.Conv2d):
        even = part.groups == 1 and part.dilation == (1, 1) and part.padding_mode == "zeros"
        return even and part.padding in ((0, 0), (1, 1)) and part.stride in ((1, 1), (2, 2))
    if isinstance(part, ResnetBlock2D):
        return plain_resnet(part) or (part.time_emb_proj is None and plain_resnet(part, "group"))
    return plain_transformer(part) if isinstance(part, Transformer2DModel) else True


def _channels_last(picture: Tensor) -> Tensor:
    return picture.contiguous(memory_format=torch.channels_last)


def _rows(picture: Tensor) -> Tensor:
    """A picture `[n, channels, h, w]` as rows `[n, h · w, channels]`."""
    return picture.permute(0, 2, 3, 1).flatten(1, 2)
