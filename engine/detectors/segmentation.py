"""Networks that part a picture's subject from its background: the U²-Net and IS-Net families, as ONNX files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.detectors.onnx import OnnxModel
from engine.images.codecs import Mask, Pixels
from engine.images.resize import resample

MEAN = (0.485, 0.456, 0.406)
DARK = 1e-6
"""The largest value of a picture that is black all over."""


@dataclass(frozen=True)
class InputFormat:
    """How a network sees pictures: the side of its square in pixels, and what colours are divided by."""

    side: int
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)


_U2NET = InputFormat(320)
_ISNET = InputFormat(1024, (1.0, 1.0, 1.0))
CLOTHES = "u2net_cloth_seg"
INPUT_FORMATS = {
    "u2net": _U2NET,
    "u2netp": _U2NET,
    "u2net_human_seg": _U2NET,
    CLOTHES: InputFormat(768),
    "silueta": _U2NET,
    "isnet-general-use": _ISNET,
    "isnet-anime": _ISNET,
}
CLOTH_CLASSES = {"upper": 1, "lower": 2, "full": 3}


class Segmenter:
    """One of the networks by name."""

    def __init__(self, model: OnnxModel, name: str) -> None:
        self.model, self.name, self.form = model, name, INPUT_FORMATS[name]
        self.size = model.size

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Segmenter:
        """The network in `path`, whose name tells how it sees.

        Raises:
            CheckpointError: the file is not there or is no network.
        """
        return cls(OnnxModel.load(path, device), path.stem)

    def mask(self, image: Pixels, cloth: str = "full") -> Mask:
        """The subject of a picture `[h, w, 3]`, in greys; for the network of clothes 255 on the kind of `cloth`."""
        scores = self.model(network_input(image, self.form))
        height, width = image.shape[:2]
        if self.name == CLOTHES:
            classes = scores[0].argmax(axis=0).astype(np.uint8)
            return np.where(resample(classes, width, height) == CLOTH_CLASSES[cloth], 255, 0).astype(np.uint8)
        return resample(stretched(scores[0, 0]), width, height)


def network_input(image: Pixels, form: InputFormat) -> NDArray[np.float32]:
    """The picture as the networks were trained on, `[1, 3, side, side]`; its own brightest value counts as white."""
    square = Image.fromarray(image).resize((form.side, form.side), Image.Resampling.LANCZOS)
    colours = np.asarray(square, np.float64)
    colours = (colours / max(colours.max(), DARK) - MEAN) / form.deviation
    return colours.transpose(2, 0, 1)[None].astype(np.float32)


def stretched(scores: NDArray[np.float32]) -> Mask:
    """Scores from 0 for the lowest to 255 for the highest, cut off to whole numbers; 0 where all are the same."""
    low, high = scores.min(), scores.max()
    if high <= low:
        return np.zeros(scores.shape, np.uint8)
    return ((scores - low) / (high - low) * 255).astype(np.uint8)
