"""The VAE: latents to pictures and pictures to latents, with sizes read from a file's tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from engine.models.filling import CheckpointError, fill
from engine.models.keys import vae_from_ldm
from engine.models.unet import norm_groups

DOWNSCALE = 8
NO_VAE = "it has no VAE in a known layout; a complete single-file checkpoint is needed"


def vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of `AutoencoderKL` for weights under diffusers names.

    Raises:
        CheckpointError: no VAE, or one that does not work on an eighth of the picture's side.
    """
    widths: list[int] = []
    layers = 0
    while (name := f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight") in tensors:
        widths.append(tensors[name].shape[0])
    if not widths or "decoder.conv_in.weight" not in tensors:
        raise CheckpointError(NO_VAE)
    if 2 ** (len(widths) - 1) != DOWNSCALE:
        raise CheckpointError(f"its VAE has {len(widths)} levels; 4 are needed (latents of an eighth of the side)")
    while f"encoder.down_blocks.0.resnets.{layers}.conv1.weight" in tensors:
        layers += 1
    return {
        "block_out_channels": tuple(widths),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": layers,
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": norm_groups(tuple(widths)),
        "mid_block_add_attention": any(re.search(r"mid_block\.attentions\.0\.", name) for name in tensors),
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        "force_upcast": False,
    }


class Vae:
    """A VAE; its latents are not scaled for any UNet."""

    def __init__(self, module: Any) -> None:
        self.module = module
        weight = next(module.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> Vae:
        """A VAE with these weights (checkpoint or diffusers names, without prefix).

        Raises:
            CheckpointError: the weights are incomplete or of another kind of VAE.
        """
        if not tensors:
            raise CheckpointError(NO_VAE)
        renamed = vae_from_ldm(tensors)
        config = vae_config(renamed)
        with torch.device("meta"):
            module = AutoencoderKL(**config)
        return cls(fill(module, renamed, device, dtype, "the VAE"))

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(weight.nbytes for weight in self.module.parameters())

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        """The pictures of latents `[batch, 4, h, w]`: uint8 `[batch, 8h, 8w, 3]`, cut off, not rounded."""
        pixels = self.module.decode(latent.to(self.device, self.dtype)).sample.float()
        pixels = ((pixels + 1) / 2).clamp_(0, 1).mul_(255).clamp_(0, 255)
        return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    @torch.inference_mode()
    def encode_mean(self, pixels: Tensor) -> Tensor:
        """The most likely latents, fp32, of pictures `[batch, 3, 8h, 8w]` in [0, 1]."""
        posterior = self.module.encode((pixels * 2 - 1).to(self.device, self.dtype)).latent_dist
        return posterior.mean.float()
