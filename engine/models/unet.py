"""The UNet: its sizes read from a checkpoint's tensors, the library's module filled with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import gcd
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.eight_bit_arithmetic import multiply_in_eight_bits
from engine.gpu.fused import fuse
from engine.gpu.upcast import compute_in
from engine.models.fill import fill, unfilled
from engine.models.weight_names import UNetLayout, unet_from_ldm
from engine.sampling.unet import UNet

HEAD_WIDTH = 64
MOST_NORM_GROUPS = 32
SIZE_NUMBERS, REFINER_NUMBERS = 6, 5
SD15_HEADS = 8
"""Attention heads of every layer of Stable Diffusion 1.x, whatever its width."""


def heads(width: int) -> int:
    """The attention heads of a layer this wide: one per 64 channels, as in every SDXL part."""
    return max(1, width // HEAD_WIDTH)


def norm_groups(widths: tuple[int, ...]) -> int:
    """The group count of all group norms: 32, or the largest divisor of 32 that divides every width."""
    return gcd(MOST_NORM_GROUPS, *widths)


def unet_config(tensors: Mapping[str, Tensor], pooled_width: int) -> dict[str, Any]:
    """The settings of `UNet2DConditionModel` for an SDXL-class base model under checkpoint names (without prefix).

    `pooled_width` is the width of the pooled text; the rest of the size embedding is six sinusoids.

    Raises:
        CheckpointError: not an SDXL-class base model.
    """
    _require_sdxl_class(tensors, pooled_width)
    return _shape(tensors) | _conditioning(tensors, pooled_width, SIZE_NUMBERS)


def refiner_config(tensors: Mapping[str, Tensor], pooled_width: int) -> dict[str, Any]:
    """The settings for SDXL's refiner, which takes five numbers; for Stable Diffusion 1.x, which takes none.

    Raises:
        CheckpointError: neither of these.
    """
    for name in ("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"):
        if name not in tensors:
            raise CheckpointError("it has no UNet in the original single-file layout")
    shape = _shape(tensors)
    if "label_emb.0.0.weight" in tensors:
        return shape | _conditioning(tensors, pooled_width, REFINER_NUMBERS)
    return shape | {
        "attention_head_dim": tuple(min(SD15_HEADS, width) for width in shape["block_out_channels"]),
        "use_linear_projection": _projects_linearly(tensors),
    }


def load_unet(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    device: torch.device,
    precision: Precision,
    kernels: Kernels | None = None,
    *,
    carried: bool = False,
    check: Callable[[], None] = lambda: None,
) -> UNet:
    """A `UNet2DConditionModel` with these settings and these weights (checkpoint names, without prefix).

    It is fused with `kernels`, which only a GPU has; without them, or where it computes in another number format than
    it is stored in, it is the library's. `carried` and `check` are as for `fill`.

    Raises:
        CheckpointError: weights are missing, left over or of another shape.
    """
    with unfilled():
        unet = UNet2DConditionModel(**config)
    unet = fill(unet, unet_from_ldm(tensors), device, precision.unet, "the UNet", carried=carried, check=check)
    if precision.upcast:
        compute_in(unet, precision.arithmetic)
    elif kernels is not None:
        fuse(unet, kernels)
        if precision.eight_bit_products:
            multiply_in_eight_bits(unet)
    return unet


def split_attention(unet: UNet) -> None:
    """Have a UNet's attentions compute half of their heads at a time, in less memory than all."""
    for part in unet.modules():
        if isinstance(part, Attention):
            part.set_attention_slice(max(1, part.heads // 2))


def context_width(tensors: Mapping[str, Tensor]) -> int:
    """How wide the text is that a UNet reads.

    Raises:
        CheckpointError: it reads none.
    """
    keys = (tensor.shape[1] for name, tensor in tensors.items() if name.endswith(".attn2.to_k.weight"))
    width = next(keys, None)
    if width is None:
        raise CheckpointError("its UNet has no cross-attention, so no prompt can reach it")
    return width


def _shape(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of levels, widths and attention."""
    layout = UNetLayout.of_ldm(tensors)
    down, up, middle = _depths(tensors, layout)
    widths = _widths(tensors, layout)
    attention = [any(depths) for depths in down]
    going_down: list[Any] = [tuple(depths) if any(depths) else 1 for depths in down]
    if middle and not attention[-1]:
        going_down[-1] = (middle,)  # the library reads the middle's depth off the lowest level
    return {
        "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
        "out_channels": tensors["out.2.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": layout.layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": tuple(going_down),
        "reverse_transformer_layers_per_block": tuple(tuple(depths) if any(depths) else 1 for depths in up),
        "cross_attention_dim": context_width(tensors),
        "attention_head_dim": tuple(heads(width) for width in widths),
        "norm_num_groups": norm_groups(widths),
        "time_embedding_dim": tensors["time_embed.0.weight"].shape[0],
        "use_linear_projection": True,
    }


def _conditioning(tensors: Mapping[str, Tensor], pooled_width: int, numbers: int) -> dict[str, Any]:
    """The settings of a UNet that takes the pooled text and so many numbers."""
    width = tensors["label_emb.0.0.weight"].shape[1]
    if width <= pooled_width or (width - pooled_width) % (2 * numbers):
        raise CheckpointError(f"its UNet's size embedding does not fit a pooled text of {pooled_width}")
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (width - pooled_width) // numbers,
        "projection_class_embeddings_input_dim": width,
    }


def _projects_linearly(tensors: Mapping[str, Tensor]) -> bool:
    return all(tensor.dim() == 2 for name, tensor in tensors.items() if name.endswith(".1.proj_in.weight"))


def _require_sdxl_class(tensors: Mapping[str, Tensor], pooled_width: int) -> None:
    needed = "a base model of the SDXL class (SDXL, SSD-1B, Segmind Vega) is needed"
    for name in ("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"):
        if name not in tensors:
            raise CheckpointError(f"it has no UNet in the original single-file layout; {needed}")
    channels = tensors["input_blocks.0.0.weight"].shape[1]
    if channels == 9:
        raise CheckpointError("it is an inpainting UNet with 9 input channels; take an ordinary SDXL checkpoint")
    if channels != 4:
        raise CheckpointError(f"its UNet takes {channels} channels, not 4; {needed}")
    if "label_emb.0.0.weight" not in tensors:
        raise CheckpointError(f"its UNet takes no size and no pooled text (SD 1.x or 2.x); {needed}")
    if not _projects_linearly(tensors):
        raise CheckpointError(f"its UNet projects attention by convolution (SD 1.x); {needed}")


def _widths(tensors: Mapping[str, Tensor], layout: UNetLayout) -> tuple[int, ...]:
    widths, block = [], 1
    for layers in layout.layers:
        widths.append(tensors[f"input_blocks.{block}.0.out_layers.3.weight"].shape[0])
        block += layers + 1
    return tuple(widths)


def _depths(tensors: Mapping[str, Tensor], layout: UNetLayout) -> tuple[list[list[int]], list[list[int]], int]:
    """Transformer blocks per resnet: going down and going up, level by level, and in the middle."""
    down, block = [], 1
    for layers in layout.layers:
        down.append([_depth(tensors, f"input_blocks.{n}.1") for n in range(block, block + layers)])
        block += layers + 1
    up, block = [], 0
    for layers in reversed(layout.layers):
        up.append([_depth(tensors, f"output_blocks.{n}.1") for n in range(block, block + layers + 1)])
        block += layers + 1
    middle = _depth(tensors, "middle_block.1")
    if middle and any(down[-1]) and middle != down[-1][0]:
        raise CheckpointError(f"its middle block has {middle} transformer blocks, the lowest level {down[-1][0]}")
    return down, up, middle


def _depth(tensors: Mapping[str, Tensor], module: str) -> int:
    pattern = re.compile(re.escape(module) + r"\.transformer_blocks\.(\d+)\.norm1\.weight")
    return sum(pattern.fullmatch(name) is not None for name in tensors)
