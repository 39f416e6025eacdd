"""Bodies as they are read: whole, or not at all."""

import io

import pytest
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from fooocus_flask.server.form_parser import LARGE_PIECE, Request


def request(data, length, **more):
    """A request that says that its body has this length."""
    stream = {"wsgi.input": io.BytesIO(data), "wsgi.input_terminated": True}
    return Request({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(length), **stream, **more})


@pytest.mark.parametrize("length", [0, 1, LARGE_PIECE, 2 * LARGE_PIECE + 7])
def test_a_body_is_read_whole_and_nothing_beyond_its_length(length):
    body = bytes(range(256)) * (length // 256 + 1)
    assert request(body + b"next", length).get_data() == body[:length]


@pytest.mark.parametrize("there", [0, 5, LARGE_PIECE])
def test_a_client_that_leaves_within_its_body_is_told_from_one_that_sent_all(there):
    with pytest.raises(ClientDisconnected):
        request(b"x" * there, there + 1).get_data()


def test_a_body_that_is_too_long_is_not_begun():
    sent = request(b"x" * 11, 11)
    sent.max_content_length = 10
    with pytest.raises(RequestEntityTooLarge):
        sent.get_data()
    assert sent.environ["wsgi.input"].tell() == 0
