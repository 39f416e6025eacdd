"""Asks by LiteLLM, as its proxy does for whoever asks that; prints what came of it."""

import io
import json
import os
import sys

import litellm
from PIL import Image

PLACE = {"api_base": os.environ["BASE_URL"] + "/v1", "api_key": os.environ["KEY"]}
EXTRA = {"seed": 7, "steps": 1}

file = io.BytesIO()
Image.effect_noise((128, 128), 90).convert("RGB").save(file, "PNG")
file.seek(0)
drawn = litellm.image_generation("a cat", model="openai/toy", size="64x64", n=2, extra_body=EXTRA, **PLACE)
edited = litellm.image_edit(image=[file], prompt="a red apple", model="openai/base", extra_body=EXTRA, **PLACE)
found = {
    "drawn": [bool(one.b64_json) for one in drawn.data],
    "edited": [bool(one.b64_json) for one in edited.data],
    "tokens": drawn.usage.input_tokens,
}
json.dump(found, sys.stdout)
