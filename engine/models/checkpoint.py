"""A checkpoint file opened: its UNet, VAE and text encoders on the device, in the precision they run in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import CheckpointError
from engine.files import detect, torch_files
from engine.files.pickled import unwrapped
from engine.gpu.capabilities import Precision
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.host_memory import MappedFile
from engine.gpu.residency import Residency
from engine.memory_plan import Parts
from engine.models import weight_names
from engine.models.eight_bit import is_packed, manifest, unpack
from engine.models.fill import weights_size
from engine.models.left_over import without_left_overs
from engine.models.text_encoders import TextEncoders, stored_size
from engine.models.unet import load_unet, unet_config
from engine.models.vae import NO_VAE, Vae
from engine.sampling.model_sampling import Prediction
from engine.sampling.unet import UNet

log = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"
PART_PREFIXES = (weight_names.UNET, weight_names.VAE, weight_names.CLIP_L, weight_names.CLIP_G)


@dataclass(frozen=True)
class Checkpoint:
    """A base model ready to draw."""

    path: Path
    unet: UNet
    own_vae: Vae | None
    text_encoders: TextEncoders
    prediction: Prediction
    most_pixels: int | None = None
    """The largest area it was trained for, if its file says so; larger pictures are sampled at about this one."""

    @property
    def vae(self) -> Vae:
        """The file's own VAE.

        Raises:
            CheckpointError: it has none.
        """
        if self.own_vae is None:
            raise CheckpointError(f"{self.path.name} cannot be drawn with by itself: {NO_VAE}, or vae_name with a VAE")
        return self.own_vae

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(*(module for part in self.modules for module in part))

    @property
    def modules(self) -> tuple[tuple[Any, ...], ...]:
        """The modules of its parts that take turns on a small GPU: UNet, text encoders, and the VAE if it moves."""
        encoders = self.text_encoders
        vaes = ((self.own_vae.module,),) if self.own_vae and self.own_vae.moves else ()
        return (self.unet,), (encoders.clip_l.module, encoders.clip_g.module), *vaes


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A model file's tensors, mapped into memory where the format allows it.

    Raises:
        CheckpointError: no such file, or not a model file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name}: there is no such file")
    try:
        if path.suffix.lower() == SAFETENSORS:
            return unpack(path) if is_packed(path) else load_file(path)
        content = unwrapped(torch_files.load(path))
    except (CheckpointError, OSError, MemoryError):
        raise
    except Exception as error:  # readers of broken files fail in every way there is
        log.info("%s cannot be read", path, exc_info=error)
        reason = detect.unusable(path) or detect.DAMAGED
        raise CheckpointError(f"{path.name}: not a readable model file: it is {reason}") from error
    tensors = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor) and isinstance(name, str)}
    if not tensors:
        raise CheckpointError(f"{path.name}: not a readable model file: it holds no dictionary of tensors")
    return tensors


def load_checkpoint(
    path: Path,
    device: torch.device,
    kernels: Kernels | None = None,
    residency: Residency | None = None,
    precision: Precision | None = None,
    *,
    needs_vae: bool = True,
    tensors: dict[str, Tensor] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """The checkpoint in `path` on `device`, its UNet and VAE fused with `kernels` if there are any.

    Without `precision` its number formats are those that suit the device. A file without a VAE is usable where it
    `needs_vae` not, because another file brings one. Where `residency` finds too little room for all of it, its parts
    lie on the host and come when they are called. `tensors` are the file's if it was read before; `check` is called
    before each weight of the UNet, most of the file, and may raise.

    Raises:
        CheckpointError: a file is unusable; the text names it and what is needed.
    """
    started = time.perf_counter()
    check_kind(path, "base_model_name")
    tensors = without_left_overs(tensors or read_tensors(path), path)
    precision, about = precision or Precision.for_device(device), _about(path)
    parts = {prefix: weight_names.part_of(tensors, prefix) for prefix in PART_PREFIXES}
    carried = residency is not None and residency.crowded(_parts_of(parts, precision))
    start = torch.device("cpu") if carried else device
    weights, margin = parts[weight_names.VAE], about.get("vae_margin", 0)
    try:
        text_encoders = TextEncoders.load(
            parts[weight_names.CLIP_L], parts[weight_names.CLIP_G], start, precision.text, carried=carried
        )
        unet = _load_unet(
            parts[weight_names.UNET], text_encoders, start, precision, kernels, carried=carried, check=check
        )
        has_vae = weights or needs_vae
        vae = Vae.placed(weights, start, precision, kernels, margin, carried=carried) if has_vae else None
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(f"{path.name} cannot be drawn with: {error.args[0]}") from error
    prediction: Prediction = "v" if weight_names.V_PREDICTION in tensors else "eps"
    checkpoint = Checkpoint(path, unet, vae, text_encoders, prediction, about.get("most_pixels"))
    _adopt(checkpoint, residency if carried else None)
    log.info("loaded %s on %s in %.1f s", path.name, start, time.perf_counter() - started)
    return checkpoint


def _adopt(checkpoint: Checkpoint, residency: Residency | None) -> None:
    """Have a checkpoint's parts come when they are called, if there is who brings them."""
    if residency is None:
        return
    file = MappedFile(checkpoint.path)
    for modules in checkpoint.modules:
        residency.adopt(*modules, file=file)


def _load_unet(
    tensors: Mapping[str, Tensor],
    text_encoders: TextEncoders,
    device: torch.device,
    precision: Precision,
    kernels: Kernels | None,
    *,
    carried: bool,
    check: Callable[[], None],
) -> UNet:
    """The UNet of a checkpoint with these text encoders.

    Raises:
        CheckpointError: it is of another kind, or reads other texts than they give.
    """
    config = unet_config(tensors, text_encoders.pooled_width)
    unet = load_unet(tensors, config, device, precision, kernels, carried=carried, check=check)
    _check_context(unet, text_encoders)
    return unet


def _parts_of(parts: Mapping[str, Mapping[str, Tensor]], precision: Precision) -> Parts:
    """The sizes of a checkpoint that is not loaded yet."""
    unet, vae = (
        sum(tensor.numel() for tensor in parts[which].values()) for which in (weight_names.UNET, weight_names.VAE)
    )
    texts = sum(stored_size(parts[which], precision.text) for which in (weight_names.CLIP_L, weight_names.CLIP_G))
    return Parts(unet * precision.unet_bytes, texts, 0 if precision.vae_on_processor else vae * precision.vae.itemsize)


def load_vae(
    path: Path, device: torch.device, kernels: Kernels | None = None, precision: Precision | None = None
) -> Vae:
    """The VAE of a file of the VAE folder, fused with `kernels` if there are any.

    Raises:
        CheckpointError: the file holds no usable VAE.
    """
    check_kind(path, "vae_name")
    tensors = without_left_overs(read_tensors(path), path)
    tensors = weight_names.part_of(tensors, weight_names.VAE) or tensors
    try:
        return Vae.placed(tensors, device, precision or Precision.for_device(device), kernels)
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(f"{path.name} cannot be used as a VAE: {error.args[0]}") from error


def check_kind(path: Path, member: str) -> None:
    """Refuse a file that is known to be something else than what this member of a request takes.

    Raises:
        CheckpointError: it is; the text says what.
    """
    reason = detect.unfit(path, member) if path.is_file() else None
    if reason:
        raise CheckpointError(reason)


def _about(path: Path) -> dict[str, Any]:
    """What a packed file says of itself; nothing of any other file."""
    packed = path.suffix.lower() == SAFETENSORS and is_packed(path)
    return manifest(path) if packed else {}


def _check_context(unet: UNet, text_encoders: TextEncoders) -> None:
    given = text_encoders.clip_l.width + text_encoders.clip_g.width
    wanted = unet.config.cross_attention_dim
    if given != wanted:
        raise CheckpointError(f"its UNet reads text {wanted} wide, its text encoders give {given}")
