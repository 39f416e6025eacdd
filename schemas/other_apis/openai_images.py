"""Requests and answers of OpenAI's Images API; every member of our own generation request is taken as well.

Ranges and words are theirs, as far as pictures can be drawn so here; what would change the picture and cannot be done
is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from marshmallow import Schema, fields, post_load

from engine import choices
from engine.params import MAX_SEED
from schemas.faults import fault
from schemas.fields import (
    Choice,
    Described,
    FilledSchema,
    Flag,
    Image,
    Items,
    Number,
    Object,
    Text,
    Whole,
    refused,
)
from schemas.generate import (
    LEAST_SIDE,
    MOST_LORAS,
    MOST_QUALITY,
    MOST_SIDE,
    MOST_STEPS,
    SIDE_STEP,
    LoraSchema,
    Side,
    empty_lora,
    is_side,
)
from schemas.prompts import MOST_STYLES, PromptText
from schemas.submission import MULTIPART, SubmissionSchema

QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")
MOST_PARTIAL = 3
MOST_PICTURES = 5
"""One to edit, and four beside it."""
SIZE_TEXT = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)
AUTO = "auto"
LONGEST_SIZE = 16


class FilledPrompt(PromptText):
    """A prompt that says something."""

    def __init__(self, description: str, **kwargs: Any):
        super().__init__(description, required=True, metadata={"minLength": 1, "pattern": r"\S"}, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not text.strip():
            raise fault("missing", "Say what to draw: the prompt is empty", value)
        return text


class PictureSize(Text):
    """WIDTHxHEIGHT as a pair of numbers; None for auto."""

    def __init__(self, description: str):
        pattern = {"pattern": f"^({AUTO}|{SIZE_TEXT.pattern})$", "examples": [AUTO, "1024x1024", "1536x1024"]}
        super().__init__(description, longest=LONGEST_SIZE, allow_none=True, metadata=pattern)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text == AUTO:
            return None
        match = SIZE_TEXT.fullmatch(text)
        rule = f"{AUTO}, or WIDTHxHEIGHT, each {LEAST_SIDE} to {MOST_SIDE} and a multiple of {SIDE_STEP}"
        if match is None:
            raise fault("enum", f"Input should be {rule}, such as 1024x1024", value)
        width, height = (int(side) for side in match.groups())
        if not (is_side(width) and is_side(height)):
            near = f"{nearest_side(width)}x{nearest_side(height)}"
            raise fault("enum", f"Input should be {rule}; the nearest is {near}", value, expected=near)
        return width, height


def nearest_side(pixels: int) -> int:
    """The nearest width or height that a picture may have."""
    return min(max(LEAST_SIDE, SIDE_STEP * round(pixels / SIDE_STEP)), MOST_SIDE)


class Background(Choice):
    """What lies behind the picture, which is always something here."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        word = super()._deserialize(value, attr, data, **kwargs)
        if word == "transparent":
            text = "No transparent pictures are drawn here; send auto or opaque"
            raise fault("unsupported_value", text, value, expected="auto, opaque")
        return word


class Unsupported(Described):
    """A member that would change the picture in a way that is not known here; only its default passes."""

    def __init__(self, description: str, *harmless: Any, **kwargs: Any):
        self.harmless = harmless
        super().__init__(f"Not supported: {description}", allow_none=True, **kwargs)

    def refuse(self, value: Any) -> NoReturn:
        name = self.data_key or self.name
        raise fault("unsupported_parameter", f"{name} is not supported here; leave it out", value)

    def shape(self) -> dict[str, Any]:
        """Null, or the values that change nothing."""
        return {"enum": [None, *self.harmless]}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> None:
        if isinstance(value, bool) or str(value) not in map(str, self.harmless):
            self.refuse(value)


class Pictures(Image):
    """One picture or a list of some, as a list."""

    def __init__(self, description: str, **kwargs: Any):
        super().__init__(description, metadata={"maxItems": MOST_PICTURES}, **kwargs)

    def shape(self) -> dict[str, Any]:
        """A text or a list of texts."""
        return {"type": ["string", "array", "null"], "items": {"type": "string"}}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        sent = value if isinstance(value, list) else [value]
        if len(sent) > MOST_PICTURES:
            text = f"Send at most {MOST_PICTURES} pictures: one to edit, and {MOST_PICTURES - 1} beside it"
            raise fault("too_long", text, value, max_length=MOST_PICTURES, actual_length=len(sent))
        one = super()._deserialize
        return [picture for item in sent if (picture := one(item, attr, data, **kwargs)) is not None]


class ReferenceSchema(FilledSchema):
    """A picture that a request in JSON names."""

    image_url = Image("The picture.")
    file_id = Text("Not supported: no files are kept here; send image_url.", allow_none=True)

    @post_load
    def refuse_files(self, members: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Refuse what only OpenAI can look up."""
        if members.get("file_id"):
            text = "No files are kept here: send the picture itself as a file, or as image_url"
            raise fault("unsupported_parameter", text, members["file_id"])
        return members


class MaskPicture(Image):
    """A mask: a picture, or an object that refers to one."""

    def shape(self) -> dict[str, Any]:
        """A text, or an object with an address."""
        return {"type": ["string", "object", "null"], "properties": {"image_url": {"type": "string"}}}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, Mapping):
            value = ReferenceSchema().load(value)["image_url"]
        return None if value is None else super()._deserialize(value, attr, data, **kwargs)


class OneOrMore(Items):
    """A list, or what stands for a list of one."""

    def shape(self) -> dict[str, Any]:
        """A text, an object or a list of them."""
        return {"type": ["string", "object", "array", "null"], "items": {"type": ["string", "object"]}}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        return super()._deserialize(value if isinstance(value, list) else [value], attr, data, **kwargs)


class LoraName(Described, fields.Raw):
    """A LoRA's name, or an object as in `loras`."""

    def refuse(self, value: Any) -> NoReturn:
        raise fault("string_type", "Input should be the name of a LoRA, or an object as in loras", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, Any]:
        sent = {"model_name": value} if isinstance(value, str) else value
        if not isinstance(sent, Mapping):
            self.refuse(value)
        loaded: dict[str, Any] = LoraSchema().load({"enabled": True, "weight": 1.0, **sent})
        return loaded


class AliasMembers(Schema):
    """Names that other servers of this API gave to what OpenAI has no members for."""

    seed = Whole("As image_seed.", -1, MAX_SEED, allow_none=True)
    num_inference_steps = Whole("As overwrite_step.", -1, MOST_STEPS, allow_none=True)
    steps = Whole("As overwrite_step.", -1, MOST_STEPS, allow_none=True)
    step = Whole("As overwrite_step.", -1, MOST_STEPS, allow_none=True)
    cfg_scale = Number("As guidance_scale.", 1.0, 30.0, allow_none=True)
    width = Side("As overwrite_width.", -1, MOST_SIDE, allow_none=True)
    height = Side("As overwrite_height.", -1, MOST_SIDE, allow_none=True)
    lora = OneOrMore(
        "As loras; a name stands for a LoRA of weight 1.",
        LoraName("A LoRA."),
        longest=MOST_LORAS,
        filler=empty_lora,
        allow_none=True,
    )


class UnsupportedMembers(Schema):
    """What OpenAI's models do and SDXL does not."""

    markup = Unsupported("a picture drawn over the one to edit.")
    complexity = Unsupported("computation spent on planning.")
    frame_count = Unsupported("pictures of an animation.", 1)
    frame_duration_ms = Unsupported("how long each is shown.")
    svg = Unsupported("drawings in lines.")


class CommonMembers(UnsupportedMembers, AliasMembers):
    """What all of their routes take."""

    model = Text(
        "A checkpoint's file, with or without its ending, or a preset; OpenAI's own names stand for the server's "
        "default.",
        allow_none=True,
    )
    n = Whole("As image_number.", 1, 32, allow_none=True)
    size = PictureSize(f"Width and height, as 1024x1024; {AUTO}: the usual ones.")
    quality = Choice(
        "low: the fastest mode there is; auto, medium and standard: the usual one; high and above: Quality. A value of "
        "performance_selection is taken too.",
        (*QUALITIES, *choices.PERFORMANCES),
        allow_none=True,
    )
    background = Background(
        "No effect: pictures are opaque; transparent is refused.", (AUTO, "opaque", "transparent"), allow_none=True
    )
    output_compression = Whole("As output_quality.", 0, MOST_QUALITY, allow_none=True)
    response_format = Choice(
        "How pictures are answered; b64_json where nothing is sent.", ("b64_json", "url"), allow_none=True
    )
    stream = Flag("Answer with events: partial pictures, then each finished one.", allow_none=True)
    partial_images = Whole(
        "With stream: previews of each picture, evenly spread over its steps.", 0, MOST_PARTIAL, allow_none=True
    )
    user = Text("Kept with the task, and told back as safety_identifier.", allow_none=True)
    safety_identifier = Text("Kept with the task, and told back.", allow_none=True)

    @post_load
    def drop_null(self, members: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what stands for nothing."""
        return {name: value for name, value in members.items() if value is not None or name not in OWN}


class GenerationsSchema(CommonMembers, SubmissionSchema):
    """A request for pictures of a text, as OpenAI's API has it, with any of our own members."""

    class Meta(SubmissionSchema.Meta):
        exclude = ("stream_output", "async_process", "cancel_on_disconnect")

    prompt = FilledPrompt("What to draw.")
    style = OneOrMore(
        "natural: the usual styles without expansion; vivid: the usual ones; or names of styles, as style_selections.",
        Text("A style."),
        longest=MOST_STYLES,
        allow_none=True,
    )
    moderation = Choice(
        "auto: black_out_nsfw as the server has it; low: no more than the server insists on.",
        (AUTO, "low"),
        allow_none=True,
    )


class EditsSchema(CommonMembers, SubmissionSchema):
    """A request to change a picture by words, as OpenAI's API has it, with any of our own members."""

    class Meta(GenerationsSchema.Meta):
        pass

    prompt = FilledPrompt("What the picture shall show.")
    image = Pictures(f"The picture to edit; up to {MOST_PICTURES - 1} more lend their look.")
    images = Items(
        "The same as references.", Object(ReferenceSchema), longest=MOST_PICTURES, default=None, allow_none=True
    )
    mask = MaskPicture("Where it is transparent the picture is redrawn; without transparency, where it is light.")
    input_fidelity = Choice(
        "Without a mask: high keeps more of the picture.", ("high", "low"), default="low", allow_none=True
    )

    @post_load
    def gather(self, members: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Have all pictures in `image`."""
        named = [one["image_url"] for one in members.pop("images", None) or () if one["image_url"] is not None]
        members["image"] = [*(members.get("image") or ()), *named]
        if not members["image"]:
            raise refused("missing", "Send the picture to edit as image", "image")
        if len(members["image"]) > MOST_PICTURES:
            raise refused("too_long", f"Send at most {MOST_PICTURES} pictures", "image")
        return members


class VariationsSchema(CommonMembers, SubmissionSchema):
    """A request for pictures like another one, as OpenAI's API had it, with any of our own members."""

    class Meta(GenerationsSchema.Meta):
        pass

    image = Image("The picture to vary.", required=True)


OWN = frozenset(CommonMembers().fields) | {"style", "moderation", "image", "images", "mask", "input_fidelity"}
"""Members that are theirs: null means that they were not sent."""


class PictureDataSchema(Schema):
    """A picture."""

    b64_json = fields.String(metadata={"description": "The file in base64, unless a URL was asked for."})
    url = fields.String(metadata={"description": "Its address, where that was asked for."})
    revised_prompt = fields.String(
        metadata={"description": "The prompt as it was drawn, with styles and expansion; absent where none is known."}
    )


class TokenDetailsSchema(Schema):
    """Tokens by kind."""

    text_tokens = fields.Integer(metadata={"description": "CLIP's tokens of the prompt, without styles."})
    image_tokens = fields.Integer(metadata={"description": "0: pictures are no tokens here."})


class UsageSchema(Schema):
    """What was used."""

    total_tokens = fields.Integer(metadata={"description": "Their sum."})
    input_tokens = fields.Integer(metadata={"description": "Tokens of the prompt."})
    input_tokens_details = fields.Nested(TokenDetailsSchema, metadata={"description": "The same by kind."})
    output_tokens = fields.Integer(metadata={"description": "0: pictures are no tokens here."})


class ImagesSchema(Schema):
    """The pictures of a request."""

    created = fields.Integer(metadata={"description": "When they were done, Unix time in seconds."})
    data = fields.List(fields.Nested(PictureDataSchema), metadata={"description": "The pictures, in their order."})
    background = fields.String(metadata={"description": "opaque."})
    output_format = fields.String(metadata={"description": "The files' type.", "enum": ["png", "jpeg", "webp"]})
    quality = fields.String(metadata={"description": "In their words.", "enum": list(QUALITIES[1:6])})
    size = fields.String(metadata={"description": "Width and height of the first picture."})
    safety_identifier = fields.String(metadata={"description": "As it was sent, if it was."})
    usage = fields.Nested(UsageSchema, metadata={"description": "Tokens of the prompt."})


class ModelSchema(Schema):
    """Something that `model` may name."""

    id = fields.String(metadata={"description": "Its name."})
    object = fields.Constant("model", metadata={"description": "What this is.", "type": "string"})
    created = fields.Integer(metadata={"description": "When its file was last changed, Unix time in seconds; else 0."})
    owned_by = fields.String(metadata={"description": "This program."})


class ModelListSchema(Schema):
    """All that `model` may name."""

    object = fields.Constant("list", metadata={"description": "What this is.", "type": "string"})
    data = fields.List(fields.Nested(ModelSchema), metadata={"description": "Checkpoints, presets, aliases."})


class ImagesErrorSchema(Schema):
    """Why a request failed."""

    message = fields.String(metadata={"description": "What went wrong, and what would work."})
    type = fields.String(metadata={"description": "Whose fault it is."})
    param = fields.String(allow_none=True, metadata={"description": "The member that is wrong."})
    code = fields.String(allow_none=True, metadata={"description": "What is wrong, in a word."})


class ImagesFailureSchema(Schema):
    """The answer of a request that failed."""

    error = fields.Nested(ImagesErrorSchema, required=True, metadata={"description": "Why."})


def form(*pictures: str) -> dict[str, Any]:
    """A request as a form, for the OpenAPI document: these parts are files."""
    files = {name: {"type": "string", "format": "binary", "description": "The picture's file."} for name in pictures}
    shape = {
        "type": "object",
        "description": "Any member as a part of its name. Several pictures are several parts image[].",
        "properties": files,
        "additionalProperties": {"type": "string"},
    }
    return {MULTIPART: {"schema": shape}}
