"""Requests of Fooocus-API 0.5, the predecessor: its members, and what of them is taken more leniently than ours.

Members that mean the same as ours are ours. `load` gives what was sent; `blueprints.legacy.translation` makes a request
of our own shape of it, with the defaults that differ. Names that this server does not know are no faults here.
"""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from engine import choices
from schemas.fields import Choice, Flag, Image, Items, Number, Object, QuerySchema, Text, Whole
from schemas.generate import (
    LONGEST_DISTANCE,
    LONGEST_SEARCH,
    MOST_CONTROL_IMAGES,
    MOST_ENHANCE_STEPS,
    MOST_LORAS,
    MOST_SIDES,
    EnhanceStepSchema,
    GenerateSchema,
    LoraSchema,
)
from schemas.prompts import MOST_STYLES, PromptText
from schemas.spelling import SpellChecked
from schemas.tasks import LARGEST_PAGE

NATIVE = GenerateSchema._declared_fields
"""Our own members, by name."""
LONGEST_LIST = 16
"""Pictures or steps that a list may name; those beyond what is drawn with are left out."""
NO_EFFECT = "No effect: a mask is used where one is sent."

COMMON = (
    *("prompt", "negative_prompt", "performance_selection", "aspect_ratios_selection", "image_number", "image_seed"),
    *("sharpness", "guidance_scale", "base_model_name", "refiner_model_name", "refiner_switch"),
    *("read_wildcards_in_order", "save_name", "async_process", "webhook_url"),
)
"""Members of every generation request that are the same here and there."""
ADVANCED = (
    *("disable_preview", "disable_intermediate_results", "disable_seed_increment", "black_out_nsfw"),
    *("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end", "adaptive_cfg", "clip_skip"),
    *("overwrite_step", "overwrite_width", "overwrite_height"),
    *("overwrite_vary_strength", "overwrite_upscale_strength"),
    *("mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"),
    *("debugging_cn_preprocessor", "skipping_cn_preprocessor", "canny_low_threshold", "canny_high_threshold"),
    *("controlnet_softness", "freeu_enabled", "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"),
    *("debugging_inpaint_preprocessor", "inpaint_disable_initial_latent", "inpaint_strength"),
    *("invert_mask_checkbox", "inpaint_erode_or_dilate"),
    *("debugging_dino", "debugging_enhance_masks_checkbox", "dino_erode_or_dilate"),
)
"""Members of `advanced_params` that are the same here and there."""


def same(names: tuple[str, ...]) -> dict[str, fields.Field[Any]]:
    """Our own members of these names."""
    return {name: NATIVE[name] for name in names}


def any_name(description: str, default: str) -> Text:
    """The name of a choice; one that is unknown counts as the default."""
    return Text(f"{description} An unknown name counts as the default.", default=default, allow_none=True)


class LegacyLoraSchema(LoraSchema):
    """One LoRA, which is used unless it says otherwise."""

    enabled = Flag("Whether this LoRA is used.", default=True)


class AdvancedParamsSchema(Schema):
    """How the sampler works, and what the pictures that are sent are for."""

    class Meta:
        unknown = EXCLUDE
        include = same(ADVANCED)

    sampler_name = any_name("Sampler.", "dpmpp_2m_sde_gpu")
    scheduler_name = any_name("Noise schedule.", "karras")
    vae_name = any_name("VAE file.", choices.VAE_OF_CHECKPOINT)
    refiner_swap_method = any_name("How the refiner takes over.", "joint")
    inpaint_engine = any_name("Version of the inpaint patch.", "v2.6")
    overwrite_switch = Number(
        "Part of the steps after which the refiner takes over; 0 or less: refiner_switch.", -1, 1, default=-1
    )
    inpaint_respective_field = Number("How much of the surroundings the area sees.", 0, 1, default=1.0)
    inpaint_advanced_masking_checkbox = Flag(NO_EFFECT, default=True)
    inpaint_mask_upload_checkbox = Flag(NO_EFFECT, default=False)


class LegacySchema(SpellChecked):
    """The members of every generation request."""

    class Meta:
        unknown = EXCLUDE
        include = same(COMMON)

    style_selections = Items(
        "Prompt styles, in a form with commas between them; those that are unknown are left out.",
        Text("The name of a style."),
        longest=MOST_STYLES,
        default=["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
    )
    loras = Items("LoRA files; an unknown one is left out.", Object(LegacyLoraSchema), longest=MOST_LORAS)
    advanced_params = Object(
        AdvancedParamsSchema,
        allow_none=True,
        metadata={"description": "How the sampler works; in a form as JSON, and what is none counts as the defaults."},
    )
    save_meta = Flag("Write the parameters into the files; in a form false unless it is sent.", default=True)
    meta_scheme = Choice(
        "How they are written.", choices.METADATA_SCHEMES, aliases={"a111": "a1111"}, default="fooocus"
    )
    save_extension = Choice("File type of the pictures.", choices.OUTPUT_FORMATS, fold=True, default="png")
    require_base64 = Flag("Answer the pictures in base64 beside their URLs.", default=False)


class LegacyImagePromptSchema(Schema):
    """A picture that guides the drawing."""

    class Meta:
        unknown = EXCLUDE

    cn_img = Image("The picture.")
    cn_stop = Number("Part of the steps during which it counts; 0: the kind's own.", 0, 1, default=0, allow_none=True)
    cn_weight = Number("Strength; 0: the kind's own.", 0, 2, default=0, allow_none=True)
    cn_type = Choice("What the picture tells.", choices.CONTROL_TYPES, default="ImagePrompt")


ANY_ENGINE = {"enhance_inpaint_engine": any_name("Version of the inpaint patch.", "v2.6")}


class LegacyEnhanceStepSchema(EnhanceStepSchema):
    """One step of the enhance chain."""

    class Meta:
        unknown = EXCLUDE
        include = ANY_ENGINE

    enhance_mask_dino_prompt = Text(
        "What to look for, such as face, eye or hand; for the model sam.", longest=LONGEST_SEARCH, default="face"
    )


def prompts(**rules: Any) -> Items:
    """The list of pictures that guide the drawing."""
    text = f"Pictures that guide the drawing; the first {MOST_CONTROL_IMAGES} that are there count."
    return Items(text, Object(LegacyImagePromptSchema), longest=LONGEST_LIST, **rules)


def distance(side: str) -> Whole:
    """How far the picture grows on a side."""
    text = f"By how many pixels it grows {side}; 0 or less: 30 % of the picture's width or height."
    return Whole(text, -LONGEST_DISTANCE, LONGEST_DISTANCE, default=0, allow_none=True)


class LegacyUpscaleMembers(Schema):
    """A picture to upscale or vary."""

    input_image = Image("The picture to upscale or vary.", required=True)
    upscale_value = Number("Factor of Upscale (Custom); absent: 2.", 1.0, 5.0, default=None, allow_none=True)


class LegacyInpaintMembers(Schema):
    """A picture to redraw in part, or to extend."""

    input_image = Image("The picture to redraw in part, or to extend.")
    input_mask = Image("The mask: what is light is redrawn.")
    inpaint_additional_prompt = PromptText(
        "Prompt for the area that is redrawn; stands before prompt.", default="", allow_none=True
    )
    outpaint_selections = Items(
        "Sides on which the picture grows, in a form with commas between them.",
        Choice("A side.", choices.OUTPAINT_SIDES),
        longest=MOST_SIDES,
        default=[],
    )
    outpaint_distance_left = distance("to the left")
    outpaint_distance_right = distance("to the right")
    outpaint_distance_top = distance("at the top")
    outpaint_distance_bottom = distance("at the bottom")


class LegacyEnhanceMembers(Schema):
    """A picture to enhance."""

    enhance_input_image = Image("The picture to enhance.")
    enhance_uov_method = Choice(
        "Upscale or variation inside the chain.", choices.UPSCALE_OR_VARY_METHODS, default="Vary (Strong)"
    )
    enhance_uov_processing_order = NATIVE["enhance_uov_processing_order"]
    enhance_uov_prompt_type = NATIVE["enhance_uov_prompt_type"]
    enhance_checkbox = Flag("No effect: always true.", default=True)
    save_final_enhanced_image_only = Flag("No effect: always true.", default=True)


def numbered_prompts() -> dict[str, fields.Field[Any]]:
    """The members of a form's pictures that guide the drawing: cn_img1 to cn_img4, and so on."""
    shape, places = LegacyImagePromptSchema._declared_fields, range(1, MOST_CONTROL_IMAGES + 1)
    return {f"{name}{number}": field for number in places for name, field in shape.items()}


def numbered_steps() -> dict[str, fields.Field[Any]]:
    """The members of a form's steps: enhance_enabled_1 to enhance_mask_invert_3."""
    shape, places = EnhanceStepSchema._declared_fields | ANY_ENGINE, range(1, MOST_ENHANCE_STEPS + 1)
    return {f"{name}_{number}": field for number in places for name, field in shape.items()}


class LegacyTextSchema(LegacySchema):
    """A picture from a text."""


class LegacyTextAndPromptsSchema(LegacySchema):
    """A picture from a text, and from pictures that guide the drawing."""

    image_prompts = prompts(default=[])


class LegacyUpscaleFormSchema(LegacyUpscaleMembers, LegacySchema):
    """A picture to upscale or vary, as a form."""

    uov_method = Choice("What to do with it.", choices.UPSCALE_OR_VARY_METHODS, required=True)


class LegacyUpscaleSchema(LegacyUpscaleMembers, LegacySchema):
    """A picture to upscale or vary."""

    uov_method = Choice("What to do with it.", choices.UPSCALE_OR_VARY_METHODS, default="Upscale (2x)")
    image_prompts = prompts(default=[])


class LegacyInpaintFormSchema(LegacyInpaintMembers, LegacySchema):
    """A picture to redraw in part, or to extend, as a form."""

    input_image = Image("The picture to redraw in part, or to extend.", required=True)


class LegacyInpaintSchema(LegacyInpaintMembers, LegacySchema):
    """A picture to redraw in part, or to extend."""

    image_prompts = prompts(default=[])


class LegacyImagePromptsFormSchema(LegacyInpaintMembers, LegacySchema):
    """Pictures that guide the drawing, as a form."""

    class Meta:
        unknown = EXCLUDE
        include = same(COMMON) | numbered_prompts()


class LegacyImagePromptsSchema(LegacyInpaintMembers, LegacySchema):
    """Pictures that guide the drawing."""

    image_prompts = prompts(required=True)


class LegacyEnhanceFormSchema(LegacyEnhanceMembers, LegacySchema):
    """A picture to enhance, as a form."""

    class Meta:
        unknown = EXCLUDE
        include = same(COMMON) | numbered_steps()


class LegacyEnhanceSchema(LegacyEnhanceMembers, LegacySchema):
    """A picture to enhance."""

    enhance_ctrlnets = Items(
        f"The steps; the first {MOST_ENHANCE_STEPS} count.",
        Object(LegacyEnhanceStepSchema),
        longest=LONGEST_LIST,
        required=True,
    )


class AcceptSchema(QuerySchema):
    """What a generation request's answer is to be."""

    accept = Text("In place of the header Accept: image/png asks for one picture itself.", default="")


class QueryJobSchema(QuerySchema):
    """Which job."""

    job_id = Text("The job's id, with dashes or without.", required=True)
    require_step_preview = Flag("Answer the last preview too.", default=False)


class JobHistoryQuerySchema(QuerySchema):
    """Which jobs to list, or which one to delete."""

    job_id = Text("Only this job.", default="")
    page = Whole("Page of history, from 0.", 0, 2**31, default=0)
    page_size = Whole("Jobs on a page.", 1, LARGEST_PAGE, default=20)
    delete = Flag("Delete the job and its files.", default=False)


class GeneratedImageSchema(Schema):
    """A picture that was drawn, or why there is none."""

    base64 = fields.String(allow_none=True, metadata={"description": "A data URL, with require_base64; else null."})
    url = fields.String(allow_none=True, metadata={"description": "Its URL; null where there is no picture."})
    seed = fields.String(metadata={"description": "Its seed as a text; empty where there is no task."})
    finish_reason = fields.String(
        metadata={"description": "How it ended.", "enum": ["SUCCESS", "QUEUE_IS_FULL", "USER_CANCEL", "ERROR"]}
    )


class JobSchema(Schema):
    """A job: how far it is, what came of it."""

    job_id = fields.String(metadata={"description": "Its id: a UUID with dashes."})
    job_type = fields.String(metadata={"description": "What it does, by the route it came by."})
    job_stage = fields.String(
        metadata={"description": "Its state.", "enum": ["WAITING", "RUNNING", "SUCCESS", "ERROR"]}
    )
    job_progress = fields.Integer(metadata={"description": "Percent done."})
    job_status = fields.String(
        allow_none=True, metadata={"description": "What is done now; Finished at the end, or why it failed."}
    )
    job_step_preview = fields.String(
        allow_none=True, metadata={"description": "With require_step_preview, the last preview: a PNG in base64."}
    )
    job_result = fields.List(
        fields.Nested(GeneratedImageSchema), allow_none=True, metadata={"description": "The pictures, in the end."}
    )


class JobQueueSchema(Schema):
    """How much there is to do."""

    running_size = fields.Integer(metadata={"description": "Jobs that wait or run."})
    finished_size = fields.Integer(metadata={"description": "Jobs that have ended, and are remembered."})
    last_job_id = fields.String(allow_none=True, metadata={"description": "The newest job."})


class JobHistorySchema(Schema):
    """Jobs that wait or run, and those that have ended."""

    queue = fields.List(fields.Dict(), metadata={"description": "Jobs that wait or run: their ids and moments."})
    history = fields.List(
        fields.Dict(),
        metadata={"description": "Ended jobs, the newest first: the same, and params and task_info besides."},
    )


class LegacyFaultsSchema(Schema):
    """What of a request does not fit."""

    detail = fields.Raw(
        required=True,
        metadata={"type": "array", "items": {"type": "object"}, "description": "The faults, each with its place."},
    )
    body = fields.Raw(metadata={"description": "The body as it came, shortened where it is long; null without one."})


class LegacyMessageSchema(Schema):
    """What a deletion did."""

    message = fields.String(metadata={"description": "Deleted or Not found."})
