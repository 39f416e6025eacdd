"""Faces found and set straight: RetinaFace (Deng et al. 2020) on a ResNet, and a similarity to a face's usual place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, relu

from engine.errors import CheckpointError
from engine.images.codecs import Pixels
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size

PREFIX = "module."
MEAN_BGR = (104.0, 117.0, 123.0)
STEPS = (8, 16, 32)
"""Pixels from one anchor to the next, on each level."""
ANCHORS = ((16, 32), (64, 128), (256, 512))
"""Their sides on each level; two in every place."""
VARIANCES = (0.1, 0.2)
"""Units of the network's places and of its sizes' logarithms."""
LEAST_SCORE = 0.97
LANDMARKS = 5
BOX_NUMBERS, SCORES = 4, 2

TEMPLATE = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
"""Where eyes, nose and the mouth's corners (x, y) are in a straight face of 512×512."""
SIDE = 512
OUTSIDE = (132, 133, 135)
"""The colour of what is outside the picture."""

Landmarks = NDArray[np.float64]
"""Eyes, nose and the mouth's corners: `[5, 2]`, x and y in pixels."""


@dataclass(frozen=True)
class Face:
    """A face with its `score` (0 to 1), `box` (left, top, right, bottom in pixels) and landmarks."""

    score: float
    box: NDArray[np.float64]
    landmarks: Landmarks


class FaceDetector:
    """The detector on its device, in fp32."""

    def __init__(self, network: _Network) -> None:
        self.network = network
        self.device = network.body.conv1.weight.device

    @classmethod
    def load(cls, path: Path, device: torch.device) -> FaceDetector:
        """The detector in `path`; depths and widths are read from the tensors.

        Raises:
            CheckpointError: the file is not there or holds no such detector.
        """
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in read_tensors(path).items()}
        try:
            with unfilled():
                network = _Network(tensors)
            # Training alone counts batches, so not every file says how many.
            counters = {name: torch.zeros(()) for name in network.state_dict() if name.endswith("num_batches_tracked")}
            return cls(fill(network, counters | tensors, device, torch.float32, "the face detector"))
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as a face detector: {error}") from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.network)

    @torch.inference_mode()
    def best(self, image: Pixels) -> Face | None:
        """The face with the highest score, if one is sure enough.

        The others, among them the same face found again, are not looked at.
        """
        bgr = torch.from_numpy(image[:, :, ::-1].astype(np.float32)) - torch.tensor(MEAN_BGR)
        found = self.network(bgr.permute(2, 0, 1)[None].to(self.device))
        scores, boxes, landmarks = (part[0].cpu().double().numpy() for part in found)
        best = int(scores[:, 1].argmax())
        if scores[best, 1] <= LEAST_SCORE:
            return None
        height, width = image.shape[:2]
        anchor = anchors(height, width)[best]
        return Face(float(scores[best, 1]), box_at(anchor, boxes[best]), landmarks_at(anchor, landmarks[best]))

    def straightened(self, image: Pixels) -> Pixels:
        """The best face of the picture `[h, w, 3]`, set straight in 512×512; without one, the picture."""
        face = self.best(image)
        return image if face is None else aligned(image, face.landmarks)


def anchors(height: int, width: int) -> NDArray[np.float64]:
    """The boxes the network starts from, `[n, 4]`: middle x and y, width and height, in pixels.

    Level by level, row by row, both sides at every place.
    """
    rows = (
        ((x + 0.5) * step, (y + 0.5) * step, side, side)
        for step, sides in zip(STEPS, ANCHORS, strict=True)
        for y, x, side in product(range(math.ceil(height / step)), range(math.ceil(width / step)), sides)
    )
    return np.array(list(rows), np.float64)


def box_at(anchor: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """A box (left, top, right, bottom) from its anchor and the network's four numbers."""
    middle = anchor[:2] + numbers[:2] * VARIANCES[0] * anchor[2:]
    half = anchor[2:] * np.exp(numbers[2:] * VARIANCES[1]) / 2
    return np.concatenate([middle - half, middle + half])


def landmarks_at(anchor: NDArray[np.float64], numbers: NDArray[np.float64]) -> Landmarks:
    """The landmarks from a face's anchor and the network's ten numbers."""
    return anchor[:2] + numbers.reshape(LANDMARKS, 2) * VARIANCES[0] * anchor[2:]


def aligned(image: Pixels, landmarks: Landmarks) -> Pixels:
    """The picture turned, scaled and moved so that the landmarks come to a straight face's, 512×512.

    The picture itself where no such movement is found.
    """
    movement, _ = cv2.estimateAffinePartial2D(landmarks, TEMPLATE, method=cv2.LMEDS)
    if movement is None:
        return image
    size = (SIDE, SIDE)
    return cv2.warpAffine(image, movement, size, borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE).astype(np.uint8)


class _Network(nn.Module):
    """Under the names of the file: body, fpn, ssh1 to ssh3, and a head of each kind for every level."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = _ResNet(tensors)
        width = _made(tensors, "fpn.output1.0.weight")
        self.fpn = _Pyramid(self.body.widths[1:], width)
        self.ssh1, self.ssh2, self.ssh3 = (_Context(width) for _ in STEPS)
        heads = (_Heads(width, len(ANCHORS[0]) * numbers) for numbers in (SCORES, BOX_NUMBERS, 2 * LANDMARKS))
        self.ClassHead, self.BboxHead, self.LandmarkHead = heads

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities `[n, anchors, 2]`, numbers of boxes `[n, anchors, 4]` and of landmarks `[n, anchors, 10]`."""
        levels = self.fpn(self.body(picture))
        contexts = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        scores, boxes, landmarks = (
            head(contexts, numbers)
            for head, numbers in ((self.ClassHead, SCORES), (self.BboxHead, BOX_NUMBERS), (self.LandmarkHead, 10))
        )
        return scores.softmax(dim=-1), boxes, landmarks


class _ResNet(nn.Module):
    """A ResNet's features at its three smaller sizes (He et al. 2015, with strides in the middle convolution)."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        width = _made(tensors, "body.conv1.weight")
        self.conv1, self.bn1 = _conv(3, width, 7, 2), nn.BatchNorm2d(width)
        self.widths: list[int] = []
        for level in range(1, 5):
            inner = _made(tensors, f"body.layer{level}.0.conv1.weight")
            made = _made(tensors, f"body.layer{level}.0.conv3.weight")
            count = _count(tensors, rf"body\.layer{level}\.(\d+)\.conv1\.weight")
            stride = 1 if level == 1 else 2
            first = _Bottleneck(width, inner, made, stride, shortcut=True)
            rest = (_Bottleneck(made, inner, made) for _ in range(count - 1))
            self.add_module(f"layer{level}", nn.Sequential(first, *rest))
            self.widths.append(made)
            width = made

    def forward(self, picture: Tensor) -> list[Tensor]:
        features = nn.functional.max_pool2d(relu(self.bn1(self.conv1(picture))), 3, 2, 1)
        levels = []
        for level in range(1, 5):
            features = self.get_submodule(f"layer{level}")(features)
            levels.append(features)
        return levels[1:]


class _Bottleneck(nn.Module):
    def __init__(self, given: int, inner: int, made: int, stride: int = 1, *, shortcut: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(given, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = _conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = _conv(inner, made, 1), nn.BatchNorm2d(made)
        self.downsample = _normed(given, made, 1, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        features = relu(self.bn1(self.conv1(x)))
        features = relu(self.bn2(self.conv2(features)))
        return relu(self.bn3(self.conv3(features)) + self.downsample(x))


class _Pyramid(nn.Module):
    """Features of all sizes at one width, the larger ones knowing what the smaller ones see."""

    def __init__(self, widths: Sequence[int], made: int) -> None:
        super().__init__()
        self.slope = _slope(made)
        self.output1, self.output2, self.output3 = (_normed(width, made, 1) for width in widths)
        self.merge1, self.merge2 = _normed(made, made, 3), _normed(made, made, 3)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        outputs = (self.output1, self.output2, self.output3)
        large, middle, small = (self._active(output(level)) for output, level in zip(outputs, levels, strict=True))
        middle = self._active(self.merge2(middle + interpolate(small, size=middle.shape[-2:], mode="nearest")))
        large = self._active(self.merge1(large + interpolate(middle, size=large.shape[-2:], mode="nearest")))
        return [large, middle, small]

    def _active(self, features: Tensor) -> Tensor:
        return leaky_relu(features, self.slope)


class _Context(nn.Module):
    """Surroundings of three sizes side by side (SSH, Najibi et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.slope = _slope(width)
        self.conv3X3 = _normed(width, half, 3)
        self.conv5X5_1, self.conv5X5_2 = _normed(width, quarter, 3), _normed(quarter, quarter, 3)
        self.conv7X7_2, self.conv7x7_3 = _normed(quarter, quarter, 3), _normed(quarter, quarter, 3)

    def forward(self, features: Tensor) -> Tensor:
        wider = leaky_relu(self.conv5X5_1(features), self.slope)
        widest = self.conv7x7_3(leaky_relu(self.conv7X7_2(wider), self.slope))
        return relu(torch.cat([self.conv3X3(features), self.conv5X5_2(wider), widest], dim=1))


class _Heads(nn.ModuleList):
    """One 1×1 convolution for every level."""

    def __init__(self, width: int, made: int) -> None:
        super().__init__(nn.ModuleDict({"conv1x1": nn.Conv2d(width, made, 1)}) for _ in STEPS)

    def forward(self, levels: Sequence[Tensor], numbers: int) -> Tensor:
        """All levels' anchors one after the other, `[n, anchors, numbers]`."""
        parts = (head["conv1x1"](level).permute(0, 2, 3, 1) for head, level in zip(self, levels, strict=True))  # type: ignore[index]
        return torch.cat([part.reshape(len(part), -1, numbers) for part in parts], dim=1)


def _conv(given: int, made: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, side, stride, side // 2, bias=False)


def _normed(given: int, made: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(given, made, side, stride), nn.BatchNorm2d(made))


def _slope(width: int) -> float:
    """How much of what is negative narrow networks let through; wide ones nothing."""
    return 0.1 if width <= 64 else 0.0


def _made(tensors: Mapping[str, Tensor], name: str) -> int:
    if name not in tensors or tensors[name].dim() != 4:
        raise CheckpointError(f"it is no RetinaFace on a ResNet (it has no {name})")
    return tensors[name].shape[0]


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in tensors if (found := re.fullmatch(pattern, name))})
