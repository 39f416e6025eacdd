"""Masks for inpainting: uint8 `[h, w]`, above 127 what is repainted."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from engine.images.codecs import Mask
from engine.images.resize import resample

PAINTED = 127
"""Above it a pixel is repainted; greys below widen what an area sees."""
SOFT_STEP, SOFT_TOP = 8, 256
"""By how much a soft edge falls with every pixel, and from where."""


def inpaint_mask(mask: Mask | None, width: int, height: int, *, grow: int = 0, invert: bool = False) -> Mask:
    """The mask for a picture of this size: fitted, grown (or shrunk, below 0) by pixels, then inverted if asked.

    None is a mask that paints nothing.
    """
    fit = np.zeros((height, width), np.uint8) if mask is None else fitted(mask, width, height)
    grown_mask = grown(fit, grow)
    return 255 - grown_mask if invert else grown_mask


def fitted(mask: Mask, width: int, height: int) -> Mask:
    """The mask at another size: its painted area with a smooth outline, its greys as they were."""
    if mask.shape == (height, width):
        return mask
    greys = np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    painted = binary(resample(mask, width, height))
    return np.where(painted > 0, painted, np.minimum(greys, PAINTED)).astype(np.uint8)


def grown(mask: Mask, pixels: float) -> Mask:
    """The mask grown by whole pixels in all eight directions, shrunk where `pixels` is below 0."""
    rounds = int(pixels)
    if rounds == 0:
        return mask
    change = cv2.dilate if rounds > 0 else cv2.erode
    return change(mask, np.ones((3, 3), np.uint8), iterations=abs(rounds)).astype(np.uint8)


def binary(mask: Mask) -> Mask:
    """255 where the mask paints, 0 elsewhere."""
    return np.where(mask > PAINTED, 255, 0).astype(np.uint8)


def soft(mask: Mask) -> Mask:
    """How much a drawn pixel counts: 255 where the mask paints, `256 − 8d` at `d` pixels outside, 0 from 32 on.

    Distances are the larger of both axes'.
    """
    distance = cv2.distanceTransform(255 - binary(mask), cv2.DIST_C, 3).clip(0, SOFT_TOP / SOFT_STEP)
    return (SOFT_TOP - SOFT_STEP * distance).clip(0, 255).astype(np.uint8)
