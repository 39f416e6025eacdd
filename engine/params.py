"""What goes into the engine: one request's parameters as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from engine.choices import OUTPUT_QUALITY

MAX_SEED = 2**63 - 1

NamedLora = tuple[str, float]
"""A LoRA's file name and its weight."""


@dataclass(frozen=True)
class Lora:
    """One LoRA of a request."""

    enabled: bool
    model_name: str
    weight: float


@dataclass(frozen=True)
class ImagePrompt:
    """One control image of a request."""

    cn_img: str | None
    cn_stop: float | None
    cn_weight: float | None
    cn_type: str


@dataclass(frozen=True)
class EnhanceStep:
    """One step of the enhance chain."""

    enhance_enabled: bool
    enhance_mask_dino_prompt: str
    enhance_prompt: str
    enhance_negative_prompt: str
    enhance_mask_model: str
    enhance_mask_cloth_category: str
    enhance_mask_sam_model: str
    enhance_mask_text_threshold: float
    enhance_mask_box_threshold: float
    enhance_mask_sam_max_detections: int
    enhance_inpaint_disable_initial_latent: bool
    enhance_inpaint_engine: str
    enhance_inpaint_strength: float
    enhance_inpaint_respective_field: float
    enhance_inpaint_erode_or_dilate: float
    enhance_mask_invert: bool


PARTS: dict[str, type[Lora | ImagePrompt | EnhanceStep]] = {
    "loras": Lora,
    "controlnet_image": ImagePrompt,
    "enhance_ctrls": EnhanceStep,
}
"""The members that are lists of objects, and what each object is."""


@dataclass(frozen=True)
class GenerateParams:
    """Everything one generation depends on, validated and complete.

    Field names are those of the request; their ranges, defaults and meanings stand in
    `schemas/generate.py`. Pictures are named by URL or path, never by content.
    """

    # prompt
    prompt: str
    negative_prompt: str
    style_selections: tuple[str, ...]
    performance_selection: str
    aspect_ratios_selection: str
    image_number: int
    output_format: str
    image_seed: int
    read_wildcards_in_order: bool
    sharpness: float
    guidance_scale: float

    # model
    base_model_name: str
    refiner_model_name: str
    refiner_switch: float
    loras: tuple[Lora, ...]
    vae_name: str

    # image
    input_image_checkbox: bool
    current_tab: str
    uov_method: str
    uov_input_image: str | None
    outpaint_selections: tuple[str, ...]
    outpaint_distance: tuple[int, int, int, int]
    inpaint_input_image: str | None
    inpaint_additional_prompt: str
    inpaint_mask_image_upload: str | None
    inpaint_advanced_masking_checkbox: bool
    invert_mask_checkbox: bool
    inpaint_erode_or_dilate: int
    controlnet_image: tuple[ImagePrompt, ...]
    mixing_image_prompt_and_vary_upscale: bool
    mixing_image_prompt_and_inpaint: bool
    upscale_multiple: float

    # output
    disable_preview: bool
    disable_intermediate_results: bool
    disable_seed_increment: bool
    black_out_nsfw: bool
    save_final_enhanced_image_only: bool
    save_metadata_to_images: bool
    metadata_scheme: str
    generate_image_grid: bool
    save_name: str | None
    require_base64: bool

    # advanced
    adm_scaler_positive: float
    adm_scaler_negative: float
    adm_scaler_end: float
    adaptive_cfg: float
    clip_skip: int
    sampler_name: str
    scheduler_name: str
    overwrite_step: int
    overwrite_switch: int
    overwrite_width: int
    overwrite_height: int
    overwrite_vary_strength: float
    overwrite_upscale_strength: float
    debugging_cn_preprocessor: bool
    skipping_cn_preprocessor: bool
    canny_low_threshold: int
    canny_high_threshold: int
    refiner_swap_method: str
    controlnet_softness: float
    freeu_enabled: bool
    freeu_b1: float
    freeu_b2: float
    freeu_s1: float
    freeu_s2: float
    debugging_inpaint_preprocessor: bool
    inpaint_disable_initial_latent: bool
    inpaint_engine: str
    inpaint_strength: float
    inpaint_respective_field: float

    # enhance
    debugging_dino: bool
    dino_erode_or_dilate: int
    debugging_enhance_masks_checkbox: bool
    enhance_input_image: str | None
    enhance_checkbox: bool
    enhance_uov_method: str
    enhance_uov_processing_order: str
    enhance_uov_prompt_type: str
    enhance_ctrls: tuple[EnhanceStep, ...]

    # api
    preset: str
    stream_output: bool
    async_process: bool
    webhook_url: str | None

    # younger than the first tasks in the queues of installations; a row that lacks them means these
    output_quality: int = OUTPUT_QUALITY

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels: the aspect ratio, unless overwritten (values above 0)."""
        width, height = (int(side) for side in self.aspect_ratios_selection.split("×"))
        if self.overwrite_width > 0:
            width = self.overwrite_width
        if self.overwrite_height > 0:
            height = self.overwrite_height
        return width, height

    def seed_of(self, index: int) -> int:
        """The seed of one of the task's pictures; the first has number 0."""
        return (self.image_seed + (0 if self.disable_seed_increment else index)) % (MAX_SEED + 1)

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON-ready values, under the names a request uses."""
        values = dict(vars(self))  # none can be changed, so none is copied, as `asdict` does in ten times the time
        return values | {name: tuple(dict(vars(part)) for part in values[name]) for name in PARTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerateParams:
        """The inverse of `to_dict`; also takes the lists JSON makes of tuples.

        Raises:
            KeyError: a field without a default is missing.
        """
        taken: dict[str, Any] = {}
        for field in fields(cls):
            if field.default is not MISSING and field.name not in values:
                continue
            value = values[field.name]
            if field.name in PARTS:
                value = tuple(PARTS[field.name](**part) for part in value)
            elif isinstance(value, list):
                value = tuple(value)
            taken[field.name] = value
        return cls(**taken)
