"""A member of a request is read by something, or its description says that it has no effect."""

import ast

import pytest

from schemas.control import ControlSchema
from schemas.generate import EnhanceStepSchema, ImagePromptSchema, LoraSchema
from schemas.submission import SubmissionSchema
from schemas.tasks import TasksQuerySchema
from schemas.tools import DescribeQuerySchema, DescribeSchema, MaskSchema, ReadMetadataSchema
from tests.serving import ROOT

NO_EFFECT = "No effect: "
REQUESTS = (
    *(SubmissionSchema, LoraSchema, ImagePromptSchema, EnhanceStepSchema, ControlSchema, TasksQuerySchema),
    *(MaskSchema, DescribeSchema, DescribeQuerySchema, ReadMetadataSchema),
)
READERS = ("engine", "fooocus_flask", "blueprints")
DESCRIPTIONS = {
    f"{schema.__name__}.{name}": field.metadata["description"]
    for schema in REQUESTS
    for name, field in schema().fields.items()
}


@pytest.fixture(scope="module")
def attributes_and_texts():
    """The attributes that the code reads, and the texts in it by which it may read a member of a dictionary."""
    trees = [ast.parse(path.read_text("utf-8")) for folder in READERS for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    return attributes, {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def members(*, with_effect):
    """The members that say this of themselves, each once."""
    found = {name.split(".")[1] for name, text in DESCRIPTIONS.items() if text.startswith(NO_EFFECT) != with_effect}
    assert found
    return found


def test_a_member_that_nothing_reads_says_that_it_has_no_effect(attributes_and_texts):
    attributes, texts = attributes_and_texts
    assert members(with_effect=True) - attributes - texts == set()


def test_a_member_that_says_it_has_no_effect_is_not_read(attributes_and_texts):
    attributes, _ = attributes_and_texts
    assert members(with_effect=False) & attributes == set()


def test_the_words_for_no_effect_are_always_the_same():
    odd = [name for name, text in DESCRIPTIONS.items() if "no effect" in text.lower() and NO_EFFECT not in text]
    assert odd == []
