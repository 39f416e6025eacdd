"""Inspections of pictures beside the tasks: a mask of something in one, or a description."""

from __future__ import annotations

import torch

from engine.images import codecs, reading
from engine.images.resize import rgb
from engine.messages import Look, Seen
from engine.model_store import ModelStore
from engine.vision.describe import describe
from engine.vision.find_mask import MaskOptions, find_mask


def inspect(store: ModelStore, look: Look) -> Seen:
    """The mask or description that `look` asks for; afterwards its models count as unused.

    Raises:
        CheckpointError: a model file is missing or cannot be used.
        UnreadablePicture: the file is no picture, or a damaged one.
        ValueError: the purpose is unknown.
    """
    picture = rgb(reading.read(look.picture))
    # Models are loaded as for any task, though a step of one may be under way around this.
    with store.cache.aside(), torch.inference_mode(False), torch.no_grad():
        if look.purpose == "mask":
            found = find_mask(store, picture, MaskOptions(**look.options))
            return Seen(look.look_id, picture=codecs.encode_mask(found.mask))
        if look.purpose == "describe":
            description = describe(store, picture, **look.options)
            return Seen(look.look_id, text=description.text, model=description.model)
    raise ValueError(f"nobody looks at pictures for {look.purpose!r}")
