"""A look at a picture that is no task: a mask of something in it, or what it shows in words."""

from __future__ import annotations

import torch

from engine.images import codecs, reading
from engine.images.resize import rgb
from engine.messages import Look, Seen
from engine.model_store import Store
from engine.vision.describe import describe
from engine.vision.find_mask import MaskOptions, mask_of


def look_at(store: Store, look: Look) -> Seen:
    """What there is to see; the models it takes are not in use any more afterwards.

    Raises:
        CheckpointError: a model file is not there or cannot be used.
        UnreadablePicture: there is no picture.
        ValueError: the look has no known purpose.
    """
    picture = rgb(reading.read(look.picture))
    # Models are loaded as for any task, though a step of one may be under way around this.
    with store.residency.aside(), torch.inference_mode(False), torch.no_grad():
        if look.purpose == "mask":
            found = mask_of(store, picture, MaskOptions(**look.options))
            return Seen(look.look_id, picture=codecs.encode_mask(found.mask))
        if look.purpose == "describe":
            told = describe(store, picture, **look.options)
            return Seen(look.look_id, text=told.text, model=told.model)
    raise ValueError(f"nobody looks at pictures for {look.purpose!r}")
