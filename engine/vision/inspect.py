"""Inspections of pictures beside the tasks: a mask of something in one, or a description."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from engine.images import codecs, reading
from engine.images.resize import rgb
from engine.messages import Look, Seen
from engine.model_store import ModelStore
from engine.vision.describe import describe
from engine.vision.find_mask import MaskOptions, find_mask

MOST_PIXELS = 4_000_000
"""Of what the networks are shown, which make it smaller still: a copy of the largest picture takes 200 MB."""


def inspect(store: ModelStore, look: Look) -> Seen:
    """The mask or description that `look` asks for; afterwards its models count as unused.

    Raises:
        CheckpointError: a model file is missing or cannot be used.
        UnreadablePicture: the file is no picture, or a damaged one.
        ValueError: the purpose is unknown.
    """
    picture, (width, height) = rgb(reading.read_reduced(look.picture, MOST_PIXELS)), reading.size(look.picture)
    # Models are loaded as for any task, though a step of one may be under way around this.
    with store.cache.aside(), torch.inference_mode(False), torch.no_grad():
        if look.purpose == "mask":
            options = MaskOptions(**look.options)
            scaled = options.dino_erode_or_dilate * picture.shape[1] / width
            found = find_mask(store, picture, replace(options, dino_erode_or_dilate=scaled))
            return Seen(look.look_id, picture=codecs.encode_mask(enlarged_mask(found.mask, width, height)))
        if look.purpose == "describe":
            description = describe(store, picture, **look.options)
            return Seen(look.look_id, text=description.text, model=description.model)
    raise ValueError(f"nobody looks at pictures for {look.purpose!r}")


def enlarged_mask(mask: codecs.Mask, width: int, height: int) -> codecs.Mask:
    """The mask at the size of the picture as it was sent; one of black and white alone stays so."""
    if mask.shape == (height, width):
        return mask
    grey = bool(((mask > 0) & (mask < 255)).any())
    method = Image.Resampling.BILINEAR if grey else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(mask).resize((width, height), method))
