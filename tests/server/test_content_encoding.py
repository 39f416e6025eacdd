"""Bodies that come packed: read as if they were not, within the same limits."""

import gzip
import io
import json
import zlib

import pytest

from fooocus_flask.errors import FooocusError
from fooocus_flask.server.content_encoding import ALWAYS, BrokenBody, unpacked
from tests.serving import GENERATE, small

BODY = json.dumps(small(async_process=True, prompt="a packed cat")).encode()


def raw(data):
    """zlib's stream without its head, which some clients call deflate."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP, identity", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw),
        ("gzip", lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:])),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_a_packed_body_is_read(client, coding, pack):
    reply = client.post(GENERATE, data=pack(BODY), headers={"Content-Encoding": coding})
    assert reply.status_code == 200 and reply.json["req_params"]["prompt"] == "a packed cat"


def test_a_packed_form_is_read_too(client):
    form = b'--x\r\nContent-Disposition: form-data; name="json"\r\n\r\n' + BODY + b"\r\n--x--\r\n"
    headers = {"Content-Encoding": "gzip", "Content-Type": "multipart/form-data; boundary=x"}
    assert client.post(GENERATE, data=gzip.compress(form), headers=headers).status_code == 200


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "no such\u00e9"])
def test_other_codings_are_refused_with_those_that_work(client, coding):
    reply = client.post(GENERATE, data=BODY, headers={"Content-Encoding": coding})
    assert reply.status_code == 415 and "gzip or deflate" in reply.json["detail"]
    assert reply.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", BODY),
        ("gzip", gzip.compress(BODY)[:-9]),
        ("deflate", b"\x78\x9c" + BODY),
        ("gzip", gzip.compress(BODY) + b"x"),
    ],
    ids=["not packed", "cut short", "not deflated", "with more behind it"],  # what is packed tells when it was
)
def test_a_body_that_is_not_what_it_says_is_told(client, coding, data):
    reply = client.post(GENERATE, data=data, headers={"Content-Encoding": coding})
    assert reply.status_code == 400 and "Content-Encoding" in reply.json["detail"]


def test_a_bomb_ends_as_too_large(client):
    bomb = gzip.compress(bytes(3 * ALWAYS), 9)
    assert len(bomb) < 30_000
    reply = client.post(GENERATE, data=bomb, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 413 and "Unpacked" in reply.json["detail"]


def test_the_limit_of_a_body_counts_what_it_holds(make_app):
    client = make_app(MAX_CONTENT_LENGTH=1000).test_client()
    large = json.dumps(small(prompt="cat " * 300)).encode()
    reply = client.post(GENERATE, data=gzip.compress(large), headers={"Content-Encoding": "gzip"})
    assert (reply.status_code, reply.json["detail"]) == (413, "Unpacked, the request body is larger than 1000 bytes")


def test_no_more_is_unpacked_than_is_read():
    stream = unpacked(io.BytesIO(gzip.compress(bytes(ALWAYS))), "gzip", None)
    assert len(stream.read(10)) == 10 and sum(map(len, iter(lambda: stream.read(1 << 20), b""))) == ALWAYS - 10
    bomb = unpacked(io.BytesIO(gzip.compress(bytes(4 * ALWAYS))), "gzip", None)
    with pytest.raises(FooocusError, match="larger than"):
        bomb.read()
    with pytest.raises(BrokenBody):
        unpacked(io.BytesIO(b"PK"), "gzip", None).read()
    assert unpacked(io.BytesIO(b""), "gzip", None).read() == b""
