"""CLIP's vision tower: a picture as the vectors that image prompts are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.models.checkpoint import read_tensors
from engine.models.clip_layers import LayerSizes
from engine.models.clip_vision_model import ClipVisionModel, ClipVisionSizes
from engine.models.fill import fill, unfilled, weights_size
from engine.models.unet import heads

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the red, green and blue of CLIP's training pictures."""
MOST_HEADS = 16
"""Towers wider than 16 · 64 have wider heads, not more of them."""
OPENAI_WIDTHS = (768, 1024)
"""The widths of OpenAI's towers (ViT-B, ViT-L), which approximate GELU by a sigmoid."""
POSITIONS = "vision_model.embeddings.position_ids"


@dataclass(frozen=True)
class ImageFeatures:
    """What the tower sees in a picture.

    `patches` `[1, 1 + patches, width]` are the states before the last layer, without a norm; `whole`
    `[1, projected width]` is the picture as CLIP compares it with texts.
    """

    patches: Tensor
    whole: Tensor


class ClipVision:
    """A vision tower on its device."""

    def __init__(self, module: ClipVisionModel) -> None:
        self.module = module
        weight = module.visual_projection.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.side = module.sizes.side

    @classmethod
    def load(cls, path: Path, device: torch.device) -> ClipVision:
        """The tower in `path` (names as `CLIPVisionModelWithProjection`'s), in fp16 where the device computes in it.

        Raises:
            CheckpointError: the file is not there or holds no such tower.
        """
        tensors = read_tensors(path)
        tensors.pop(POSITIONS, None)
        try:
            with unfilled():
                module = ClipVisionModel(tower_sizes(tensors))
            return cls(fill(module, tensors, device, Precision.for_device(device).arithmetic, "the vision tower"))
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as a CLIP vision model: {error}") from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.module)

    @torch.inference_mode()
    def features(self, picture: np.ndarray) -> ImageFeatures:
        """What the tower sees in a uint8 picture `[h, w, 3]`, which is stretched to its square, not cropped."""
        pixels = pixel_values(picture, self.side).to(self.device, self.dtype)
        seen = self.module(pixels)
        return ImageFeatures(seen.states[-2], seen.projected)


def pixel_values(picture: np.ndarray, side: int) -> Tensor:
    """A uint8 picture `[h, w, 3]` stretched to `side`×`side` (Lanczos) and normalised, `[1, 3, side, side]` in fp32."""
    square = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
    scaled = torch.from_numpy(np.array(square)).float() / 255
    return ((scaled - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)[None]


def tower_sizes(tensors: Mapping[str, Tensor]) -> ClipVisionSizes:
    """The sizes of the tower with these weights.

    Raises:
        CheckpointError: no vision tower with a projection.
    """
    needed = {
        name: tensors.get(name)
        for name in (
            "vision_model.embeddings.patch_embedding.weight",
            "vision_model.embeddings.position_embedding.weight",
            "vision_model.encoder.layers.0.mlp.fc1.weight",
            "visual_projection.weight",
        )
    }
    found = [tensor for tensor in needed.values() if tensor is not None]
    if len(found) < len(needed):
        raise CheckpointError(f"it lacks {next(name for name in needed if needed[name] is None)}")
    patches, positions, inner, projection = found
    width, patch = patches.shape[0], patches.shape[-1]
    layers = 0
    while f"vision_model.encoder.layers.{layers}.mlp.fc1.weight" in tensors:
        layers += 1
    of_layers = LayerSizes(
        width=width,
        heads=min(heads(width), MOST_HEADS),
        layers=layers,
        inner=inner.shape[0],
        activation="quick_gelu" if width in OPENAI_WIDTHS else "gelu",
        causal=False,
    )
    return ClipVisionSizes(math.isqrt(positions.shape[0] - 1) * patch, patch, of_layers, projection.shape[0])
