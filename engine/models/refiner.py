"""A refiner: the UNet of a second file, of one of three kinds; only one with another latent space keeps its VAE."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.host_memory import MappedFile
from engine.gpu.residency import Residency
from engine.memory_plan import Parts
from engine.models import weight_names
from engine.models.checkpoint import check_kind, read_tensors
from engine.models.fill import weights_size
from engine.models.left_over import without_left_overs
from engine.models.text_encoders import TextEncoders
from engine.models.unet import context_width, load_unet, refiner_config, unet_config
from engine.models.vae import Vae
from engine.sampling.conditioning import Kind
from engine.sampling.model_sampling import Prediction
from engine.sampling.unet import UNet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refiner:
    """A UNet that goes on where a base model stops; `vae` is its own where its latents are of another space."""

    path: Path
    kind: Kind
    unet: UNet
    vae: Vae | None
    prediction: Prediction

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.unet) + (0 if self.vae is None else weights_size(self.vae.module))


def load_refiner(
    path: Path,
    device: torch.device,
    encoders: TextEncoders,
    kernels: Kernels | None = None,
    residency: Residency | None = None,
    precision: Precision | None = None,
) -> Refiner:
    """The refiner in `path` on `device`, for a base model with these text encoders; fused with `kernels` if any.

    Without `precision` its number formats are those that suit the device. Where `residency` finds too little room for
    it, it lies on the host and comes when it is called.

    Raises:
        CheckpointError: a file that is none, or whose UNet cannot read this base model's texts.
    """
    started = time.perf_counter()
    check_kind(path, "refiner_model_name")
    tensors = without_left_overs(read_tensors(path), path)
    parts = {prefix: weight_names.part_of(tensors, prefix) for prefix in (weight_names.UNET, weight_names.VAE)}
    precision, vae = precision or Precision.for_device(device), None
    numbers = sum(tensor.numel() for tensor in parts[weight_names.UNET].values())
    carried = residency is not None and residency.crowded(Parts(numbers * precision.unet_bytes, 0, 0))
    start = torch.device("cpu") if carried else device
    try:
        kind = kind_of(parts[weight_names.UNET], encoders)
        settings = unet_config if kind == "sdxl" else refiner_config
        config = settings(parts[weight_names.UNET], encoders.pooled_width)
        unet = load_unet(parts[weight_names.UNET], config, start, precision, kernels, carried=carried)
        if kind == "sd15":
            vae = Vae.placed(parts[weight_names.VAE], start, precision, kernels, carried=carried)
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(f"{path.name} cannot be used as a refiner: {error.args[0]}") from error
    if residency is not None and carried:
        modules: list[Any] = [unet, *([] if vae is None or not vae.moves else [vae.module])]
        for module in modules:
            residency.adopt(module, file=MappedFile(path))
    log.info("loaded the refiner %s (%s) on %s in %.1f s", path.name, kind, device, time.perf_counter() - started)
    prediction: Prediction = "v" if weight_names.V_PREDICTION in tensors else "eps"
    return Refiner(path, kind, unet, vae, prediction)


def kind_of(tensors: Mapping[str, Tensor], encoders: TextEncoders) -> Kind:
    """Which kind of refiner a UNet is, by the width of the texts it reads.

    Raises:
        CheckpointError: it reads none that the base model has.
    """
    wide, left, right = context_width(tensors), encoders.clip_l.width, encoders.clip_g.width
    conditioned = "label_emb.0.0.weight" in tensors
    if conditioned and wide == left + right:
        return "sdxl"
    if conditioned and wide == right:
        return "sdxl_refiner"
    if not conditioned and wide == left:
        return "sd15"
    raise CheckpointError(
        f"its UNet reads text {wide} wide; the base model has {left + right} (SDXL), {right} (SDXL refiner) and "
        f"{left} (SD 1.5)"
    )
