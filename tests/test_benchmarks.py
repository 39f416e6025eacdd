"""The benchmarks draw what a default request draws."""

import json
from pathlib import Path

from engine.params import GenerateParams
from schemas.generate import DEFAULTS

DECIDED_BY_THE_SERVER = {
    "aspect_ratios_selection",
    "loras",
    "save_name",
    "input_image_checkbox",
    "invert_mask_checkbox",
    "inpaint_advanced_masking_checkbox",
    "webhook_url",
}


def test_their_parameters_are_the_schemas_defaults():
    stored = json.loads(Path("benchmarks/default_params.json").read_text())
    params = GenerateParams.from_dict(stored)
    ours = json.loads(json.dumps(GenerateParams.from_dict({**stored, **DEFAULTS}).to_dict()))
    stored = json.loads(json.dumps(params.to_dict()))
    assert {name for name in stored if stored[name] != ours[name]} <= DECIDED_BY_THE_SERVER
