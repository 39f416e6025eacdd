"""Masks and descriptions of pictures that are no task, by the program's own functions for them."""

from __future__ import annotations

import importlib
from typing import Any

from engine import required_files
from engine.checkout.pictures import decoded, encoded
from engine.messages import Look, Seen

BY_WORDS, BY_CLOTH = "sam", "u2net_cloth_seg"
OPTIONS = {
    "dino_prompt": "dino_prompt",
    "sam_model": "model_type",
    "box_threshold": "dino_box_threshold",
    "max_detections": "max_detections",
    "dino_erode_or_dilate": "dino_erode_or_dilate",
    "dino_debug": "dino_debug",
}
"""A mask's options in our words and in those of the program's `SAMOptions`."""


def runs_beside(look: Look) -> bool:
    """Whether a look may be taken while the program draws: its network is one of ONNX, on the processor.

    The others are given room on the card by the program's memory management, which takes it from what is drawn with.
    """
    return look.options["model"] != BY_WORDS if look.purpose == "mask" else look.options.get("kind") != "Photo"


def seen(look: Look) -> Seen:
    """The mask or description that `look` asks for.

    Raises:
        UnusablePicture: the picture cannot be read.
        ValueError: the purpose is unknown.
    """
    picture = decoded(look.picture)
    if look.purpose == "mask":
        return Seen(look.look_id, picture=encoded(mask(picture, look.options)))
    if look.purpose == "describe":
        text, model = described(picture, look.options["kind"])
        return Seen(look.look_id, text=text, model=model)
    raise ValueError(f"nobody looks at pictures for {look.purpose!r}")


def mask(picture: Any, options: dict[str, Any]) -> Any:
    """What the options look for in a picture, uint8 `[height, width]`."""
    masks = importlib.import_module("extras.inpaint_mask")
    model = options["model"]
    extras = {"cloth_category": options["cloth_category"]} if model == BY_CLOTH else {}
    words = masks.SAMOptions(**{theirs: options[ours] for ours, theirs in OPTIONS.items()})
    found = masks.generate_mask_from_image(picture, model, extras, words if model == BY_WORDS else None)[0]
    return found[:, :, 0] if found.ndim == 3 else found


def described(picture: Any, kind: str) -> tuple[str, str]:
    """A picture in words, and the file of the model whose words they are."""
    if kind == "Photo":
        return importlib.import_module("extras.interrogate").default_interrogator(picture), required_files.CAPTIONER
    return importlib.import_module("extras.wd14tagger").default_interrogator(picture), required_files.TAGGER
