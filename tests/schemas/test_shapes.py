"""What the document says of a member is what the member takes: nothing more is taken, and little less."""

import jsonschema
import pytest
from marshmallow import ValidationError

from fooocus_flask import create_app
from fooocus_flask.server.openapi import document
from schemas.control import ControlSchema
from schemas.fields import FALSE_WORDS, TRUE_WORDS
from schemas.generate import EnhanceStepSchema, ImagePromptSchema, LoraSchema
from schemas.submission import SubmissionSchema
from schemas.tasks import TasksQuerySchema
from schemas.tools import DescribeSchema, MaskSchema, ReadMetadataSchema

SHAPES = {
    "Control": ControlSchema,
    "Describe": DescribeSchema,
    "EnhanceStep": EnhanceStepSchema,
    "ImagePrompt": ImagePromptSchema,
    "Lora": LoraSchema,
    "Mask": MaskSchema,
    "ReadMetadata": ReadMetadataSchema,
    "Submission": SubmissionSchema,
}
MEMBERS = [(shape, name) for shape, schema in SHAPES.items() for name in schema().fields]
each_member = pytest.mark.parametrize(("shape", "name"), MEMBERS, ids=[f"{shape}.{name}" for shape, name in MEMBERS])

NUMBERS = [-1000000, -65, -2, -1, -0.5, 0, 0.0, 0.1, 0.3, 0.5, 1, 1.0, 1.5, 2, 2.0, 7, 7.25, 31, 64, 256, 2**40, 2**70]
SPELLINGS = [
    "{}",
    " {}",
    "\t{}\n",
    "+{}",
    "0{}",
    "{}.",
    "{}.0",
    "{}.00",
    "{}e0",
    "{}E+1",
    ".{}",
    "{}_0",
    "0x{}",
    "{},0",
]
WORDS = [spell(word) for word in TRUE_WORDS | FALSE_WORDS for spell in (str, str.upper, str.title)]
TEXTS = [
    "",
    " ",
    "cat",
    "None",
    "null",
    "string",
    "NaN",
    "inf",
    "-",
    "+",
    ".",
    "e",
    " true",
    "yes ",
    "ja",
    "2",
    "٣",
    "é",
]
OTHERS = [None, True, False, [], [1], ["1"], [None], [[]], [{}], {}, {"a": 1}, [0, 0, 0, 0], ["0", "0", "0", "0"]]
VALUES = [*NUMBERS, *(spelling.format(n) for spelling in SPELLINGS for n in (0, 1, 3, 30)), *WORDS, *TEXTS, *OTHERS]

BEYOND_A_SCHEMA = {
    "enum": "names that the server knows at the time",
    "float_parsing": "a text of a number too large for one",
    "greater_than_equal": "a text of a number beyond the bounds",
    "less_than_equal": "a text of a number beyond the bounds",
    "missing": "a text that stands for no picture, where one is needed",
    "multiple_of": "a picture's side, or none",
    "string_pattern_mismatch": "a name or a URL",
    "too_short": "four distances, or none",
}
"""The faults of values that fit the document, and what they are told of."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    app = create_app(INSTANCE=tmp_path_factory.mktemp("instance"))
    with app.test_request_context():
        return document(app)


def faults(schema, name, value):
    """The types of what is wrong with a schema's member; none if it is taken."""
    try:
        schema.load({name: value})
    except ValidationError as error:
        return {fault.type for fault in leaves(error.messages)}
    return set()


def leaves(messages):
    """All faults in marshmallow's tree."""
    if isinstance(messages, dict):
        messages = list(messages.values())
    return [leaf for below in messages for leaf in leaves(below)] if isinstance(messages, list) else [messages]


def told(spec, shape, name):
    """A validator of what the document says of a member."""
    member = spec["components"]["schemas"][shape]["properties"][name]
    return jsonschema.Draft202012Validator(member | {"components": spec["components"]})


@each_member
def test_what_is_taken_is_told(spec, shape, name):
    fits, schema = told(spec, shape, name).is_valid, SHAPES[shape](only=[name])
    assert [value for value in VALUES if not fits(value) and not faults(schema, name, value)] == []


@each_member
def test_what_is_told_is_taken_but_for_what_no_schema_says(spec, shape, name):
    fits, schema = told(spec, shape, name).is_valid, SHAPES[shape](only=[name])
    refused = {fault for value in VALUES if fits(value) for fault in faults(schema, name, value)}
    assert refused <= set(BEYOND_A_SCHEMA)


@pytest.mark.parametrize("name", ["image_number", "image_seed", "sharpness", "overwrite_width", "freeu_b1"])
@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_number(name, value):
    assert faults(SubmissionSchema(only=[name]), name, value) in ({"int_parsing"}, {"float_parsing"})


def test_the_case_of_some_words_does_not_count_and_the_description_says_so(spec):
    member = spec["components"]["schemas"]["Submission"]["properties"]["output_format"]
    assert member["enum"] == ["png", "jpg", "jpeg", "webp"] and "upper or lower case" in member["description"]
    assert SubmissionSchema().load({"output_format": "PNG"}) == {"output_format": "png"}


def test_a_parameter_of_a_query_may_be_empty_and_is_a_plain_kind(spec):
    told = {parameter["name"]: parameter for parameter in spec["paths"]["/tasks"]["get"]["parameters"]}
    assert set(told) == set(TasksQuerySchema().fields)
    assert all(parameter["allowEmptyValue"] for parameter in told.values())
    assert told["page"]["schema"] == {"type": "integer", "default": 0, "minimum": 0, "maximum": 2**31}
    assert TasksQuerySchema().load(dict.fromkeys(told, "")) == TasksQuerySchema().load({})


def test_a_moment_is_no_date_time_alone(spec):
    told = {parameter["name"]: parameter["schema"] for parameter in spec["paths"]["/tasks"]["get"]["parameters"]}
    assert "format" not in told["start_at"]
    for example in told["start_at"]["examples"]:
        assert TasksQuerySchema().load({"start_at": example})["start_at"].year == 2024
