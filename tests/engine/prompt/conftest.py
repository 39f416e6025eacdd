"""A request reduced to what the prompt stage reads."""

import dataclasses

import pytest

from engine.params import GenerateParams

EMPTY = {"str": "", "bool": False, "int": 0, "float": 0.0}


@pytest.fixture
def request_of():
    """`request_of(prompt=…, …)` gives a request with these members; the others are empty."""

    def build(**members):
        blank = {field.name: EMPTY.get(field.type) for field in dataclasses.fields(GenerateParams)}
        usual = {"performance_selection": "Speed", "style_selections": (), "loras": (), "image_number": 1}
        return GenerateParams(**blank | usual | members)

    return build
