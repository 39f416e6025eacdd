"""The generation request takes what the contract says, and nothing else."""

import dataclasses
import json
from pathlib import Path

import pytest
from marshmallow import ValidationError, fields

from engine.params import MAX_SEED, GenerateParams
from schemas.control import ControlSchema
from schemas.faults import flat
from schemas.generate import DEFAULTS, EnhanceStepSchema, GenerateSchema, ImagePromptSchema, LoraSchema, shipped_styles
from schemas.submission import SubmissionSchema
from schemas.tasks import TasksQuerySchema
from schemas.tools import DescribeQuerySchema, DescribeSchema, MaskSchema, ReadMetadataSchema
from tests.processor_time import processor_time

CONTRACT = json.loads(Path(__file__).with_name("contract.json").read_text("utf-8"))
SCHEMAS = {
    "CommonRequest": GenerateSchema,
    "Lora": LoraSchema,
    "ImagePrompt": ImagePromptSchema,
    "EnhanceCtrlNets": EnhanceStepSchema,
    "GenerateMaskRequest": MaskSchema,
    "DescribeImageRequest": DescribeSchema,
}
MEMBERS = [(shape, name) for shape, members in CONTRACT.items() for name in members]
each_member = pytest.mark.parametrize(("shape", "name"), MEMBERS, ids=[f"{shape}.{name}" for shape, name in MEMBERS])

STRICTER = {  # the bounds that this project adds to the contract
    "image_seed": (-1, MAX_SEED),
    "overwrite_step": (-1, 200),
    "overwrite_switch": (-1, 200),
}
OTHER_DEFAULTS = {("Lora", "enabled"): True}
"""Where this project departs from the contract's default: docs/compatibility.md says why."""


def load(shape, **members):
    """Load one shape, its required members filled in."""
    required = {"image": "iVBORw0KGgo="} if shape.endswith("Request") and shape != "CommonRequest" else {}
    return SCHEMAS[shape]().load(required | members)


def faults(shape="CommonRequest", **members):
    """The faults of these members: (type, place) pairs."""
    with pytest.raises(ValidationError) as caught:
        load(shape, **members)
    return sorted(((fault.type, fault.loc) for fault in flat(caught.value.messages, ())), key=str)


def test_every_member_of_the_contract_is_there_and_no_other():
    assert {shape: set(members) for shape, members in CONTRACT.items()} == {
        shape: set(schema().fields) for shape, schema in SCHEMAS.items()
    }


def test_the_engine_gets_every_member_but_the_one_without_a_meaning():
    fields = {field.name for field in dataclasses.fields(GenerateParams)}
    assert set(DEFAULTS) == fields == set(CONTRACT["CommonRequest"]) - {"inpaint_mask_upload_checkbox"}


@each_member
def test_a_member_has_the_default_of_the_contract(shape, name):
    told = SCHEMAS[shape]().fields[name]
    if not told.required:
        assert told.absent == OTHER_DEFAULTS.get((shape, name), CONTRACT[shape][name]["default"])


@each_member
def test_a_member_has_a_description(shape, name):
    assert SCHEMAS[shape]().fields[name].metadata["description"].endswith(".")


@each_member
def test_a_number_is_taken_at_its_bounds_and_refused_beyond_them(shape, name):
    member = CONTRACT[shape][name]
    least, most = STRICTER.get(name, (member["min"], member["max"]))
    if least is not None:
        assert load(shape, **{name: least})[name] == least
        assert faults(shape, **{name: least - 1}) == [("greater_than_equal", (name,))]
    if most is not None:
        assert load(shape, **{name: most})[name] == most
        assert faults(shape, **{name: most + 1}) == [("less_than_equal", (name,))]


@each_member
def test_every_word_of_an_enumeration_is_taken_and_no_other(shape, name):
    for word in CONTRACT[shape][name].get("enum", ()):
        assert load(shape, **{name: word})[name] == word
    if "enum" in CONTRACT[shape][name]:
        assert faults(shape, **{name: "no such word"}) == [("enum", (name,))]


@each_member
def test_a_value_of_another_kind_is_refused_in_the_words_of_the_contract(shape, name):
    kind = CONTRACT[shape][name]["type"]
    word = {
        "string": "enum" if "enum" in CONTRACT[shape][name] else "string_type",
        "integer": "int_parsing",
        "number": "float_parsing",
        "boolean": "bool_parsing",
        "array": "list_type",
    }[kind]
    assert faults(shape, **{name: {"an": "object"}}) == [(word, (name,))]
    if kind == "string":
        assert faults(shape, **{name: 5}) == [(word, (name,))]


@each_member
def test_null_is_taken_where_the_contract_takes_it(shape, name):
    member = CONTRACT[shape][name]
    if member["nullable"]:
        load(shape, **{name: None})
    elif name not in ("refiner_model_name", "base_model_name", "vae_name", "model_name", "save_name"):
        assert len(faults(shape, **{name: None})) == 1


@pytest.mark.parametrize("text", ["3", " 3 ", "3.0", 3.0, 3])
def test_an_integer_may_come_as_a_numeric_string_or_a_whole_float(text):
    assert load("CommonRequest", image_number=text) == {"image_number": 3}


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (2.5, "int_from_float"),
        ("2.5", "int_parsing"),
        ("", "int_parsing"),
        ("9" * 5000, "int_parsing"),
        (10**400, "less_than_equal"),
    ],
)
def test_an_integer_is_not_made_of_a_fraction_or_of_something_else(value, word):
    assert faults(image_number=value) == [(word, ("image_number",))]


@pytest.mark.parametrize("value", ["NaN", "inf", float("nan"), float("inf"), 10**400, "1e999", "1,5"])
def test_a_number_is_finite(value):
    assert faults(freeu_b1=value) == [("float_parsing", ("freeu_b1",))]


@pytest.mark.parametrize("word", ["true", "YES", "On", "1", "t", "Y", 1, 1.0, True])
def test_words_for_true(word):
    assert load("CommonRequest", disable_preview=word) == {"disable_preview": True}


@pytest.mark.parametrize("word", ["false", "NO", "Off", "0", "f", "N", 0, 0.0, False])
def test_words_for_false(word):
    assert load("CommonRequest", disable_preview=word) == {"disable_preview": False}


def test_unknown_members_are_ignored_at_every_depth():
    sent = {"colour": 1, "loras": [{"colour": 1}], "enhance_ctrls": [{"colour": 1}]}
    loaded = load("CommonRequest", **sent)
    assert set(loaded) == {"loras", "enhance_ctrls"}
    assert "colour" not in loaded["loras"][0] and "colour" not in loaded["enhance_ctrls"][0]


def test_all_faults_are_told_at_once_each_at_its_place():
    assert faults(image_number=0, prompt=1, loras=[{"weight": 3, "enabled": "perhaps"}, 7]) == [
        ("bool_parsing", ("loras", 0, "enabled")),
        ("greater_than_equal", ("image_number",)),
        ("less_than_equal", ("loras", 0, "weight")),
        ("model_attributes_type", ("loras", 1)),
        ("string_type", ("prompt",)),
    ]


def test_a_lora_is_used_unless_it_is_switched_off():
    named = {"model_name": "a.safetensors"}
    loras = load("CommonRequest", loras=[{}, named, named | {"enabled": False}])["loras"]
    assert loras[0] == {"enabled": True, "model_name": "None", "weight": 0.5}
    assert [lora["enabled"] for lora in loras[1:3]] == [True, False]


@pytest.mark.parametrize(("name", "longest"), [("loras", 5), ("controlnet_image", 4), ("enhance_ctrls", 3)])
def test_a_list_is_filled_up_and_never_cut(name, longest):
    assert len(load("CommonRequest", **{name: []})[name]) == longest
    assert faults(**{name: [{}] * (longest + 1)}) == [("too_long", (name,))]


@pytest.mark.parametrize(
    ("kind", "stop", "weight"),
    [("ImagePrompt", 0.5, 0.6), ("FaceSwap", 0.9, 0.75), ("PyraCanny", 0.5, 1.0), ("CPDS", 0.5, 1.0)],
)
def test_null_takes_the_value_that_suits_the_kind_of_control_image(kind, stop, weight):
    loaded = load("ImagePrompt", cn_type=kind, cn_stop=None, cn_weight=None)
    assert (loaded["cn_stop"], loaded["cn_weight"]) == (stop, weight)


@pytest.mark.parametrize("word", [None, "", "None", "none", "null", "string"])
def test_the_words_for_no_image(word):
    assert load("CommonRequest", uov_input_image=word) == {"uov_input_image": None}


def test_a_tool_needs_a_picture():
    assert faults("GenerateMaskRequest", image="None") == [("missing", ("image",))]
    with pytest.raises(ValidationError):
        MaskSchema().load({})


@pytest.mark.parametrize("size", ["1152*896", "1152×896", "64*2048", "512*520"])
def test_sizes_that_can_be_drawn(size):
    assert load("CommonRequest", aspect_ratios_selection=size)["aspect_ratios_selection"] == size


@pytest.mark.parametrize(
    "size",
    ["1152x896", "1152X896", "1152 * 896", " 1152 × 896 ", '1152×896 <span style="color: grey;"> \u2223 9:7</span>'],
)
def test_sizes_are_read_as_people_write_them(size):
    assert load("CommonRequest", aspect_ratios_selection=size)["aspect_ratios_selection"] == "1152*896"


@pytest.mark.parametrize(
    "size", ["1024/1024", "1024×1024 9:7", "1000*1001", "56*1024", "2056*1024", "1024", "", "1024*-8", "١٠٢٤*1024"]
)
def test_sizes_that_cannot(size):
    assert faults(aspect_ratios_selection=size) == [("enum", ("aspect_ratios_selection",))]


@pytest.mark.parametrize(("side", "taken"), [(-1, True), (0, True), (64, True), (1, False), (100, False)])
def test_an_overwritten_side_is_one_that_can_be_drawn(side, taken):
    if taken:
        assert load("CommonRequest", overwrite_width=side) == {"overwrite_width": side}
    else:
        assert faults(overwrite_width=side) == [("multiple_of", ("overwrite_width",))]


@pytest.mark.parametrize("name", ["cat", "a cat", "猫", "../pets/cat", None, "", "v1.2"])
def test_names_a_file_may_get(name):
    assert load("CommonRequest", save_name=name) == {"save_name": name}


@pytest.mark.parametrize(
    "name",
    ["/etc/cat", "../../cat", "../cat", "..", ".cat", "../.pets/cat", "a/b", "a\\b", "a\nb", "x" * 201],
)
def test_names_that_lead_elsewhere(name):
    assert faults(save_name=name) == [("string_pattern_mismatch", ("save_name",))]


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "http://", "https:///x", "http://a b"])
def test_a_webhook_is_a_web_address(url):
    assert faults(webhook_url=url) == [("string_pattern_mismatch", ("webhook_url",))]


def test_other_spellings_are_taken():
    sent = {"output_format": "JPG", "metadata_scheme": "a111", "current_tab": "outpaint", "refiner_model_name": None}
    assert load("CommonRequest", **sent) == {
        "output_format": "jpg",
        "metadata_scheme": "a1111",
        "current_tab": "inpaint",
        "refiner_model_name": "None",
    }


def test_every_style_is_taken_and_an_unknown_one_is_told_with_its_neighbours():
    assert load("CommonRequest", style_selections=list(shipped_styles()))
    with pytest.raises(ValidationError) as caught:
        load("CommonRequest", style_selections=["Fooocus V2", "Fooocus Enhanse"])
    (fault,) = flat(caught.value.messages, ())
    assert fault.loc == ("style_selections", 1)
    assert "Fooocus Enhance" in fault.msg


def test_half_of_a_surrogate_pair_is_no_text():
    assert faults(prompt="\ud83d") == [("string_unicode", ("prompt",))]
    assert faults(uov_input_image="/inputs/\ud800.png") == [("string_unicode", ("uov_input_image",))]


@pytest.mark.parametrize("distances", [[1], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_there_are_four_outpaint_distances(distances):
    assert faults(outpaint_distance=distances)[0][1] == ("outpaint_distance",)
    assert load("CommonRequest", outpaint_distance=[]) == {"outpaint_distance": [0, 0, 0, 0]}


def texts(schema, path=()):
    """Every member of a schema that takes a text, with those of its lists and of the objects in them."""
    for name, field in schema.fields.items():
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested):
            yield from texts(inner.schema, (*path, name))
        elif isinstance(inner, fields.String):
            yield ".".join((*path, name)), inner


REQUESTS = (
    *(SubmissionSchema, ControlSchema, TasksQuerySchema, MaskSchema, DescribeSchema, DescribeQuerySchema),
    ReadMetadataSchema,
)


@pytest.mark.parametrize("schema", REQUESTS)
def test_every_text_has_a_longest_length_or_is_one_of_a_few_words(schema):
    unbounded = [name for name, field in texts(schema()) if not {"maxLength", "enum"} & field.metadata.keys()]
    assert unbounded == []


@pytest.mark.parametrize("schema", REQUESTS)
def test_every_list_has_a_longest_length(schema):
    lists = [field for field in schema().fields.values() if isinstance(field, fields.List)]
    assert all(field.metadata["maxItems"] for field in lists)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "inpaint_additional_prompt"])
def test_a_prompt_is_taken_at_its_bounds_and_told_them_beyond(name):
    assert load("CommonRequest", **{name: "a" * 20_000})
    assert load("CommonRequest", **{name: "\n".join(["a cat"] * 64)})
    assert load("CommonRequest", **{name: "(" * 50 + ")" * 50 + "(a)" * 100 + r"\(" * 100 + "[[a, b]]" * 100})
    assert faults(**{name: "a" * 20_001}) == [("string_too_long", (name,))]
    assert faults(**{name: "\n".join(["a cat"] * 65)}) == [("too_many_lines", (name,))]
    assert faults(**{name: "(" * 51}) == [("too_deep", (name,))]
    assert faults(**{name: "a [" * 51}) == [("too_deep", (name,))]


def test_the_refusal_of_a_long_text_says_what_would_work():
    with pytest.raises(ValidationError) as caught:
        load("CommonRequest", prompt="a" * 20_001)
    (fault,) = flat(caught.value.messages, ())
    assert fault.msg == "Input should have at most 20000 characters, not 20001"
    assert fault.ctx == {"max_length": 20000, "actual_length": 20001}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uov_input_image", "http://host/" + "a" * 2048),
        ("uov_input_image", "/inputs/" + "a" * 2048),
        ("uov_input_image", "A" * 30_000_001),
        ("base_model_name", "a" * 257),
        ("preset", "a" * 257),
    ],
)
def test_other_texts_are_as_long_as_people_need_them(name, text):
    assert faults(**{name: text}) == [("string_too_long", (name,))]
    load("CommonRequest", uov_input_image="data:image/png;base64," + "A" * 100_000)
    load("CommonRequest", uov_input_image="/9j/" + "A" * 100_000)


@pytest.mark.parametrize("name", ["style_selections", "outpaint_selections", "loras", "controlnet_image"])
def test_a_list_is_measured_before_its_items(name):
    assert faults(**{name: [None] * 10_000}) == [("too_long", (name,))]


def test_suggestions_are_made_for_the_first_of_many_misspelt_styles():
    with pytest.raises(ValidationError) as caught, processor_time(5.0):  # a second for 3 of 500, minutes for all
        load("CommonRequest", style_selections=["Fooocus Enhanse" + "x" * 200] * 400 + ["Fooocus Enhanse"])
    assert len(list(flat(caught.value.messages, ()))) == 401
    with pytest.raises(ValidationError) as caught:
        load("CommonRequest", style_selections=["Fooocus Enhanse"] * 5)
    assert [bool(fault.ctx["expected"]) for fault in flat(caught.value.messages, ())] == [True] * 3 + [False] * 2
