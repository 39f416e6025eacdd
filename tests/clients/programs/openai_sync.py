"""Asks by the `openai` package as people write it, with its strictest reading of answers; prints what came of it."""

import base64
import hashlib
import io
import json
import os
import sys

import openai
from PIL import Image, ImageDraw

client = openai.OpenAI(
    base_url=os.environ["BASE_URL"] + "/v1", api_key=os.environ["KEY"], _strict_response_validation=True
)
SMALL = {"seed": 7, "steps": 2, "style_selections": []}
ONE_STEP = {"seed": 7, "steps": 1}
QUICK = {"model": "toy", "prompt": "a cat", "size": "64x64", "extra_body": SMALL}


def digest(text):
    """The picture's hash."""
    return hashlib.sha256(base64.b64decode(text)).hexdigest()


def png(name, clear=None):
    """A picture's file, transparent inside a box."""
    image = Image.effect_noise((128, 128), 90).convert("RGBA")
    image.putalpha(255)
    if clear:
        ImageDraw.Draw(image).rectangle(clear, fill=(0, 0, 0, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    return name, file.getvalue(), "image/png"


def generated():
    """Pictures of a text."""
    answer = client.images.generate(n=2, quality="high", user="ann", **QUICK)
    assert answer.usage and answer.created and answer.data[0].url is None
    told = {"size": answer.size, "quality": answer.quality, "input_tokens": answer.usage.input_tokens}
    return told | {"pictures": [digest(one.b64_json) for one in answer.data], "id": answer._request_id}


def streamed():
    """The events of a stream."""
    events = [*client.images.generate(stream=True, partial_images=2, **QUICK)]
    return [(event.type, event.size, digest(event.b64_json)) for event in events]


def edited():
    """Edits of one picture, of several, and of a part."""
    asked = {"model": "base", "prompt": "a red apple", "extra_body": ONE_STEP}
    builtin = asked | {"model": "fooocus_mini"}
    one, other, mask = png("one.png"), png("other.png"), png("mask.png", clear=(32, 32, 96, 96))
    answers = {
        "one": client.images.edit(image=one, **asked),
        "many": client.images.edit(image=[one, other], **builtin),
        "mask": client.images.edit(image=one, mask=mask, **builtin),
    }
    events = [*client.images.edit(image=one, mask=mask, stream=True, **asked)]
    told = {name: answer.data[0].b64_json is not None for name, answer in answers.items()}
    return told | {"stream": [event.type for event in events]}


def varied():
    """A picture like another one."""
    answer = client.images.create_variation(image=png("one.png"), extra_body=ONE_STEP, model="base")
    return len(answer.data)


def listed():
    """Models."""
    names = [model.id for model in client.models.list()]
    return {"names": names, "one": client.models.retrieve("toy.safetensors").owned_by}


def refused(**changes):
    """The class of the error, and what it tells."""
    try:
        client.images.generate(**QUICK | changes)
    except openai.APIStatusError as error:
        return type(error).__name__, error.status_code, error.code, error.param
    return None


def unknown_key():
    """The class of the error with another key."""
    try:
        client.with_options(api_key="wrong").models.list()
    except openai.APIStatusError as error:
        return type(error).__name__, error.code


found = {
    "generated": generated(),
    "raw": dict(client.images.with_raw_response.generate(**QUICK).headers),
    "streamed": streamed(),
    "edited": edited(),
    "varied": varied(),
    "listed": listed(),
    "bad_size": refused(size="100x100"),
    "bad_model": refused(model="no-such-model"),
    "transparent": refused(background="transparent"),
    "unknown_key": unknown_key(),
}
json.dump(found, sys.stdout)
