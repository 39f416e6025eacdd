"""How forms show the members of requests: in which group, under which label, in which order, and which for experts.

The groups are those of Fooocus's own page. `/openapi.json` tells them as `x-group`, `x-label`, `x-order` and
`x-advanced`, so that a page can be made of it that shows a new member by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema, fields

from schemas.generate import EnhanceStepSchema, ImagePromptSchema, LoraSchema
from schemas.submission import SubmissionSchema
from schemas.tools import DescribeSchema, MaskSchema, ReadMetadataSchema

SETTINGS, STYLES, MODELS, ADVANCED, DEVELOPER = "Settings", "Styles", "Models", "Advanced", "Developer"
INPAINT, CONTROL, FREEU = "Inpaint", "Control", "FreeU"
UPSCALE_OR_VARIATION, IMAGE_PROMPT = "Upscale or Variation", "Image Prompt"
INPAINT_OR_OUTPAINT, DESCRIBE, ENHANCE, METADATA = "Inpaint or Outpaint", "Describe", "Enhance", "Metadata"
ANSWER_AND_QUEUE = "Answer and Queue"
GROUPS = (
    *(SETTINGS, STYLES, MODELS, ADVANCED, DEVELOPER, INPAINT, CONTROL, FREEU, UPSCALE_OR_VARIATION, IMAGE_PROMPT),
    *(INPAINT_OR_OUTPAINT, DESCRIBE, ENHANCE, METADATA, ANSWER_AND_QUEUE),
)
"""All groups, in the order in which a page shows them."""


@dataclass(frozen=True)
class FormGroup:
    """Members that stand together, with their labels: those for everybody, then those for experts."""

    name: str
    plain: Mapping[str, str] = field(default_factory=dict)
    advanced: Mapping[str, str] = field(default_factory=dict)

    def places(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each member's name, and what the document tells of it."""
        labels = [(name, label, False) for name, label in self.plain.items()]
        labels += [(name, label, True) for name, label in self.advanced.items()]
        for order, (name, label, advanced) in enumerate(labels):
            yield name, {"x-group": self.name, "x-label": label, "x-order": order, "x-advanced": advanced}


LAYOUTS: Mapping[type[Schema], tuple[FormGroup, ...]] = {
    SubmissionSchema: (
        FormGroup(
            SETTINGS,
            {
                "prompt": "Prompt",
                "preset": "Preset",
                "performance_selection": "Performance",
                "aspect_ratios_selection": "Size",
                "image_number": "Number of pictures",
                "output_format": "File type",
                "negative_prompt": "Negative prompt",
                "image_seed": "Seed",
            },
            {"output_quality": "Quality of JPEG and WebP", "save_name": "File name"},
        ),
        FormGroup(STYLES, {"style_selections": "Styles"}),
        FormGroup(
            MODELS,
            {
                "base_model_name": "Base model",
                "refiner_model_name": "Refiner",
                "refiner_switch": "Refiner starts at",
                "loras": "LoRAs",
            },
        ),
        FormGroup(ADVANCED, {"guidance_scale": "Guidance", "sharpness": "Sharpness"}),
        FormGroup(
            DEVELOPER,
            {},
            {
                "sampler_name": "Sampler",
                "scheduler_name": "Scheduler",
                "vae_name": "VAE",
                "clip_skip": "CLIP skip",
                "adaptive_cfg": "Imitated guidance",
                "refiner_swap_method": "How the refiner takes over",
                "adm_scaler_positive": "Size hint of the prompt",
                "adm_scaler_negative": "Size hint of the negative prompt",
                "adm_scaler_end": "Size hints end at",
                "overwrite_step": "Steps",
                "overwrite_switch": "Refiner's first step",
                "overwrite_width": "Width",
                "overwrite_height": "Height",
                "overwrite_vary_strength": "Strength of Vary",
                "overwrite_upscale_strength": "Strength of Upscale",
                "disable_seed_increment": "Same seed for every picture",
                "read_wildcards_in_order": "Wildcards in order",
                "generate_image_grid": "Grid of all pictures",
                "black_out_nsfw": "Black out unsafe pictures",
                "disable_preview": "No previews",
                "disable_intermediate_results": "No intermediate results",
                "save_final_enhanced_image_only": "Keep only the last enhanced picture",
            },
        ),
        FormGroup(
            INPAINT,
            {},
            {
                "inpaint_engine": "Inpaint engine",
                "inpaint_strength": "Inpaint strength",
                "inpaint_respective_field": "Surroundings seen",
                "inpaint_disable_initial_latent": "Start from noise alone",
                "inpaint_erode_or_dilate": "Grow or shrink the mask",
                "dino_erode_or_dilate": "Grow or shrink found boxes",
                "debugging_inpaint_preprocessor": "Return the inpainted area",
                "debugging_enhance_masks_checkbox": "Return enhance masks",
                "debugging_dino": "Return found boxes",
            },
        ),
        FormGroup(
            CONTROL,
            {},
            {
                "mixing_image_prompt_and_vary_upscale": "Mix image prompts into upscale or variation",
                "mixing_image_prompt_and_inpaint": "Mix image prompts into inpainting",
                "controlnet_softness": "Softness",
                "canny_low_threshold": "Lower outline threshold",
                "canny_high_threshold": "Upper outline threshold",
                "skipping_cn_preprocessor": "Control pictures are ready",
                "debugging_cn_preprocessor": "Return control pictures",
            },
        ),
        FormGroup(
            FREEU,
            {},
            {
                "freeu_enabled": "FreeU",
                "freeu_b1": "B1",
                "freeu_b2": "B2",
                "freeu_s1": "S1",
                "freeu_s2": "S2",
            },
        ),
        FormGroup(
            UPSCALE_OR_VARIATION,
            {
                "uov_input_image": "Picture",
                "uov_method": "Upscale or variation",
                "upscale_multiple": "Factor",
            },
            {"input_image_checkbox": "Use input pictures", "current_tab": "Tab in use"},
        ),
        FormGroup(IMAGE_PROMPT, {"controlnet_image": "Image prompts"}),
        FormGroup(
            INPAINT_OR_OUTPAINT,
            {
                "inpaint_input_image": "Picture",
                "inpaint_mask_image_upload": "Mask",
                "inpaint_additional_prompt": "Prompt for the area",
                "outpaint_selections": "Outpaint to",
                "outpaint_distance": "Outpaint by",
                "invert_mask_checkbox": "Invert the mask",
            },
            {
                "inpaint_advanced_masking_checkbox": "Use a mask",
                "inpaint_mask_upload_checkbox": "Use an uploaded mask",
            },
        ),
        FormGroup(
            ENHANCE,
            {
                "enhance_checkbox": "Enhance",
                "enhance_input_image": "Picture",
                "enhance_uov_method": "Upscale or variation",
                "enhance_uov_processing_order": "When it runs",
                "enhance_uov_prompt_type": "Its prompts",
                "enhance_ctrls": "Steps",
            },
        ),
        FormGroup(
            METADATA, {}, {"save_metadata_to_images": "Write metadata into files", "metadata_scheme": "Metadata scheme"}
        ),
        FormGroup(
            ANSWER_AND_QUEUE,
            {},
            {
                "priority": "Priority",
                "stream_output": "Stream of events",
                "async_process": "Answer at once",
                "cancel_on_disconnect": "Stop when disconnected",
                "webhook_url": "Webhook",
                "webhook_events": "Events sent",
                "require_base64": "Pictures as base64",
            },
        ),
    ),
    LoraSchema: (FormGroup(MODELS, {"enabled": "Enabled", "model_name": "LoRA", "weight": "Weight"}),),
    ImagePromptSchema: (
        FormGroup(IMAGE_PROMPT, {"cn_img": "Picture", "cn_type": "Type", "cn_stop": "Stop at", "cn_weight": "Weight"}),
    ),
    EnhanceStepSchema: (
        FormGroup(
            ENHANCE,
            {
                "enhance_enabled": "Enabled",
                "enhance_mask_dino_prompt": "Look for",
                "enhance_prompt": "Prompt",
                "enhance_negative_prompt": "Negative prompt",
                "enhance_mask_model": "Mask model",
                "enhance_mask_cloth_category": "Clothes",
                "enhance_mask_invert": "Invert the mask",
            },
            {
                "enhance_mask_sam_model": "SAM model",
                "enhance_mask_box_threshold": "Box threshold",
                "enhance_mask_text_threshold": "Text threshold",
                "enhance_mask_sam_max_detections": "Most things found",
                "enhance_inpaint_engine": "Inpaint engine",
                "enhance_inpaint_strength": "Inpaint strength",
                "enhance_inpaint_respective_field": "Surroundings seen",
                "enhance_inpaint_erode_or_dilate": "Grow or shrink the mask",
                "enhance_inpaint_disable_initial_latent": "Start from noise alone",
            },
        ),
    ),
    MaskSchema: (
        FormGroup(
            INPAINT_OR_OUTPAINT,
            {
                "image": "Picture",
                "mask_model": "Mask model",
                "cloth_category": "Clothes",
                "dino_prompt_text": "Look for",
            },
            {
                "sam_model": "SAM model",
                "box_threshold": "Box threshold",
                "text_threshold": "Text threshold",
                "sam_max_detections": "Most things found",
                "dino_erode_or_dilate": "Grow or shrink found boxes",
                "dino_debug": "Return found boxes",
            },
        ),
    ),
    DescribeSchema: (FormGroup(DESCRIBE, {"image": "Picture", "image_type": "Kind of picture"}),),
    ReadMetadataSchema: (FormGroup(METADATA, {"image": "Picture"}),),
}
"""The groups of each shape that a form fills in."""

PLACES = {
    (shape, name): place for shape, groups in LAYOUTS.items() for group in groups for name, place in group.places()
}


def form_place(member: fields.Field[Any]) -> dict[str, Any]:
    """What the document tells of a member's place in forms; nothing of one that no form shows."""
    return PLACES.get((type(member.parent), member.name), {})  # type: ignore[arg-type]
