"""Weight names: diffusers and transformers modules on one side, single-file checkpoints (LDM, OpenCLIP) on the other.

Nothing here knows SDXL's sizes: levels, layers and attention places are read from the names themselves. Every function
takes a whole part (a UNet, a VAE, one text encoder) without its prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."
V_PREDICTION = "v_pred"

Pair = tuple[str, str]
"""A module's name in diffusers or transformers, and in the checkpoint."""

UNET_ENDS: tuple[Pair, ...] = (
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
)
UNET_RESNET: tuple[Pair, ...] = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
VAE_RESNET: tuple[Pair, ...] = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("conv_shortcut", "nin_shortcut"),
)
VAE_ATTENTION: tuple[Pair, ...] = (
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
)
CLIP_G_LAYER: tuple[Pair, ...] = (
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
)
CLIP_G_ENDS: tuple[Pair, ...] = (
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.weight", "ln_final.weight"),
    ("text_model.final_layer_norm.bias", "ln_final.bias"),
)


@dataclass(frozen=True)
class UNetLayout:
    """What a UNet's numbering depends on: resnets per level going down, and the up levels that have attention."""

    layers: tuple[int, ...]
    attention_up: frozenset[int]

    @classmethod
    def of_diffusers(cls, names: Iterable[str]) -> UNetLayout:
        """The layout of a UNet with these diffusers names."""
        names = list(names)
        counts = _highest(names, r"down_blocks\.(\d+)\.resnets\.(\d+)\.")
        attention = {int(found[1]) for name in names if (found := re.match(r"up_blocks\.(\d+)\.attentions\.", name))}
        return cls(tuple(counts[level] + 1 for level in sorted(counts)), frozenset(attention))

    @classmethod
    def of_ldm(cls, names: Iterable[str]) -> UNetLayout:
        """The layout of a UNet with these checkpoint names."""
        names = list(names)
        layers, count = [], 0
        blocks = 1 + max(int(found[1]) for name in names if (found := re.match(r"input_blocks\.(\d+)\.", name)))
        downsamplers = {int(found[1]) for name in names if (found := re.match(r"input_blocks\.(\d+)\.0\.op\.", name))}
        for block in range(1, blocks):
            if block in downsamplers:
                layers.append(count)
                count = 0
            else:
                count += 1
        layers.append(count)
        with_attention = {
            int(found[1]) for name in names if (found := re.match(r"output_blocks\.(\d+)\.1\.transformer_blocks", name))
        }
        levels, first = set(), 0
        for level, length in enumerate(reversed(layers)):
            if with_attention & set(range(first, first + length + 1)):
                levels.add(level)
            first += length + 1
        return cls(tuple(layers), frozenset(levels))

    def modules(self) -> Iterator[Pair]:
        """Every module that has weights, transformers as wholes."""
        yield from UNET_ENDS
        yield from self._down()
        yield from _resnet("mid_block.resnets.0", "middle_block.0", UNET_RESNET)
        yield "mid_block.attentions.0", "middle_block.1"
        yield from _resnet("mid_block.resnets.1", "middle_block.2", UNET_RESNET)
        yield from self._up()

    def _down(self) -> Iterator[Pair]:
        block = 1
        for level, layers in enumerate(self.layers):
            for layer in range(layers):
                yield from _resnet(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{block}.0", UNET_RESNET)
                yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{block}.1"
                block += 1
            if level < len(self.layers) - 1:
                yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{block}.0.op"
                block += 1

    def _up(self) -> Iterator[Pair]:
        block = 0
        for level, layers in enumerate(reversed(self.layers)):
            for layer in range(layers + 1):
                yield from _resnet(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{block}.0", UNET_RESNET)
                if level in self.attention_up:
                    yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{block}.1"
                if layer == layers and level < len(self.layers) - 1:
                    place = 2 if level in self.attention_up else 1
                    yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{block}.{place}.conv"
                block += 1


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """Diffusers name -> checkpoint name of a UNet with these diffusers names; unknown names are left out."""
    names = list(names)
    return _renamed(names, dict(UNetLayout.of_diffusers(names).modules()))


def unet_names_from_ldm(names: Iterable[str]) -> dict[str, str]:
    """Checkpoint name -> diffusers name of a UNet with these checkpoint names; unknown names are left out."""
    names = list(names)
    return _renamed(names, {ldm: ours for ours, ldm in UNetLayout.of_ldm(names).modules()})


def unet_to_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A UNet's weights under checkpoint names.

    Raises:
        KeyError: a name belongs to no part of a UNet.
    """
    return _all_renamed(tensors, unet_names(tensors))


def unet_from_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A UNet's weights under diffusers names.

    Raises:
        KeyError: a name belongs to no part of a UNet.
    """
    return _all_renamed(tensors, unet_names_from_ldm(tensors))


def vae_to_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's weights under checkpoint names; attention becomes 1×1 convolutions.

    Raises:
        KeyError: a name belongs to no part of a VAE.
    """
    levels = 1 + max(_highest(tensors, r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\."))
    renamed = _all_renamed(tensors, _renamed(list(tensors), dict(_vae_modules(levels))))
    return {name: _as_convolution(name, tensor) for name, tensor in renamed.items()}


def vae_from_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's weights under diffusers names; attention becomes linear. Diffusers names pass as they are.

    Raises:
        KeyError: a name belongs to no part of a VAE.
    """
    if any(name.startswith("decoder.up_blocks.") for name in tensors):
        return dict(tensors)
    levels = 1 + max(_highest(tensors, r"encoder\.down\.(\d+)\.block\.(\d+)\."), default=-1)
    names = {ldm: ours for ours, ldm in _vae_modules(levels)}
    renamed = _all_renamed(tensors, _renamed(list(tensors), names))
    return {name: _as_linear(name, tensor) for name, tensor in renamed.items()}


def clip_g_to_openclip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `CLIPTextModelWithProjection`'s weights under OpenCLIP names: q, k and v fused, the projection transposed."""
    renamed: dict[str, Tensor] = {}
    ends = dict(CLIP_G_ENDS)
    layer_names = dict(CLIP_G_LAYER)
    for name, tensor in tensors.items():
        found = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if name in ends:
            renamed[ends[name]] = tensor
        elif name == "text_projection.weight":
            renamed["text_projection"] = tensor.t().contiguous()
        elif found and found[2] in layer_names:
            renamed[f"transformer.resblocks.{found[1]}.{layer_names[found[2]]}.{found[3]}"] = tensor
        elif found and found[2] == "self_attn.q_proj":
            parts = [tensors[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            renamed[f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}"] = torch.cat(parts)
        elif not (found and found[2] in ("self_attn.k_proj", "self_attn.v_proj")):
            raise KeyError(f"{name} belongs to no part of a text encoder with projection")
    return renamed


def clip_g_from_openclip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP weights as those of a `CLIPTextModelWithProjection`; `logit_scale` is dropped.

    Raises:
        KeyError: a name belongs to no part of an OpenCLIP text encoder.
    """
    renamed: dict[str, Tensor] = {}
    ends = {theirs: ours for ours, theirs in CLIP_G_ENDS}
    layer_names = {theirs: ours for ours, theirs in CLIP_G_LAYER}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
        prefix = f"text_model.encoder.layers.{found[1]}" if found else ""
        if name in ends:
            renamed[ends[name]] = tensor
        elif name in ("text_projection", "text_projection.weight"):
            renamed["text_projection.weight"] = tensor.t().contiguous()
        elif found and found[2] == "attn.in_proj":
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{prefix}.self_attn.{part}_proj.{found[3]}"] = piece
        elif found and found[2] in layer_names:
            renamed[f"{prefix}.{layer_names[found[2]]}.{found[3]}"] = tensor
        elif name not in ("logit_scale", "attn_mask"):
            raise KeyError(f"{name} belongs to no part of an OpenCLIP text encoder")
    return renamed


def clip_l_to_checkpoint(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `CLIPTextModel`'s weights as a checkpoint names them behind `CLIP_L`."""
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def checkpoint_of(
    unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], clip_l: Mapping[str, Tensor], clip_g: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A whole single-file checkpoint from four state dicts of diffusers and transformers modules."""
    parts = (
        (UNET, unet_to_ldm(unet)),
        (VAE, vae_to_ldm(vae)),
        (CLIP_L, clip_l_to_checkpoint(clip_l)),
        (CLIP_G, clip_g_to_openclip(clip_g)),
    )
    return {prefix + name: tensor.contiguous() for prefix, part in parts for name, tensor in part.items()}


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _resnet(ours: str, theirs: str, inner: tuple[Pair, ...]) -> Iterator[Pair]:
    for name, their_name in inner:
        yield f"{ours}.{name}", f"{theirs}.{their_name}"


def _vae_modules(levels: int) -> Iterator[Pair]:
    yield from (("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv"))
    for side, blocks, down_or_up, sampler in (
        ("encoder", "down_blocks", "down", "downsample"),
        ("decoder", "up_blocks", "up", "upsample"),
    ):
        yield f"{side}.conv_in", f"{side}.conv_in"
        yield f"{side}.conv_norm_out", f"{side}.norm_out"
        yield f"{side}.conv_out", f"{side}.conv_out"
        for place in (0, 1):
            yield from _resnet(f"{side}.mid_block.resnets.{place}", f"{side}.mid.block_{place + 1}", VAE_RESNET)
        yield from _resnet(f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1", VAE_ATTENTION)
        for level in range(levels):
            their_level = level if side == "encoder" else levels - 1 - level
            ours, theirs = f"{side}.{blocks}.{level}", f"{side}.{down_or_up}.{their_level}"
            yield f"{ours}.{sampler}rs.0.conv", f"{theirs}.{sampler}.conv"
            for layer in range(MOST_VAE_LAYERS):
                yield from _resnet(f"{ours}.resnets.{layer}", f"{theirs}.block.{layer}", VAE_RESNET)


MOST_VAE_LAYERS = 8


VAE_ATTENTION_WEIGHT = re.compile(
    r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$|mid_block\.attentions\.0\.to_(q|k|v|out\.0)\.weight$"
)


def _is_vae_attention(name: str) -> bool:
    return VAE_ATTENTION_WEIGHT.search(name) is not None


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, None, None] if _is_vae_attention(name) and tensor.dim() == 2 else tensor


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, 0, 0] if _is_vae_attention(name) and tensor.dim() == 4 else tensor


def _highest(names: Iterable[str], pattern: str) -> dict[int, int]:
    """First number in `pattern` -> the highest second number beside it."""
    highest: dict[int, int] = {}
    for name in names:
        if found := re.match(pattern, name):
            first, second = int(found[1]), int(found[2])
            highest[first] = max(second, highest.get(first, 0))
    return highest


def _renamed(names: list[str], modules: Mapping[str, str]) -> dict[str, str]:
    """Each name with the longest module name that leads it exchanged; names under no module are left out."""
    renamed = {}
    for name in names:
        module = name
        while module and module not in modules:
            module = module.rpartition(".")[0]
        if module:
            renamed[name] = modules[module] + name.removeprefix(module)
    return renamed


def _all_renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    strangers = [name for name in tensors if name not in names]
    if strangers:
        raise KeyError(f"{len(strangers)} names belong to no known part, first {strangers[0]}")
    return {names[name]: tensor for name, tensor in tensors.items()}
