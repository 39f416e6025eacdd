"""Files of control nets: whole ones in two layouts, and those that say how a net differs from the UNet drawn with."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.adapters.controlnet import ControlNet, encoder_size
from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.gpu.offload import at_hand, by_group, moves
from engine.gpu.upcast import arithmetic_of, compute_in, stored
from engine.models import weight_names
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled
from engine.sampling.unet import UNet, UNetConfig

LOW_RANK_MARK = "lora_controlnet"
"""A name whose presence says that the file holds differences."""
LDM_PREFIX = "control_model."
HINT = "controlnet_cond_embedding."
LDM_HINT = "input_hint_block."
HINT_CHANNELS = 3


class ControlFile:
    """A control net's tensors on their device; `on` makes the net that goes with a UNet.

    A whole net's are under diffusers names. One of differences (`low_rank`) is under checkpoint names; a weight is
    either given outright or, as `….up` and `….down`, as a product to be added to the UNet's own.
    """

    def __init__(self, name: str, tensors: Mapping[str, Tensor], low_rank: bool) -> None:
        self.name, self.tensors, self.low_rank = name, tensors, low_rank

    @classmethod
    def load(cls, path: Path, device: torch.device) -> ControlFile:
        """The control net in `path`.

        Raises:
            CheckpointError: the file is not there or holds no control net that reads RGB pictures.
        """
        tensors = read_tensors(path)
        tensors = weight_names.part_of(tensors, LDM_PREFIX) or tensors
        low_rank = LOW_RANK_MARK in tensors
        tensors.pop(LOW_RANK_MARK, None)
        control = _control_parts(tensors)
        first = control.get(f"{HINT}conv_in.weight")
        if first is None:
            raise CheckpointError(f"{path.name}: not a control net (nothing in it reads a control image)")
        if first.shape[1] != HINT_CHANNELS:
            raise CheckpointError(f"{path.name}: reads control images of {first.shape[1]} channels, not 3")
        if not low_rank:
            tensors = control | _encoder_parts(tensors, path.name)
        dtype = Precision.for_device(device).unet
        return cls(path.name, {name: tensor.to(device).to(dtype) for name, tensor in tensors.items()}, low_rank)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def made_size(self, unet: UNet) -> int:
        """Bytes that a net for this UNet takes beside the file's tensors, at most."""
        return encoder_size(unet) if self.low_rank else 0

    @torch.inference_mode()
    def on(self, unet: UNet) -> ControlNet:
        """The net for this UNet, as it is patched now; what a file of differences leaves alone is the UNet's memory.

        Raises:
            CheckpointError: the file is made for a UNet of another shape.
        """
        control = _control_parts(self.tensors) if self.low_rank else dict(self.tensors)
        config = dict(unet.config) if self.low_rank else _config(self.tensors, unet.config)
        with unfilled():
            net = ControlNet(config, _hint_widths(control), HINT_CHANNELS)
        tensors = control | self._changed(unet, net.state_dict()) if self.low_rank else control
        weight, arithmetic = unet.conv_in.weight, arithmetic_of(unet.conv_in)
        try:
            filled = fill(net, tensors, weight.device, weight.dtype, "its control net")
            if arithmetic != weight.dtype:
                compute_in(filled, arithmetic)
            filled.made_by = self if self.low_rank else None
            return filled
        except CheckpointError as error:
            raise CheckpointError(f"{self.name} does not fit the checkpoint: {error}") from error

    @torch.inference_mode()
    def write(self, net: ControlNet, unet: UNet) -> None:
        """Write a net's weights into it once more, as `on` made them; the UNet is patched as it was then."""
        weights = net.state_dict(keep_vars=True)
        with closing(self._each(unet, weights)) as changed:
            for name, made in chain(_control_parts(self.tensors).items(), changed):
                weights[name].copy_(stored(made, weights[name].dtype))

    def _changed(self, unet: UNet, wanted: Iterable[str]) -> dict[str, Tensor]:
        """The UNet's weights that are `wanted`, under diffusers names, each changed as the file says."""
        left = {name for name in self.tensors if not name.startswith(CONTROL_PARTS)}
        theirs, changed = weight_names.unet_names(dict(unet.named_parameters())), {}
        with closing(self._each(unet, wanted)) as each:
            for name, made in each:
                # What may leave the device is no memory to share.
                changed[name] = made.clone() if moves(made) else made
                stem, _, kind = theirs[name].rpartition(".")
                left -= {f"{stem}.{kind}", *(f"{stem}.{part}" for part in ("up", "down") if kind == "weight")}
        if left:
            raise CheckpointError(
                f"{self.name} does not fit the checkpoint: {len(left)} of its tensors change nothing there, "
                f"first {min(left)}"
            )
        return changed

    def _each(self, unet: UNet, wanted: Iterable[str]) -> Generator[tuple[str, Tensor], None, None]:
        """Each of the UNet's weights that are `wanted`, changed as the file says; it may be the UNet's own."""
        weights = dict(unet.named_parameters())
        theirs = weight_names.unet_names(weights)
        for names in by_group({name: weights[name] for name in wanted if name in theirs}):
            with at_hand(weights[names[0]]):
                for name in names:
                    stem, _, kind = theirs[name].rpartition(".")
                    yield name, self._one(weights[name], stem, kind)

    def _one(self, weight: Tensor, stem: str, kind: str) -> Tensor:
        if f"{stem}.{kind}" in self.tensors:
            return self.tensors[f"{stem}.{kind}"]
        up, down = self.tensors.get(f"{stem}.up"), self.tensors.get(f"{stem}.down")
        if kind != "weight" or up is None or down is None:
            return weight
        if up.shape[1] != down.shape[0] or len(up) * down[0].numel() != weight.numel():
            raise CheckpointError(f"{self.name} does not fit the checkpoint: {stem} has another shape there")
        # Rounded once, as LoRAs are.
        product = up.flatten(1).float() @ down.flatten(1).float()
        return stored(weight.float() + product.reshape(weight.shape), weight.dtype)


CONTROL_PARTS = (LDM_HINT, "zero_convs.", "middle_block_out.")
"""What a control net has beside a UNet's way down, under its original names."""


def _control_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of what a control net has beside a UNet's way down, under diffusers names."""
    hint = sorted({int(found[1]) for name in tensors if (found := re.match(r"input_hint_block\.(\d+)\.", name))})
    layers = {place: f"blocks.{n - 1}" for n, place in enumerate(hint)}
    if hint:
        layers |= {hint[0]: "conv_in", hint[-1]: "conv_out"}
    parts = {}
    for name, tensor in tensors.items():
        if name.startswith("controlnet_"):
            parts[name] = tensor
        elif found := re.fullmatch(r"input_hint_block\.(\d+)\.(weight|bias)", name):
            parts[f"{HINT}{layers[int(found[1])]}.{found[2]}"] = tensor
        elif found := re.fullmatch(r"zero_convs\.(\d+)\.0\.(weight|bias)", name):
            parts[f"controlnet_down_blocks.{found[1]}.{found[2]}"] = tensor
        elif found := re.fullmatch(r"middle_block_out\.0\.(weight|bias)", name):
            parts[f"controlnet_mid_block.{found[1]}"] = tensor
    return parts


def _encoder_parts(tensors: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """The tensors of the way down and the middle, under diffusers names."""
    names = [name for name in tensors if not name.startswith((*CONTROL_PARTS, "controlnet_"))]
    if any(name.startswith("down_blocks.") for name in names):
        return {name: tensors[name] for name in names}
    if not any(name.startswith("input_blocks.") for name in names):
        raise CheckpointError(f"{file}: not a control net (it has no copy of a UNet's way down)")
    try:
        return weight_names.unet_from_ldm({name: tensors[name] for name in names})
    except KeyError as error:
        raise CheckpointError(f"{file}: not a control net of a known kind: {error.args[0]}") from error


def _hint_widths(control: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The widths of the hint's reader: that of its first layer and of each that halves."""
    halving = (control.get(f"{HINT}blocks.{n}.weight") for n in range(1, len(control), 2))
    return control[f"{HINT}conv_in.weight"].shape[0], *(weight.shape[0] for weight in halving if weight is not None)


def _config(tensors: Mapping[str, Tensor], unet_config: UNetConfig) -> dict[str, Any]:
    """The UNet's settings with the net's own transformers: a small net has fewer than its UNet, or none."""
    levels = range(len(unet_config.block_out_channels))
    depths = [_depths(tensors, f"down_blocks.{level}") for level in levels]
    return dict(unet_config) | {
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths),
        "transformer_layers_per_block": tuple(depth or 1 for depth in depths),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if _depths(tensors, "mid_block") else "UNetMidBlock2D",
    }


def _depths(tensors: Mapping[str, Tensor], block: str) -> tuple[int, ...]:
    """Transformers of each attention in a block."""
    pattern = re.compile(re.escape(block) + r"\.attentions\.(\d+)\.transformer_blocks\.\d+\.norm1\.weight")
    places = [int(found[1]) for name in tensors if (found := pattern.fullmatch(name))]
    return tuple(places.count(place) for place in sorted(set(places)))
