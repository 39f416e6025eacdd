"""Which member of a request stands behind each argument of Fooocus's tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from engine.params import GenerateParams

RENAMED = {"seed": "image_seed", "cfg_scale": "guidance_scale"}
"""Arguments that a request calls otherwise."""
CONTROL_IMAGE = ("cn_img", "cn_stop", "cn_weight", "cn_type")
"""Arguments of one control image."""
ENHANCE_STEP = {
    name: name
    for name in (
        *("enhance_enabled", "enhance_prompt", "enhance_negative_prompt", "enhance_mask_model"),
        *("enhance_mask_cloth_category", "enhance_mask_sam_model", "enhance_mask_text_threshold"),
        *("enhance_mask_box_threshold", "enhance_mask_sam_max_detections", "enhance_mask_invert"),
        *("enhance_inpaint_disable_initial_latent", "enhance_inpaint_engine", "enhance_inpaint_strength"),
        *("enhance_inpaint_respective_field", "enhance_inpaint_erode_or_dilate"),
    )
} | {"enhance_mask_dino_prompt_text": "enhance_mask_dino_prompt"}
"""Arguments of one enhancement, and what a request's calls them."""
OF_THE_SERVICE = frozenset(
    ("async_process", "preset", "require_base64", "save_name", "stream_output", "webhook_url", "input_image_checkbox")
)
"""Members that the service itself acts on."""
MEMBERS = frozenset(field.name for field in fields(GenerateParams))


def member_of(argument: str) -> str | None:
    """The request's member that an argument's value comes from; None for one that no request has."""
    if argument in CONTROL_IMAGE:
        return "controlnet_image"
    if argument in ENHANCE_STEP:
        return "enhance_ctrls"
    name = RENAMED.get(argument, argument)
    return name if name in MEMBERS else None


def foreign(arguments: Iterable[str]) -> list[str]:
    """The arguments for which no request has a member."""
    return sorted(name for name in arguments if member_of(name) is None)


def lacking(arguments: Iterable[str]) -> frozenset[str]:
    """The members of a request that a version with these arguments has nothing for."""
    return MEMBERS - OF_THE_SERVICE - {member_of(name) for name in arguments}
