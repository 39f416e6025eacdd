"""Masks of what a picture shows: by a network for subjects, or by words."""

from __future__ import annotations

from dataclasses import dataclass

from engine import needs
from engine.images.codecs import Mask, Pixels
from engine.images.masks import PAINTED
from engine.models.segmentation import Segmenter
from engine.store import Store


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
    segmenter = store.kept("inpaint", needs.segmenter(options.model), Segmenter.load)
    return MaskFound(segmenter.mask(picture, options.cloth_category))
