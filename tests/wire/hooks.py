"""What schemathesis does to requests before they leave: drawing stays tiny, and some texts for pictures become one."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from typing import Any

import schemathesis
from marshmallow import Schema
from PIL import Image
from schemathesis.core.parameters import ParameterLocation

from schemas.fields import NO_IMAGE_WORDS, Bounded, Items, Object
from schemas.other_apis import openai_images
from schemas.other_apis.sdapi import ExtraImageSchema, ImageToImageSchema, TextToImageSchema
from schemas.submission import IDEMPOTENCY_HEADER, SubmissionSchema
from tests import garbage
from tests.wire.files import INPUT, OUTPUT

TINY = {
    "base_model_name": "toy.safetensors",
    "refiner_model_name": "None",
    "vae_name": "Default (model)",
    "loras": [],
    "preset": "initial",
    "aspect_ratios_selection": "64*64",
    "overwrite_width": -1,
    "overwrite_height": -1,
    "overwrite_step": 1,
    "image_number": 1,
}
"""Members that decide how long drawing takes, and names of what this server has: in force where a request is good."""

SUBMISSION = SubmissionSchema()

TINY_OF_SDAPI = {
    "steps": 1,
    "width": 64,
    "height": 64,
    "batch_size": 1,
    "n_iter": 1,
    "enable_hr": False,
    "refiner_checkpoint": None,
    "denoising_strength": 0.5,
    "upscaling_resize": 2,
    "resize_mode": 0,
    "override_settings": {"sd_model_checkpoint": "toy.safetensors"},
}
"""The same for AUTOMATIC1111's routes."""
SDAPI = {
    "/sdapi/v1/txt2img": TextToImageSchema(),
    "/sdapi/v1/img2img": ImageToImageSchema(),
    "/sdapi/v1/extra-single-image": ExtraImageSchema(),
}
LEGACY = "/generation/"
"""What the predecessor's routes that draw have in their paths, and what they call those members."""
LEGACY_TINY = {
    **{
        name: TINY[name]
        for name in ("base_model_name", "refiner_model_name", "aspect_ratios_selection", "image_number")
    },
    "loras": [],
    "advanced_params": {"overwrite_step": 1},
}
DRAWN_OF = 8

PICTURES = (
    *("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image", "image"),
    *("mask", "input_image", "input_mask"),
)
CONTROL, GENERATE = "/v1/engine/control", "/v1/engine/generate"
OPENAI = {
    "/v1/images/generations": openai_images.GenerationsSchema(),
    "/v1/images/edits": openai_images.EditsSchema(),
    "/v1/images/variations": openai_images.VariationsSchema(),
}
"""The routes of OpenAI's Images API that draw, and what each takes."""
DECIDES = ("model", "size", "n", "quality", "width", "height", "steps", "step", "num_inference_steps", "lora")
"""Their members that decide how long drawing takes."""

USED: Counter[str] = Counter()
"""How often each Idempotency-Key was made up."""


def picture() -> str:
    """A small picture in base64."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


PICTURE = picture()

garbage.settle()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Have what was made up be looked at, and drawing be short."""
    if case.path_parameters and "file_name" in case.path_parameters:
        name_a_file(case.path_parameters)
    if case.path == CONTROL and case.query and is_bad(case, ParameterLocation.BODY):
        case.query.clear()  # it goes before the body, which no document can say: a bad body would pass
    if IDEMPOTENCY_HEADER in case.headers and not is_bad(case, ParameterLocation.HEADER):
        renew_key(case)
    if isinstance(case.body, dict) and LEGACY in case.path:
        draw_few(case)
    if isinstance(case.body, dict) and case.media_type == "application/json":
        give_pictures(case.body)
        if case.path.startswith(GENERATE):
            draw_little(case.body, SUBMISSION, TINY)
        if case.path in OPENAI:
            draw_little_by(OPENAI[case.path], case.body)
        if case.path in SDAPI:
            draw_little(case.body, SDAPI[case.path], TINY_OF_SDAPI)


def draw_few(case: Any) -> None:
    """Have one in eight good requests of the predecessor's drawn, a small one; the others find no model."""
    if is_bad(case, ParameterLocation.BODY) or len(str(case.body)) % DRAWN_OF:
        return
    if case.media_type == "application/json":
        case.body.update(LEGACY_TINY)
    else:
        told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in LEGACY_TINY.items()}
        case.body.update(told)


def is_bad(case: Any, location: ParameterLocation) -> bool:
    """Whether this part of the request was made up to be refused."""
    return case.meta is not None and case.meta.is_negative_at(location)


def name_a_file(parameters: dict[str, Any]) -> None:
    """Have half of the requests for files find one."""
    if len(parameters["file_name"]) % 2:
        _, *parts = (OUTPUT if "date" in parameters else INPUT).split("/")
        parameters.update(zip(parameters, parts, strict=True))


def renew_key(case: Any) -> None:
    """Leave out a key that was used: another request with it is refused, whatever else is wrong with it.

    A good request keeps it three times in four, and is not drawn: drawing all takes twice the time.
    """
    key = case.headers[IDEMPOTENCY_HEADER]
    USED[key] += 1
    if USED[key] > 1 and (is_bad(case, ParameterLocation.BODY) or USED[key] % 4 == 0):
        del case.headers[IDEMPOTENCY_HEADER]


def give_pictures(members: dict[str, Any]) -> None:
    """Have half of the texts for pictures be one."""
    for member in PICTURES:
        sent = members.get(member)
        if isinstance(sent, str) and sent not in NO_IMAGE_WORDS and len(sent) % 2:
            members[member] = PICTURE
    sent = members.get("init_images")
    if isinstance(sent, list) and len(sent) == 1 and isinstance(sent[0], str) and sent[0] not in NO_IMAGE_WORDS:
        members["init_images"] = [PICTURE]


def draw_little(members: dict[str, Any], schema: Schema, tiny: dict[str, Any]) -> None:
    """Make a good request a small one."""
    bring_within(schema, members)
    if not schema.validate(members):
        members.update(tiny)


def draw_little_by(schema: Schema, members: dict[str, Any]) -> None:
    """Make a good request by OpenAI's API a small one."""
    bring_within(schema, members)
    if not schema.validate(members):
        for name in DECIDES:
            members.pop(name, None)
        members.update(TINY)
        if "image" in schema.fields and len(members) % 2:
            members["image"] = PICTURE


def bring_within(schema: Schema, members: dict[str, Any]) -> None:
    """Bring numbers that are texts within their bounds, which no pattern can tell: few requests would be good."""
    for name, field in schema.fields.items():
        sent = members.get(name)
        if isinstance(field, Bounded) and isinstance(sent, str) and field.text.fullmatch(sent):
            number = min(max(float(sent), field.least or 0), field.most or 1)
            members[name] = str(number if field.kind == "number" else int(number))
        elif isinstance(field, Items) and isinstance(field.inner, Object) and isinstance(sent, list):
            for part in sent:
                if isinstance(part, dict):
                    bring_within(field.inner.schema, part)
