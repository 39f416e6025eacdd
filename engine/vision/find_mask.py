"""Masks of what a picture shows: found by a segmentation network, or by words."""

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
from engine.model_store import ModelStore

BY_WORDS = "sam"


@dataclass(frozen=True)
class MaskOptions:
    """What to find and with which model; the members after `cloth_category` are for `sam` alone.

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


def find_mask(store: ModelStore, picture: Pixels, options: MaskOptions) -> MaskFound:
    """The mask of what the options look for in a picture `[h, w, 3]`.

    Raises:
        CheckpointError: a model file is missing or cannot be used.
    """
    if options.model == BY_WORDS:
        return _by_words(store, picture, options)
    segmenter = store.load_named("inpaint", required_files.segmenter(options.model), Segmenter.load)
    return MaskFound(segmenter.mask(picture, options.cloth_category))


def _by_words(store: ModelStore, picture: Pixels, options: MaskOptions) -> MaskFound:
    """One mask of everything the words name; of more than `max_detections` boxes the detector's first count."""
    detector = store.load_named("inpaint", required_files.GROUNDING_DINO, GroundingDino.load)
    boxes = grow_boxes(
        detector.boxes(picture, options.dino_prompt, options.box_threshold), options.dino_erode_or_dilate
    )
    height, width = picture.shape[:2]
    if options.dino_debug:
        return MaskFound(draw_boxes(boxes, width, height), len(boxes))
    mask = np.zeros((height, width), np.uint8)
    wanted = boxes[: options.max_detections or len(boxes)]
    if len(wanted):
        sam = store.load_named("sam", required_files.SAM[options.sam_model], Sam.load)
        for segment in sam.masks(picture, wanted):
            mask = np.maximum(mask, segment)
    return MaskFound(mask, len(boxes), len(boxes), len(wanted))


def grow_boxes(boxes: Tensor, pixels: float) -> Tensor:
    """Boxes `[n, 4]` with every side moved outwards, or inwards where `pixels` is below 0."""
    return boxes + boxes.new_tensor([-pixels, -pixels, pixels, pixels])


def draw_boxes(boxes: Tensor, width: int, height: int) -> Mask:
    """A mask with the boxes in white; one that was shrunk to nothing is left out."""
    image = Image.new("L", (width, height))
    for left, top, right, bottom in boxes.tolist():
        if left <= right and top <= bottom:
            ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=255)
    return np.array(image)
