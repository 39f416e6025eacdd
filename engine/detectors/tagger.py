"""Tags of drawings: a WD14 network and the list of its tags."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.detectors.onnx import OnnxModel
from engine.errors import CheckpointError
from engine.images.codecs import Pixels
from engine.images.resize import resample

GENERAL, CHARACTER = 0, 4
"""Categories of tags; the others are the picture's rating."""
GENERAL_ABOVE, CHARACTER_ABOVE = 0.35, 0.85
"""Scores above which a tag fits."""
ESCAPED = str.maketrans({"(": r"\(", ")": r"\)", "_": " "})


@dataclass(frozen=True)
class Tag:
    """One of the network's outputs."""

    name: str
    category: int


@dataclass(frozen=True)
class Tags:
    """All outputs in order."""

    tags: tuple[Tag, ...]

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Tags:
        """The list in `path`: columns `tag_id`, `name`, `category`, `count` under a line of titles.

        Raises:
            CheckpointError: the file is not there or is no such list.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return cls(tuple(Tag(row["name"], int(row["category"])) for row in csv.DictReader(file)))
        except FileNotFoundError as error:
            raise CheckpointError(f"{path.name}: there is no such file") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path.name}: not a list of tags with the columns name and category") from error

    @property
    def size(self) -> int:
        """Bytes it holds: next to none."""
        return 0

    def fitting(self, scores: NDArray[np.float32]) -> str:
        """The tags that fit by their scores `[n]`, as a prompt has them: characters first, each in the list's order.

        Raises:
            CheckpointError: the scores belong to another list.
        """
        if len(scores) != len(self.tags):
            raise CheckpointError(f"the tagger gives {len(scores)} scores, its list has {len(self.tags)} tags")
        found = [
            tag.name.translate(ESCAPED)
            for category, above in ((CHARACTER, CHARACTER_ABOVE), (GENERAL, GENERAL_ABOVE))
            for tag, score in zip(self.tags, scores, strict=True)
            if tag.category == category and score > above
        ]
        return ", ".join(found)


class Tagger:
    """The network."""

    def __init__(self, model: OnnxModel) -> None:
        self.model, self.size = model, model.size

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Tagger:
        """The network in `path`.

        Raises:
            CheckpointError: the file is not there or is no tagger.
        """
        model = OnnxModel.load(path, device)
        if len(model.input.shape) != 4 or not isinstance(model.input.shape[1], int):
            raise CheckpointError(f"{path.name} is no tagger: its input is {model.input.shape}, not [1, side, side, 3]")
        return cls(model)

    def scores(self, image: Pixels) -> NDArray[np.float32]:
        """How well each tag fits a picture `[h, w, 3]`."""
        return self.model(network_input(image, self.model.input.shape[1]))[0]


def network_input(image: Pixels, side: int) -> NDArray[np.float32]:
    """The whole picture in the middle of a white square, `[1, side, side, 3]`, values to 255, blue first."""
    height, width = image.shape[:2]
    ratio = side / max(width, height)
    scaled = resample(image, max(1, width * ratio), max(1, height * ratio))
    square = Image.new("RGB", (side, side), "white")
    square.paste(Image.fromarray(scaled), ((side - scaled.shape[1]) // 2, (side - scaled.shape[0]) // 2))
    return np.asarray(square, np.float32)[None, :, :, ::-1].copy()
