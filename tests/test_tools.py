"""Masks and descriptions: what they take is checked, though they are not built yet."""

import io

import pytest

from fooocus_flask import create_app

MASK, DESCRIBE = "/v1/tools/generate_mask", "/v1/tools/describe-image"


@pytest.fixture
def client(tmp_path):
    return create_app(INSTANCE=tmp_path).test_client()


def faults(reply):
    """The faults of a 422: (type, place) pairs."""
    assert reply.status_code == 422
    return [(fault["type"], fault["loc"]) for fault in reply.json["detail"]]


@pytest.mark.parametrize("path", [MASK, DESCRIBE])
def test_a_good_request_is_told_that_this_is_not_built(client, path):
    reply = client.post(path, json={"image": "iVBORw0KGgo="})
    assert reply.status_code == 501
    assert "not available yet" in reply.json["detail"]


@pytest.mark.parametrize("path", [MASK, DESCRIBE])
def test_a_request_without_a_picture_is_refused(client, path):
    assert faults(client.post(path, json={})) == [("missing", ["body", "image"])]
    assert faults(client.post(path)) == [("missing", ["body"])]


def test_a_mask_models_name_is_checked(client):
    reply = client.post(MASK, json={"image": "x", "mask_model": "u3net", "box_threshold": 2})
    assert sorted(faults(reply)) == [
        ("enum", ["body", "mask_model"]),
        ("less_than_equal", ["body", "box_threshold"]),
    ]


def test_a_picture_may_come_as_a_file(client):
    reply = client.post(DESCRIBE, data={"image": (io.BytesIO(b"bytes"), "cat.png"), "image_type": "Anime"})
    assert reply.status_code == 501


def test_a_form_without_a_file_is_refused(client):
    reply = client.post(DESCRIBE, data={"image_type": "Anime"}, content_type="multipart/form-data")
    assert faults(reply) == [("missing", ["body", "image"])]


def test_the_kind_of_picture_is_checked_wherever_it_stands(client):
    picture = {"image": "x"}
    assert client.post(f"{DESCRIBE}?image_type=Anime", json=picture).status_code == 501
    assert faults(client.post(f"{DESCRIBE}?image_type=Cat", json=picture)) == [("enum", ["query", "image_type"])]
    assert faults(client.post(DESCRIBE, json=picture | {"image_type": "Cat"})) == [("enum", ["body", "image_type"])]
