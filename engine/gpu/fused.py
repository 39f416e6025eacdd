"""A GPU's UNet and VAE with less between their matrix products: the library's modules, computing in fewer passes.

Pictures stay channels-last throughout, as convolutions want them; norms, sums and gates take one pass each
(`engine.gpu.kernels`); an attention's projections of one input are one product. Weights keep their names and may
be changed in place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, scaled_dot_product_attention

log = logging.getLogger(__name__)

PARTS = ("picture", "row", "attention")
"""What can be fused: work on pictures, work on rows, projections of an attention's one input."""


class Kernels:
    """The kernels, which must be compiled once a machine; until then, and where that fails, the library's are used.

    What is compiled while a picture is drawn is in use from the next one on: pictures of a machine's first seconds
    differ from later ones by rounding. Where an earlier start has compiled them, the first picture waits for them, a
    second or two, and is as all others.
    """

    def __init__(self) -> None:
        self._compiled: ModuleType | None = None
        self._thread: Thread | None = None
        self._kept = False
        self.now: ModuleType | None = None
        """What is in use."""

    def start_compiling(self, device: torch.device, folder: Path | None = None) -> None:
        """Compile them on a thread of their own, or load what lies compiled in the folder."""
        mark = None if folder is None else folder / f"compiled by torch {torch.__version__} for {_name_of(device)}"
        self._kept = mark is not None and mark.exists()
        self._thread = Thread(target=self._compile, args=(device, mark), name="kernels", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when they are compiled, or cannot be."""
        if self._thread is not None:
            self._thread.join()

    def adopt(self) -> None:
        """Use what is compiled; what an earlier start has compiled is waited for."""
        if self._kept:
            self.wait()
        self.now = self._compiled

    def _compile(self, device: torch.device, mark: Path | None) -> None:
        try:
            from engine.gpu import kernels

            with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream(device)):
                for dtype in (torch.float16, torch.bfloat16):
                    kernels.try_all(device, dtype)
            torch.cuda.synchronize(device)
        except Exception as error:  # whatever it is, drawing goes on without them
            log.warning("the GPU kernels are not used, steps take longer: %s (a C compiler is needed: gcc)", error)
            return
        self._compiled = kernels
        if mark is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def _name_of(device: torch.device) -> str:
    """The GPU's name, as a file's."""
    return torch.cuda.get_device_name(device).replace("/", " ")


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
                part.set_processor(JoinedCrossAttention(kernels) if part.is_cross_attention else JoinedSelfAttention())
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


def kernels_in_use(module: Any) -> ModuleType | None:
    """The kernels that a module computes with at the moment; None for one that is not fused."""
    kernels: Kernels | None = getattr(module, "kernels", None)
    return None if kernels is None else kernels.now


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
            shift = self.time_emb_proj(self.nonlinearity(temb)) + self.conv1.bias
        hidden = kernels.group_norm(hidden, self.norm2, silu=True, shift=shift)
        hidden = conv2d(hidden, self.conv2.weight, padding=1)
        if self.conv_shortcut is None:
            return kernels.summed(hidden, self.conv2.bias, input_tensor)
        bias = self.conv2.bias + self.conv_shortcut.bias
        return kernels.summed(hidden, bias, conv2d(input_tensor, self.conv_shortcut.weight))


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
        self._layers = [part for part in parts if hasattr(part, "joined")]
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


def join_projections(attn: Any) -> None:
    """Let the weights of projections of one input lie one after the other, so that one product makes them all."""
    layers = [attn.to_k, attn.to_v] if attn.is_cross_attention else [attn.to_q, attn.to_k, attn.to_v]
    attn.joined = torch.cat([layer.weight.data for layer in layers])
    attn.text = None
    parts = attn.joined.split([layer.out_features for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        read = layer.weight.data
        layer.weight = nn.Parameter(part, requires_grad=False)
        if read.device.type == "cpu":
            layer.weight.read_from = read  # a mapped file's memory, by which it is had without LoRAs (`offload`)


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
