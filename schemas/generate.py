"""One generation request: every member with its kind, range, default and meaning.

`load` gives the members the client sent, checked and converted; absent ones stay absent, because their defaults
depend on how the server was started (`fooocus_flask.submission.prepare` fills them in from `DEFAULTS` and the presets).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from marshmallow import EXCLUDE, Schema, post_load

from engine import choices
from engine.params import MAX_SEED
from engine.prompt.styles import styles_in
from schemas import synonyms
from schemas.faults import fault
from schemas.fields import (
    LONGEST_URL,
    Choice,
    FilledSchema,
    Flag,
    Image,
    Items,
    N,
    Number,
    Object,
    Text,
    Whole,
    defaults,
    filler_of,
)
from schemas.prompts import PromptText, StyleNames
from schemas.spelling import SpellChecked

MOST_LORAS = 5
MOST_CONTROL_IMAGES = 4
MOST_ENHANCE_STEPS = 3
LEAST_SIDE, MOST_SIDE, SIDE_STEP = 64, 2048, 8
MOST_STEPS = 200
MOST_QUALITY = 100
MOST_SIDES = 8
"""Four sides, and room for some that are named twice."""
LONGEST_DISTANCE = 65_535
LONGEST_SEARCH = 1000
"""Characters of what a detector looks for; it reads 256 tokens."""

SIZE = re.compile(r"\s*([0-9]{1,5})\s*[*×xX]\s*([0-9]{1,5})\s*(?:<.*)?", re.DOTALL)
"""Two numbers, as people join them; behind them the mark-up that Fooocus puts into its labels."""
SAVE_NAME = re.compile(r"(\.\./[^/\\.][^/\\]*/)?[^/\\.][^/\\]*")
WEBHOOK = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)

CONTROL_DEFAULTS = {
    "ImagePrompt": {"cn_stop": 0.5, "cn_weight": 0.6},
    "FaceSwap": {"cn_stop": 0.9, "cn_weight": 0.75},
    "PyraCanny": {"cn_stop": 0.5, "cn_weight": 1.0},
    "CPDS": {"cn_stop": 0.5, "cn_weight": 1.0},
}
EXAMPLE = {"prompt": "a red apple on a wooden table"}
DEFAULT_LORA = {"enabled": True, "model_name": "sd_xl_offset_example-lora_1.0.safetensors", "weight": 0.1}


def shipped_styles() -> Sequence[str]:
    """The names of the styles that come with the engine."""
    return styles_in(()).names()


class Size(Text):
    """Width and height in pixels."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        match = SIZE.fullmatch(text)
        if not match or not all(is_side(int(side)) for side in match.groups()):
            rule = f"WIDTH*HEIGHT, each {LEAST_SIDE} to {MOST_SIDE} and a multiple of {SIDE_STEP}"
            usual = ", ".join(choices.ASPECT_RATIOS)
            raise fault("enum", f"Input should be {rule}, such as 1152*896", text, expected=usual)
        width, height = match.groups()
        return text if text in (f"{width}*{height}", f"{width}×{height}") else f"{int(width)}*{int(height)}"


class Side(Whole):
    """One side of the picture, or −1 or 0 for none."""

    def within(self, number: N, value: Any) -> N:
        if super().within(number, value) > 0 and not is_side(number):
            rule = f"-1, 0, or {LEAST_SIDE} to {MOST_SIDE} and a multiple of {SIDE_STEP}"
            raise fault("multiple_of", f"Input should be {rule}", value, multiple_of=SIDE_STEP, ge=LEAST_SIDE)
        return number


class Matching(Text):
    """A text that follows a pattern and is at most `longest` bytes long; empty and null stand for none."""

    def __init__(self, description: str, pattern: re.Pattern[str], longest: int, rule: str, **kwargs: Any):
        self.pattern, self.rule = pattern, rule
        super().__init__(description, longest=longest, allow_none=True, **kwargs)

    def refuse_length(self, value: str, longest: int) -> NoReturn:
        """Raise the fault of a value that does not follow the rule."""
        rule = f"Input should be {self.rule}, at most {longest} bytes long"
        raise fault("string_pattern_mismatch", rule, value, pattern=self.pattern.pattern)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        assert self.longest
        fits = self.pattern.fullmatch(text) and text.isprintable() and len(text.encode()) <= self.longest
        if text and not fits:
            self.refuse_length(text, self.longest)
        return text


class ModelName(Text):
    """The name of a model file; null and empty stand for the word that means none."""

    def __init__(self, description: str, none: str, **kwargs: Any):
        super().__init__(
            description, allow_none=True, pre_load=lambda name: none if name in (None, "") else name, **kwargs
        )


class Distances(Items):
    """Four distances, or an empty list for four zeros."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        distances = super()._deserialize(value, attr, data, **kwargs)
        if len(distances) not in (0, 4):
            text = f"List should have 4 items (left, top, right, bottom), not {len(distances)}"
            raise fault("too_short", text, value, min_length=4, actual_length=len(distances))
        return distances or [0, 0, 0, 0]


def is_side(pixels: float) -> bool:
    """Whether a picture may be this wide or high."""
    return LEAST_SIDE <= pixels <= MOST_SIDE and pixels % SIDE_STEP == 0


class LoraSchema(SpellChecked, FilledSchema):
    """One LoRA."""

    synonyms = synonyms.LORA

    enabled = Flag("Whether this LoRA is used.", default=True)
    model_name = ModelName(
        "File name as listed by GET /v1/engines/all-models; None marks an empty slot.",
        choices.NO_MODEL,
        default=choices.NO_MODEL,
    )
    weight = Number("Strength; negative values push away from what the LoRA was trained on.", -2, 2, default=0.5)


class ImagePromptSchema(SpellChecked, FilledSchema):
    """One picture that guides the drawing."""

    synonyms = synonyms.CONTROL_IMAGE

    cn_img = Image("The picture.")
    cn_stop = Number(
        "Part of the steps during which the picture counts; null: the kind's own value.",
        0,
        1,
        default=0.6,
        allow_none=True,
    )
    cn_weight = Number("Strength; null: the kind's own value.", 0, 2, default=0.6, allow_none=True)
    cn_type = Choice(
        "What the picture tells: its look, a face, or outlines.", choices.CONTROL_TYPES, default="ImagePrompt"
    )

    @post_load
    def own_values(self, part: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Null takes the value that suits the kind (the task failed in FooocusAPI)."""
        own = CONTROL_DEFAULTS[part.get("cn_type", "ImagePrompt")]
        return part | {name: value for name, value in own.items() if name in part and part[name] is None}


class EnhanceStepSchema(SpellChecked, FilledSchema):
    """One step of the enhance chain: find something in the picture and redraw it."""

    enhance_enabled = Flag("Whether this step runs.", default=False)
    enhance_mask_dino_prompt = Text(
        "What to look for, such as face, eye or hand; for the model sam.", longest=LONGEST_SEARCH, default=""
    )
    enhance_prompt = PromptText("Prompt for what was found; empty: the task's.", default="")
    enhance_negative_prompt = PromptText("Negative prompt for what was found; empty: the task's.", default="")
    enhance_mask_model = Choice("The model that finds it.", choices.MASK_MODELS, default="sam")
    enhance_mask_cloth_category = Choice(
        "Which clothes; for u2net_cloth_seg.", choices.CLOTH_CATEGORIES, default="full"
    )
    enhance_mask_sam_model = Choice("Size of the SAM model.", choices.SAM_MODELS, default="vit_b")
    enhance_mask_text_threshold = Number(
        "No effect: it chooses the words for what is found, and those change no mask.", 0, 1, default=0.25
    )
    enhance_mask_box_threshold = Number("How sure a box must be.", 0, 1, default=0.3)
    enhance_mask_sam_max_detections = Whole("Most things to take; 0: all.", 0, 10, default=0)
    enhance_inpaint_disable_initial_latent = Flag("Start the area from noise alone.", default=False)
    enhance_inpaint_engine = Choice("Version of the inpaint patch.", choices.INPAINT_ENGINES, default="v2.6")
    enhance_inpaint_strength = Number("How much of the area is redrawn.", 0, 1, default=1.0)
    enhance_inpaint_respective_field = Number("How much of the surroundings the area sees.", 0, 1, default=0.618)
    enhance_inpaint_erode_or_dilate = Number("Grow or shrink the mask, in pixels.", -64, 64, default=0)
    enhance_mask_invert = Flag("Draw everything but what was found.", default=False)


def empty_lora() -> dict[str, Any]:
    """What fills a LoRA list up."""
    return {"enabled": True, "model_name": choices.NO_MODEL, "weight": 1.0}


class PromptMembers(Schema):
    """What to draw, how large and how many."""

    prompt = PromptText(
        "What to draw. The first line leads; every further line is a prompt of its own beside it.", default=""
    )
    negative_prompt = PromptText("What to keep out of the picture; lines count as in prompt.", default="")
    style_selections = StyleNames(
        "Prompt styles, applied in this order. Fooocus V2 expands the prompt, Random Style picks one for each picture; "
        "an empty list applies none. GET /v1/engines/styles lists the names.",
        default=["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
    )
    performance_selection = Choice(
        "Number of steps: Quality 60, Speed 30; the fast ones, 8 or 4, also fix sampler, schedule and guidance.",
        choices.PERFORMANCES,
        default="Speed",
    )
    aspect_ratios_selection = Size(
        "Width and height in pixels, joined by *, × or x: one of GET /v1/engines/sizes, or any pair of "
        f"{LEAST_SIDE} to {MOST_SIDE} that are multiples of {SIDE_STEP}.",
        default="1152*896",
        metadata={"examples": [size.replace("×", "*") for size in choices.ASPECT_RATIOS]},
    )
    image_number = Whole("How many pictures; always 1 where the answer is the picture itself.", 1, 32, default=1)
    output_format = Choice("File type of the pictures.", choices.OUTPUT_FORMATS, fold=True, default="png")
    output_quality = Whole(
        "How much JPEG and WebP keep of a picture; more makes larger files. PNG keeps all.",
        0,
        MOST_QUALITY,
        default=choices.OUTPUT_QUALITY,
    )
    image_seed = Whole(
        "Seed of the first picture, the next ones count up from it; -1 picks one at random.", -1, MAX_SEED, default=-1
    )
    read_wildcards_in_order = Flag("Take the lines of wildcard files in order, not at random.", default=False)
    sharpness = Number("Crispness of fine texture.", 0.0, 30.0, default=2.0)
    guidance_scale = Number("How closely the prompt is followed.", 1.0, 30.0, default=4.0)


class ModelMembers(Schema):
    """Which models draw."""

    base_model_name = ModelName(
        "Checkpoint file as listed by GET /v1/engines/all-models.",
        choices.NO_MODEL,
        default="juggernautXL_v8Rundiffusion.safetensors",
    )
    refiner_model_name = ModelName(
        "Checkpoint that takes over for the last steps; None: no refiner.", choices.NO_MODEL, default=choices.NO_MODEL
    )
    refiner_switch = Number("Part of the steps after which the refiner takes over.", 0.1, 1.0, default=0.5)
    loras = Items(
        f"LoRA files to add to the model, at most {MOST_LORAS}.",
        Object(LoraSchema),
        longest=MOST_LORAS,
        filler=empty_lora,
        default=[DEFAULT_LORA, *(empty_lora() for _ in range(MOST_LORAS - 1))],
    )
    vae_name = ModelName(
        "VAE file, or Default (model) for the one inside the checkpoint.",
        choices.VAE_OF_CHECKPOINT,
        default=choices.VAE_OF_CHECKPOINT,
    )


class ImageMembers(Schema):
    """Pictures to start from or to be guided by."""

    input_image_checkbox = Flag("No effect: pictures that are given are used.", default=False)
    current_tab = Choice(
        "No effect: follows from the pictures given.",
        choices.CURRENT_TABS,
        aliases={"outpaint": "inpaint"},
        default="uov",
    )
    uov_method = Choice("What to do with uov_input_image.", choices.UPSCALE_OR_VARY_METHODS, default="Disabled")
    uov_input_image = Image("The picture to upscale or vary.", default="None")
    outpaint_selections = Items(
        "Sides on which inpaint_input_image grows.",
        Choice("A side.", choices.OUTPAINT_SIDES),
        longest=MOST_SIDES,
        default=[],
    )
    outpaint_distance = Distances(
        "By how many pixels: left, top, right, bottom. 0 or less: 30 % of the picture's width or height.",
        Whole("Pixels.", -LONGEST_DISTANCE, LONGEST_DISTANCE),
        longest=4,
        default=[0, 0, 0, 0],
    )
    inpaint_input_image = Image("The picture to redraw in part, or to extend.", default="None")
    inpaint_additional_prompt = PromptText("Prompt for the area that is redrawn; stands before prompt.", default="")
    inpaint_mask_image_upload = Image("The mask: what is light is redrawn.", default="None")
    inpaint_mask_upload_checkbox = Flag("No effect: an older name of the next member.", default=False, load_only=True)
    inpaint_advanced_masking_checkbox = Flag("No effect: true exactly when a mask is given.", default=False)
    invert_mask_checkbox = Flag(
        "Invert the mask, after it was grown or shrunk: what is dark is redrawn.", default=False
    )
    inpaint_erode_or_dilate = Whole("Grow (above 0) or shrink the mask, in pixels.", -64, 64, default=0)
    controlnet_image = Items(
        f"Pictures that guide the drawing, at most {MOST_CONTROL_IMAGES}.",
        Object(ImagePromptSchema),
        longest=MOST_CONTROL_IMAGES,
        filler=filler_of(ImagePromptSchema()),
        default=[{"cn_img": None, "cn_stop": 0.6, "cn_weight": 0.6, "cn_type": "ImagePrompt"}],
    )
    mixing_image_prompt_and_vary_upscale = Flag("Use controlnet_image beside uov_input_image.", default=False)
    mixing_image_prompt_and_inpaint = Flag("Use controlnet_image beside inpaint_input_image.", default=False)
    upscale_multiple = Number("Factor of Upscale (Custom).", 1.0, 5.0, default=1.0)


class OutputMembers(Schema):
    """What is sent while drawing, and what is kept."""

    disable_preview = Flag("Send no previews.", default=False)
    disable_intermediate_results = Flag(
        "No effect: an answer names the pictures when all are done, never before.", default=False
    )
    disable_seed_increment = Flag("The same seed for every picture.", default=False)
    black_out_nsfw = Flag("Replace what the safety checker finds unsafe by black.", default=False)
    save_final_enhanced_image_only = Flag("Of each enhance chain keep only the last picture.", default=False)
    save_metadata_to_images = Flag("Write the parameters into the files.", default=True)
    metadata_scheme = Choice(
        "How they are written.", choices.METADATA_SCHEMES, aliases={"a111": "a1111"}, default="fooocus"
    )
    generate_image_grid = Flag("Also make one picture of all.", default=False)
    save_name = Matching(
        "Name of the files, which get a number and their type: cat becomes cat-0.png in the day's folder; "
        "../pets/cat lies in the folder pets.",
        SAVE_NAME,
        200,
        "a file name or ../folder/name of printable characters",
        default=None,
    )
    require_base64 = Flag("No effect: pictures are named by URL.", default=False)


class AdvancedMembers(Schema):
    """How the sampler works."""

    adm_scaler_positive = Number("Factor of the size hint for the prompt; 1 switches it off.", 0.0, 3.0, default=1.5)
    adm_scaler_negative = Number(
        "Factor of the size hint for the negative prompt; 1 switches it off.", 0.0, 3.0, default=0.8
    )
    adm_scaler_end = Number("Part of the steps during which these factors count.", 0.0, 1.0, default=0.3)
    adaptive_cfg = Number("Guidance that is imitated where guidance_scale is above it.", 1.0, 30.0, default=7.0)
    clip_skip = Whole("Which layer of the text encoder is read, counted from the last.", 1, 12, default=2)
    sampler_name = Choice("Sampler.", choices.SAMPLERS, default="dpmpp_2m_sde_gpu")
    scheduler_name = Choice("Noise schedule.", choices.SCHEDULERS, default="karras")
    overwrite_step = Whole(
        "Number of steps in place of the one performance_selection sets; -1 or 0: leave it.", -1, MOST_STEPS, default=-1
    )
    overwrite_switch = Whole(
        "The step, counted from 1, at which the refiner takes over; -1 or 0: leave refiner_switch.",
        -1,
        MOST_STEPS,
        default=-1,
    )
    overwrite_width = Side("Width in place of the one asked for; -1 or 0: leave it.", -1, MOST_SIDE, default=-1)
    overwrite_height = Side("Height in place of the one asked for; -1 or 0: leave it.", -1, MOST_SIDE, default=-1)
    overwrite_vary_strength = Number(
        "Strength of Vary in place of 0.5 (Subtle) or 0.85 (Strong); -1 or 0: leave it.", -1, 1.0, default=-1
    )
    overwrite_upscale_strength = Number(
        "Strength of Upscale in place of 0.382; -1 or 0: leave it.", -1, 1.0, default=-1
    )
    debugging_cn_preprocessor = Flag("Return the control pictures as the models see them.", default=False)
    skipping_cn_preprocessor = Flag("Take control pictures as they are.", default=False)
    canny_low_threshold = Whole("Lower threshold of the outline finder.", 1, 255, default=64)
    canny_high_threshold = Whole("Upper threshold of the outline finder.", 1, 255, default=128)
    refiner_swap_method = Choice("How the refiner takes over.", choices.REFINER_SWAP_METHODS, default="joint")
    controlnet_softness = Number("How loosely control pictures are followed.", 0.0, 1.0, default=0.25)
    freeu_enabled = Flag("Use FreeU.", default=False)
    freeu_b1 = Number("FreeU: backbone factor of the first stage.", default=1.01)
    freeu_b2 = Number("FreeU: backbone factor of the second stage.", default=1.02)
    freeu_s1 = Number("FreeU: skip factor of the first stage.", default=0.99)
    freeu_s2 = Number("FreeU: skip factor of the second stage.", default=0.95)
    debugging_inpaint_preprocessor = Flag("Return the inpaint picture as the model sees it.", default=False)
    inpaint_disable_initial_latent = Flag("Start the redrawn area from noise alone.", default=False)
    inpaint_engine = Choice("Version of the inpaint patch; None: without one.", choices.INPAINT_ENGINES, default="v2.6")
    inpaint_strength = Number("How much of the area is redrawn; outpainting takes 1.", 0.0, 1.0, default=1.0)
    inpaint_respective_field = Number(
        "How much of the surroundings the area sees, from 0 (none) to 1 (all); outpainting takes 1.",
        0.0,
        1.0,
        default=0.618,
    )


class EnhanceMembers(Schema):
    """Finding parts of a picture and redrawing them."""

    debugging_dino = Flag("Return the boxes that were found.", default=False)
    dino_erode_or_dilate = Whole("Grow or shrink the boxes, in pixels.", -64, 64, default=0)
    debugging_enhance_masks_checkbox = Flag("Return the masks too.", default=False)
    enhance_input_image = Image("The picture to enhance; it goes before all other pictures.", default="None")
    enhance_checkbox = Flag("Run the enhance steps.", default=False)
    enhance_uov_method = Choice(
        "Upscale or variation inside the chain.", choices.UPSCALE_OR_VARY_METHODS, default="Disabled"
    )
    enhance_uov_processing_order = Choice("When it runs.", choices.ENHANCE_ORDERS, default="Before First Enhancement")
    enhance_uov_prompt_type = Choice("With which prompts.", choices.ENHANCE_PROMPT_TYPES, default="Original Prompts")
    enhance_ctrls = Items(
        f"The steps, at most {MOST_ENHANCE_STEPS}.",
        Object(EnhanceStepSchema),
        longest=MOST_ENHANCE_STEPS,
        filler=filler_of(EnhanceStepSchema()),
        default=[],
    )


# marshmallow lists the members of the last base first.
class GenerateSchema(
    SpellChecked, EnhanceMembers, AdvancedMembers, OutputMembers, ImageMembers, ModelMembers, PromptMembers
):
    """What a client asks for; every member may be left out.

    `style_names` lists the styles that a request may name.
    """

    synonyms = synonyms.GENERATE
    example = EXAMPLE

    class Meta:
        unknown = EXCLUDE

    def __init__(self, *, style_names: Callable[[], Sequence[str]] = shipped_styles, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.style_names = style_names

    preset = Text(
        "A preset from GET /v1/engines/presets: its values replace every parameter that has the server's default; "
        "initial: none.",
        default="initial",
    )
    stream_output = Flag("Answer with a stream of events.", default=False)
    async_process = Flag("Answer at once with the task's id.", default=False)
    webhook_url = Matching(
        "Where the finished task is sent by POST; empty: the server's own, if any.",
        WEBHOOK,
        LONGEST_URL,
        "an http:// or https:// URL, or empty",
        default="",
    )

    @post_load
    def drop(self, members: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out the one member that is accepted and means nothing."""
        members.pop("inpaint_mask_upload_checkbox", None)
        return members


DEFAULTS: dict[str, Any] = GenerateSchema().load(defaults(GenerateSchema()))
"""The contract's default of each parameter, as `load` gives them."""
