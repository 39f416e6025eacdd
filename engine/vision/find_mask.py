"""Masks of what a picture shows: by a network for subjects, or by words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from engine import required_files
from engine.detectors.grounding_dino import GroundingDino
from engine.detectors.sam import Sam
from engine.detectors.segmentation import Segmenter
from engine.images.codecs import Mask, Pixels
from engine.images.masks import PAINTED
from engine.model_store import Store

BY_WORDS = "sam"


@dataclass(frozen=True)
class MaskOptions:
    """What to find and with which model; the members behind `cloth_category` count for `sam` alone.

    `dino_prompt` is what to look for. `max_detections` is the most boxes taken, 0 for all. `dino_erode_or_dilate`
    grows boxes by pixels. With `dino_debug` the boxes are the mask.
    """

    model: str = "isnet-general-use"
    cloth_category: str = "full"
    dino_prompt: str = ""
    sam_model: str = "vit_b"
    box_threshold: float = 0.3
    max_detections: int = 0
    dino_erode_or_dilate: float = 0
    dino_debug: bool = False


@dataclass(frozen=True)
class MaskFound:
    """A mask, uint8 `[h, w]`; of what was found by words, the numbers of boxes, segments, and segments in the mask."""

    mask: Mask
    boxes: int = 0
    segments: int = 0
    applied: int = 0

    @property
    def empty(self) -> bool:
        """Whether it paints nothing."""
        return not bool((self.mask > PAINTED).any())


def mask_of(store: Store, picture: Pixels, options: MaskOptions) -> MaskFound:
    """What is found in a picture `[h, w, 3]`.

    Raises:
        CheckpointError: a model file is not there or cannot be used.
    """
    if options.model == BY_WORDS:
        return _by_words(store, picture, options)
    segmenter = store.kept("inpaint", required_files.segmenter(options.model), Segmenter.load)
    return MaskFound(segmenter.mask(picture, options.cloth_category))


def _by_words(store: Store, picture: Pixels, options: MaskOptions) -> MaskFound:
    """All that the words name, in one mask; of more than `max_detections` boxes the detector's first count."""
    detector = store.kept("inpaint", required_files.GROUNDING_DINO, GroundingDino.load)
    boxes = grown(detector.boxes(picture, options.dino_prompt, options.box_threshold), options.dino_erode_or_dilate)
    height, width = picture.shape[:2]
    if options.dino_debug:
        return MaskFound(filled(boxes, width, height), len(boxes))
    mask = np.zeros((height, width), np.uint8)
    wanted = boxes[: options.max_detections or len(boxes)]
    if len(wanted):
        sam = store.kept("sam", required_files.SAM[options.sam_model], Sam.load)
        for segment in sam.masks(picture, wanted):
            mask = np.maximum(mask, segment)
    return MaskFound(mask, len(boxes), len(boxes), len(wanted))


def grown(boxes: Tensor, pixels: float) -> Tensor:
    """Boxes `[n, 4]` with every side moved outwards, or inwards where `pixels` is below 0."""
    return boxes + boxes.new_tensor([-pixels, -pixels, pixels, pixels])


def filled(boxes: Tensor, width: int, height: int) -> Mask:
    """White boxes on black; one that was shrunk to nothing is not to be seen."""
    image = Image.new("L", (width, height))
    for left, top, right, bottom in boxes.tolist():
        if left <= right and top <= bottom:
            ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=255)
    return np.array(image)
