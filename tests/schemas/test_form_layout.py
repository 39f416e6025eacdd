"""Forms: every member of a request has its place in one, and the document tells it."""

import pytest

from fooocus_flask.server.openapi import document
from schemas.form_layout import GROUPS, LAYOUTS

FORMS = ("/v1/engine/generate/", "/v1/tools/generate_mask", "/v1/tools/describe-image", "/v1/tools/read-metadata")
WORDS = {"x-group": str, "x-label": str, "x-order": int, "x-advanced": bool}


@pytest.fixture
def spec(app):
    with app.test_request_context():
        return document(app)


def shapes_of(spec, schema):
    """The names of all shapes that a request has, those in its lists too."""
    if name := schema.get("$ref", "").removeprefix("#/components/schemas/"):
        members = spec["components"]["schemas"][name].get("properties", {}).values()
        yield from [name] if members else []
        for member in members:
            yield from shapes_of(spec, member.get("items", {}))


def test_every_member_of_every_request_has_its_place_in_a_form(spec):
    bodies = [spec["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"] for path in FORMS]
    shapes = {name for body in bodies for name in shapes_of(spec, body)}
    assert len(shapes) == len(LAYOUTS) == 7
    for name in shapes:
        for member, told in spec["components"]["schemas"][name]["properties"].items():
            assert {word: type(told.get(word)) for word in WORDS} == WORDS, (name, member)
            assert told["x-group"] in spec["x-groups"], (name, member)


@pytest.mark.parametrize("shape", LAYOUTS, ids=lambda shape: shape.__name__)
def test_a_layout_names_each_member_once_and_no_other(shape):
    places = [place for group in LAYOUTS[shape] for place in group.places()]
    assert sorted(name for name, _ in places) == sorted(shape().fields)
    labels = [(place["x-group"], place["x-label"]) for _, place in places]
    assert len(set(labels)) == len(labels)


def test_every_group_has_members_and_an_order_without_gaps():
    groups = [group for groups in LAYOUTS.values() for group in groups]
    assert {group.name for group in groups} == set(GROUPS)
    for group in groups:
        places = [place for _, place in group.places()]
        assert [place["x-order"] for place in places] == list(range(len(places)))
        assert sorted(place["x-advanced"] for place in places) == [place["x-advanced"] for place in places]


def test_an_answer_has_no_place_in_a_form(spec):
    told = spec["components"]["schemas"]["TaskRecord"]["properties"]
    assert not any(word.startswith("x-") for member in told.values() for word in member)
