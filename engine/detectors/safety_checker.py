"""The filter for pictures that are not safe for work: CLIP's view of a picture against the concepts of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from engine.detectors.clip_vision import DEVIATION, MEAN, POSITIONS, tower_sizes
from engine.errors import CheckpointError
from engine.images.codecs import Pixels
from engine.models.checkpoint import read_tensors
from engine.models.clip_vision_model import ClipVisionModel
from engine.models.fill import fill, unfilled, weights_size

TOWER = "vision_model."
STRICTER = 0.01
"""What is added to every score once a picture shows something that asks for special care."""
DIGITS = 3


@dataclass(frozen=True)
class Concepts:
    """Directions `[n, width]` in CLIP's space, and for each the cosine above which a picture shows it."""

    directions: Tensor
    thresholds: Tensor

    def cosines(self, seen: Tensor) -> list[float]:
        """How near a picture, `[width]`, is to each."""
        return cosine_similarity(seen[None], self.directions).tolist()


class SafetyChecker:
    """The filter on its device, in fp32."""

    def __init__(self, tower: ClipVisionModel, concepts: Concepts, special: Concepts) -> None:
        self.tower, self.concepts, self.special = tower, concepts, special
        self.device = tower.visual_projection.weight.device
        self.side = tower.sizes.side

    @classmethod
    def load(cls, path: Path, device: torch.device) -> SafetyChecker:
        """The filter in `path`, under the names of Stable Diffusion's safety checker.

        Raises:
            CheckpointError: the file is not there or is no such filter.
        """
        tensors = read_tensors(path)
        try:
            concepts, special = (_concepts(tensors, name, device) for name in ("concept", "special_care"))
            names = {
                name: name.removeprefix(TOWER) for name in tensors if name.startswith((TOWER, "visual_projection."))
            }
            weights = {short: tensors[name] for name, short in names.items() if short != POSITIONS}
            with unfilled():
                tower = ClipVisionModel(tower_sizes(weights))
            fill(tower, weights, device, torch.float32, "the safety checker")
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as a safety checker: {error}") from error
        return cls(tower, concepts, special)

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.tower)

    def censor(self, images: Sequence[Pixels]) -> list[Pixels]:
        """The pictures `[h, w, 3]`; a black one in place of each that is not safe."""
        return [image if self.is_safe(image) else np.zeros_like(image) for image in images]

    @torch.inference_mode()
    def is_safe(self, image: Pixels) -> bool:
        """Whether the picture shows none of the concepts."""
        pixels = pixel_values(image, self.side).to(self.device)
        seen = self.tower(pixels).projected[0]
        stricter = 0.0
        for cosine, threshold in zip(self.special.cosines(seen), self.special.thresholds.tolist(), strict=True):
            if is_shown(cosine, threshold, stricter):
                stricter = STRICTER
        scores = zip(self.concepts.cosines(seen), self.concepts.thresholds.tolist(), strict=True)
        return not any(is_shown(cosine, threshold, stricter) for cosine, threshold in scores)


def is_shown(cosine: float, threshold: float, stricter: float) -> bool:
    """Whether a concept is in a picture; a difference of less than half a thousandth is none."""
    return round(cosine - threshold + stricter, DIGITS) > 0


def pixel_values(image: Pixels, side: int) -> Tensor:
    """The picture's middle square as CLIP was trained on, `[1, 3, side, side]` in fp32: bicubic, normalised."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    scaled_width, scaled_height = (
        side if length == shorter else side * length // shorter for length in (width, height)
    )
    scaled = Image.fromarray(image).resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
    top, left = (scaled_height - side) // 2, (scaled_width - side) // 2
    square = torch.from_numpy(np.array(scaled)[top : top + side, left : left + side]).float() / 255
    return ((square - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)[None]


def _concepts(tensors: Mapping[str, Tensor], name: str, device: torch.device) -> Concepts:
    directions, thresholds = (tensors.get(f"{name}_embeds{ending}") for ending in ("", "_weights"))
    if directions is None or thresholds is None or thresholds.shape != directions.shape[:1]:
        raise CheckpointError(f"it lacks {name}_embeds or their weights")
    return Concepts(directions.float().to(device), thresholds.float().to(device))
