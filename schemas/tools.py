"""Masks and descriptions of pictures."""

from __future__ import annotations

from marshmallow import Schema, fields

from engine import choices
from schemas import synonyms
from schemas.fields import Choice, FilledSchema, Flag, Image, Number, Text, Whole
from schemas.generate import LONGEST_SEARCH
from schemas.prompts import PromptText
from schemas.spelling import SpellChecked

PICTURE_EXAMPLE = {"image": "https://example.org/cat.png"}
PROMPT_EXAMPLE = {"prompt": "a cat on a mat"}


class MaskSchema(SpellChecked, FilledSchema):
    """What to find in a picture, and with which model."""

    synonyms = synonyms.PICTURE
    example = PICTURE_EXAMPLE

    image = Image("The picture.", required=True)
    mask_model = Choice("The model that finds it.", choices.MASK_MODELS, default="isnet-general-use")
    cloth_category = Choice("Which clothes; for u2net_cloth_seg.", choices.CLOTH_CATEGORIES, default="full")
    dino_prompt_text = Text("What to look for, in the singular; for sam.", longest=LONGEST_SEARCH, default="")
    sam_model = Choice("Size of the SAM model; for sam.", choices.SAM_MODELS, default="vit_b")
    box_threshold = Number("How sure a box must be; for sam.", 0, 1, default=0.3)
    text_threshold = Number(
        "No effect: it chooses the words for what is found, and those change no mask.", 0, 1, default=0.25
    )
    sam_max_detections = Whole("Most things to take, 0: all; for sam.", 0, 10, default=0)
    dino_erode_or_dilate = Number("Grow or shrink the boxes, in pixels.", -64, 64, default=0)
    dino_debug = Flag("Return the boxes in place of the mask.", default=False)


class DescribeSchema(SpellChecked, FilledSchema):
    """A picture to describe."""

    synonyms = synonyms.PICTURE
    example = PICTURE_EXAMPLE

    image = Image("The picture.", required=True)
    image_type = Choice(
        "Photo gives a sentence, Anime a list of tags. As a query parameter it counts where the body has none.",
        choices.DESCRIBE_TYPES,
        default="Photo",
    )


class ReadMetadataSchema(SpellChecked, FilledSchema):
    """A picture whose parameters are wanted."""

    synonyms = synonyms.PICTURE
    example = PICTURE_EXAMPLE

    image = Image("The picture.", required=True)


class CountTokensSchema(SpellChecked, FilledSchema):
    """A prompt whose length is wanted."""

    synonyms = synonyms.TEXT
    example = PROMPT_EXAMPLE

    prompt = PromptText("The prompt, as a request to draw has it.", required=True)


class PromptSizeSchema(Schema):
    """How long a prompt is for the text encoders."""

    tokens = fields.Integer(
        metadata={"description": "Tokens of the prompt; those that begin and end a chunk not counted."}
    )
    chunks = fields.Integer(metadata={"description": "Chunks that they fill, at least one for each line."})
    room = fields.Integer(metadata={"description": "Tokens that one chunk has room for."})


class MetadataSchema(Schema):
    """The parameters that a picture carries."""

    metadata_scheme = fields.String(
        allow_none=True,
        metadata={
            "description": "fooocus, a1111, comfyui, invokeai, swarmui, novelai or ruinedfooocus; null: the picture "
            "carries none of these."
        },
    )
    parameters = fields.Raw(
        metadata={"type": "object", "description": "Members of a generation request that draws such a picture again."}
    )
    raw = fields.Raw(
        metadata={"type": ["object", "null"], "description": "What was read, under the names that Fooocus writes."}
    )
    notes = fields.List(
        fields.String(), metadata={"description": "What could not be taken over into parameters, and why."}
    )


class DescribeQuerySchema(FilledSchema):
    """The kind of picture, beside the body."""

    image_type = Choice("Photo gives a sentence, Anime a list of tags.", choices.DESCRIBE_TYPES, default="Photo")


class DescriptionSchema(Schema):
    """What the picture shows."""

    describe = fields.String(metadata={"description": "A sentence (Photo) or tags with commas between them (Anime)."})
