"""AUTOMATIC1111's `/sdapi/v1`: what its clients send, and what they read.

Of a request null counts as absent, and members that are not listed here are kept, so that notes can name them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from marshmallow import INCLUDE, Schema, fields, pre_load

from engine import choices
from engine.params import MAX_SEED
from schemas.faults import fault
from schemas.fields import Choice, Described, Flag, Image, Items, Number, Object, QuerySchema, Text, Whole
from schemas.generate import LEAST_SIDE, MOST_SIDE, MOST_STEPS, shipped_styles
from schemas.prompts import PromptText, StyleNames

MOST_PICTURES = 32
MOST_FACTOR = 5
INTERROGATORS = {"clip": "Photo", "deepdanbooru": "Anime"}
"""AUTOMATIC1111's names of what describes a picture, and the kind of description that each gives."""


class AnyObject(Described):
    """An object of any members."""

    def refuse(self, value: Any) -> NoReturn:
        raise fault("model_attributes_type", "Input should be a JSON object", value)

    def shape(self) -> dict[str, Any]:
        """An object, or null."""
        return {"type": ["object", "null"]}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.refuse(value)
        return dict(value)


class TolerantSchema(Schema):
    """A shape in which null counts as absent, and that keeps what it does not know."""

    class Meta:
        unknown = INCLUDE

    @pre_load
    def drop_null(self, members: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what is null."""
        return {name: value for name, value in members.items() if value is not None}


class OptionsSchema(TolerantSchema):
    """The options that count here; all others are ignored."""

    sd_model_checkpoint = Text("The checkpoint, as a title of sd-models, with or without its hash.", allow_none=True)
    sd_vae = Text("A VAE's file, as sd-vae lists it; Automatic or None: the checkpoint's own.", allow_none=True)
    CLIP_stop_at_last_layers = Whole(
        "Which layer of the text encoder is read, counted from the last.", 1, 12, allow_none=True
    )
    samples_format = Choice("File type of the pictures.", choices.OUTPUT_FORMATS, fold=True, allow_none=True)


class SharedMembers(TolerantSchema):
    """What both ways to draw take.

    `style_names` lists the styles that a request may name.
    """

    def __init__(self, *, style_names: Callable[[], Sequence[str]] = shipped_styles, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.style_names = style_names

    prompt = PromptText("What to draw; <lora:name:0.8> adds a LoRA.", allow_none=True)
    negative_prompt = PromptText("What to keep out of the picture.", allow_none=True)
    styles = StyleNames("Styles that prompt-styles lists; absent: none.", allow_none=True)
    seed = Whole("Seed of the first picture, the next ones count up; -1: any.", -1, MAX_SEED, allow_none=True)
    steps = Whole("Number of steps; absent: the performance mode's.", 1, MOST_STEPS, allow_none=True)
    cfg_scale = Number("How closely the prompt is followed; absent: the preset's.", 1, 30, allow_none=True)
    width = Whole("Width, rounded down to a multiple of 8; absent: 1024.", LEAST_SIDE, MOST_SIDE, allow_none=True)
    height = Whole("Height, likewise.", LEAST_SIDE, MOST_SIDE, allow_none=True)
    batch_size = Whole(f"Pictures; times n_iter at most {MOST_PICTURES}; absent: 1.", 1, MOST_PICTURES, allow_none=True)
    n_iter = Whole("So many times as many pictures; absent: 1.", 1, MOST_PICTURES, allow_none=True)
    sampler_name = Text(
        "A name of samplers, or a native one; an older ending such as Karras names the schedule; absent: the preset's.",
        allow_none=True,
    )
    sampler_index = Text("The same; counts where sampler_name is absent.", allow_none=True)
    scheduler = Text(
        "A name or label of schedulers; absent or Automatic: the one that the sampler usually has.", allow_none=True
    )
    denoising_strength = Number(
        "How much is redrawn: of the picture or of what the mask paints; with enable_hr of the enlarged picture.",
        0,
        1,
        allow_none=True,
    )
    refiner_checkpoint = Text("A checkpoint that takes over for the last steps.", allow_none=True)
    refiner_switch_at = Number("Part of the steps after which it does.", 0.1, 1, allow_none=True)
    clip_skip = Whole("As CLIP_stop_at_last_layers, which goes before it.", 1, 12, allow_none=True)
    override_settings = Object(
        OptionsSchema, allow_none=True, metadata={"description": "Options for this request alone."}
    )
    override_settings_restore_afterwards = Flag("false: they stay the caller's options; absent: true.", allow_none=True)
    send_images = Flag("false: the answer has no pictures; absent: true.", allow_none=True)
    force_task_id = Text("The task's id, if it is 32 hexadecimal digits that no task has.", allow_none=True)
    alwayson_scripts = AnyObject(
        "Extensions; none is served here: what is not empty is refused, with the members that do the same.",
        allow_none=True,
    )
    script_name = Text("A script; none is served here: a name is refused.", allow_none=True)


class TextToImageSchema(SharedMembers):
    """A picture from a text."""

    enable_hr = Flag("Enlarge each picture, and draw it over once.", allow_none=True)
    hr_scale = Number("By how much; absent: 2.", 0, MOST_FACTOR, allow_none=True)
    hr_resize_x = Whole("The width to enlarge it to, which goes before hr_scale; 0: none.", 0, 65535, allow_none=True)
    hr_resize_y = Whole("The height, likewise.", 0, 65535, allow_none=True)
    hr_upscaler = Text("Any name of upscalers: there is one.", allow_none=True)


class ImageToImageSchema(SharedMembers):
    """A picture from another one, or a part of it drawn anew."""

    init_images = Items(
        "The picture to start from, in a list of one.",
        Image("The picture.", required=True),
        longest=1,
        required=True,
    )
    mask = Image("The mask: what is white is redrawn.")
    inpainting_mask_invert = Flag("1: what is black is redrawn.", allow_none=True)
    inpainting_fill = Whole(
        "What the area begins with: 0 or 1 the picture itself, 2 or 3 noise alone.", 0, 3, allow_none=True
    )
    inpaint_full_res = Flag("false: the area is drawn together with the whole picture.", allow_none=True)
    include_init_images = Flag("true: the answer's parameters tell the pictures that were sent.", allow_none=True)


class ExtraImageSchema(TolerantSchema):
    """A picture to enlarge."""

    image = Image("The picture.", required=True)
    upscaling_resize = Number("By how much; absent: 2.", 1, MOST_FACTOR, allow_none=True)
    resize_mode = Whole("1: to upscaling_resize_w and upscaling_resize_h; absent: 0.", 0, 1, allow_none=True)
    upscaling_resize_w = Whole("The width, with resize_mode 1.", 1, 65535, allow_none=True)
    upscaling_resize_h = Whole("The height, with resize_mode 1.", 1, 65535, allow_none=True)
    upscaler_1 = Text("A name of upscalers; absent: Fooocus.", allow_none=True)


class PngInfoSchema(TolerantSchema):
    """A picture whose parameters are wanted."""

    image = Image("The picture.", required=True)


class InterrogateSchema(TolerantSchema):
    """A picture to describe."""

    image = Image("The picture.", required=True)
    model = Text(f"{' or '.join(INTERROGATORS)}: a sentence, or tags; absent: clip.", allow_none=True)


class ProgressQuerySchema(QuerySchema):
    """What of the progress is wanted."""

    skip_current_image = Flag("Leave out the preview.", default=False)


def text(description: str, **kwargs: Any) -> fields.String:
    """A text of an answer."""
    return fields.String(metadata={"description": description}, **kwargs)


def number(description: str, **kwargs: Any) -> fields.Float:
    """A number of an answer."""
    return fields.Float(metadata={"description": description}, **kwargs)


def anything(description: str, **kwargs: Any) -> fields.Raw:
    """A value of an answer that is told as it is."""
    return fields.Raw(metadata={"description": description, **kwargs})


class DrawnPicturesSchema(Schema):
    """Pictures that were drawn."""

    images = fields.List(fields.String(), metadata={"description": "The pictures in base64."})
    parameters = anything("The request as it was understood, without pictures.", type="object")
    info = text("JSON as a text: seeds, sampler, model, notes, and in infotexts what each picture's file tells.")


class ExtraImageAnswerSchema(Schema):
    """A picture that was enlarged."""

    image = text("The picture in base64.")
    html_info = text("The notes.")


class PngInfoAnswerSchema(Schema):
    """What a picture's file tells."""

    info = text("The text with its parameters; empty: there is none.")
    items = anything("Every text in the file, by its place.", type="object")
    parameters = anything("The parameters, by AUTOMATIC1111's labels.", type="object")


class CaptionSchema(Schema):
    """What a picture shows."""

    caption = text("A sentence (clip) or tags with commas between them (deepdanbooru).")


class OptionsAnswerSchema(Schema):
    """The caller's options."""

    sd_model_checkpoint = text("The checkpoint that draws, as a title of sd-models.")
    sd_vae = text("The VAE; Automatic: the checkpoint's own.")
    CLIP_stop_at_last_layers = fields.Integer(
        metadata={"description": "Which layer of the text encoder is read, counted from the last."}
    )
    samples_format = text("File type of the pictures.")


class SdModelSchema(Schema):
    """A checkpoint."""

    title = text("Its name, with its hash where that is known.")
    model_name = text("Its name without folder and suffix.")
    hash = text("The first 10 digits of its SHA-256; null: not known yet.", allow_none=True)
    sha256 = text("Null.", allow_none=True)
    filename = text("Its name with the models folder.")
    config = text("Null.", allow_none=True)


class SamplerSchema(Schema):
    """A sampler."""

    name = text("Its label.")
    aliases = fields.List(fields.String(), metadata={"description": "Its native names."})
    options = anything("Empty.", type="object")


class SchedulerSchema(Schema):
    """A noise schedule."""

    name = text("Its name.")
    label = text("Its label.")
    aliases = fields.List(fields.String(), metadata={"description": "Other names that are taken."})
    default_rho = number("-1.")
    need_inner_model = fields.Boolean(metadata={"description": "false."})


class UpscalerSchema(Schema):
    """What enlarges pictures."""

    name = text("Its name.")
    model_name = text("Null.", allow_none=True)
    model_path = text("Null.", allow_none=True)
    model_url = text("Null.", allow_none=True)
    scale = number("By how much it enlarges at once.", allow_none=True)


class SdVaeSchema(Schema):
    """A VAE."""

    model_name = text("Its name.")
    filename = text("Its name with the models folder.")


class LoraFileSchema(Schema):
    """A LoRA."""

    name = text("Its name in a prompt's tag.")
    alias = text("The same.")
    path = text("Its name with the models folder.")
    metadata = anything("Empty.", type="object")


class PromptStyleSchema(Schema):
    """A style."""

    name = text("Its name.")
    prompt = text("Its template, with {prompt} in the prompt's place; empty: it has none.")
    negative_prompt = text("What it adds to the negative prompt.")


class LatentModeSchema(Schema):
    """A latent upscale mode."""

    name = text("Its name.")


class JobStateSchema(Schema):
    """What the caller's task is at."""

    skipped = fields.Boolean(metadata={"description": "false."})
    interrupted = fields.Boolean(metadata={"description": "Whether it is being stopped."})
    job = text("The task's id; empty: none of the caller's runs.")
    job_count = fields.Integer(metadata={"description": "How many pictures it draws; 0: none of the caller's runs."})
    job_timestamp = text("When drawing began.")
    job_no = fields.Integer(metadata={"description": "How many of them are done."})
    sampling_step = fields.Integer(metadata={"description": "The picture's step; 0: none yet."})
    sampling_steps = fields.Integer(metadata={"description": "The picture's steps."})


class ProgressAnswerSchema(Schema):
    """How far the caller's running task is."""

    progress = number("From 0 to 1; 0 while none of the caller's runs.")
    eta_relative = number("Seconds until it ends, as far as they can be guessed.")
    state = fields.Nested(JobStateSchema, metadata={"description": "What it is at."})
    current_image = text("The last preview, a PNG in base64; null: none.", allow_none=True)
    textinfo = text("What is done now, for people; null: nothing.", allow_none=True)
