"""Picture files: conversion, conditions, ranges, tokens, and nothing outside their folder."""

import io
from pathlib import Path

import gevent
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fooocus_flask.following import responses
from fooocus_flask.pictures.decoding import room
from fooocus_flask.tasks.queue import find
from tests.conftest import picture
from tests.patience import patience

pytestmark = pytest.mark.pictures

CAT = "/outputs/2024-07-05/cat.png"


@pytest.fixture
def cat(app):
    """A picture with its parameters inside."""
    path = Path(app.config["OUTPUT_PATH"]) / "2024-07-05" / "cat.png"
    path.parent.mkdir(parents=True)
    texts = PngInfo()
    texts.add_text("parameters", '{"prompt": "a cat"}')
    texts.add_text("fooocus_scheme", "fooocus")
    Image.new("RGBA", (32, 16), (255, 0, 0, 128)).save(path, pnginfo=texts)
    return path


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "image/*", "application/webp", "image/png, image/webp"])
def test_a_picture_is_sent_as_it_is(client, cat, accept):
    reply = client.get(CAT, headers={"Accept": accept} if accept else {})
    assert (reply.status_code, reply.mimetype, reply.data) == (200, "image/png", cat.read_bytes())
    assert reply.headers["Vary"] == "Accept, Origin" and reply.headers["ETag"] and reply.headers["Last-Modified"]


@pytest.mark.parametrize(
    ("accept", "kind", "held"),
    [
        ("image/webp", "image/webp", "WEBP"),
        ("image/jpg", "image/jpeg", "JPEG"),
        ("image/jpeg;q=0.9, image/webp;q=0.5", "image/jpeg", "JPEG"),
        ("image/png;q=0.1, image/jpeg", "image/jpeg", "JPEG"),
    ],
)
def test_a_picture_is_converted_on_request(client, cat, accept, kind, held):
    reply = client.get(CAT, headers={"Accept": accept})
    converted = Image.open(io.BytesIO(reply.data))
    assert (reply.mimetype, converted.format, converted.size) == (kind, held, (32, 16))
    assert converted.getexif()[0x9286] == '{"prompt": "a cat"}'


@pytest.mark.parametrize("accept", ["image/png", "image/webp"])
def test_what_the_client_has_is_not_sent_again(client, cat, accept):
    tag = client.get(CAT, headers={"Accept": accept}).headers["ETag"]
    reply = client.get(CAT, headers={"Accept": accept, "If-None-Match": tag})
    assert (reply.status_code, reply.data) == (304, b"")
    other = {"image/png": "image/webp", "image/webp": "image/png"}[accept]
    assert client.get(CAT, headers={"Accept": other, "If-None-Match": tag}).status_code == 200


def test_a_conversion_waits_for_its_turn_wherever_it_is_asked_for(app, client, cat, add):
    with app.app_context():
        task = find(add(pictures=1))

    def drawn():
        with app.test_request_context():
            return responses.picture(task, "image/webp").data

    for answer in (lambda: client.get(CAT, headers={"Accept": "image/webp"}).data, drawn):
        with room.of(room.size):
            asked = gevent.spawn(answer)
            with pytest.raises(gevent.Timeout):
                asked.get(timeout=0.3)
        with patience():
            assert Image.open(io.BytesIO(asked.get())).format == "WEBP"


@pytest.mark.parametrize("accept", ["image/png", "image/webp"])
def test_head_tells_what_get_would(client, cat, accept):
    whole = client.get(CAT, headers={"Accept": accept})
    head = client.head(CAT, headers={"Accept": accept})
    assert (head.status_code, head.data) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("accept", ["image/png", "image/webp"])
def test_a_cache_asks_before_it_hands_a_picture_on(client, cat, accept):
    assert client.get(CAT, headers={"Accept": accept}).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("accept", ["image/png", "image/webp"])
def test_a_part_can_be_had(client, cat, accept):
    whole = client.get(CAT, headers={"Accept": accept}).data
    reply = client.get(CAT, headers={"Accept": accept, "Range": "bytes=4-9"})
    assert (reply.status_code, reply.data) == (206, whole[4:10])


@pytest.mark.parametrize("accept", ["image/png", "image/webp"])
def test_several_parts_are_answered_with_the_whole(client, cat, accept):
    whole = client.get(CAT, headers={"Accept": accept}).data
    reply = client.get(CAT, headers={"Accept": accept, "Range": "bytes=0-3, 8-11"})
    assert (reply.status_code, reply.data) == (200, whole)


def test_inputs_are_served_too(app, client):
    folder = Path(app.config["INPUT_PATH"])
    folder.mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / f"{'0' * 64}.png")
    assert client.get(f"/inputs/{'0' * 64}.png").mimetype == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        "/outputs/../db.png",
        "/outputs/%2e%2e/secret.png",
        "/outputs/2024-07-05/..%2f..%2fsecret.png",
        "/outputs/2024-07-05/link.png",
        "/outputs/2024-07-05/note.html",
        "/outputs/2024-07-05/nothing.png",
        "/outputs/2024-07-05/folder.png",
        "/inputs/.",
        "/inputs/..",
        "/inputs/nothing.png",
    ],
)
def test_what_is_no_picture_inside_the_folder_is_not_found(app, client, cat, path):
    secret = Path(app.instance_path) / "secret.png"
    Image.new("L", (8, 8)).save(secret)
    (cat.parent / "link.png").symlink_to(secret)
    (cat.parent / "note.html").write_text("private")
    (cat.parent / "folder.png").mkdir()
    reply = client.get(path)
    assert reply.status_code == 404 and reply.json["detail"]


def test_names_of_any_script_are_found(app, client):
    picture(app, "猫 #1.png", folder="my pets")
    assert client.get("/outputs/my%20pets/%E7%8C%AB%20%231.png").status_code == 200


def test_with_a_key_a_file_needs_the_token_its_url_carries(make_app, tmp_path):
    app = make_app(API_KEY="secret")
    client = app.test_client()
    picture(app, "cat.png")
    with app.test_request_context():
        from fooocus_flask.pictures import urls

        (url,) = urls.pictures(["2024-07-05/cat.png"], "")
    assert client.get(url).status_code == 200
    assert client.get(CAT).status_code == 403
    assert client.get(CAT, headers={"X-API-KEY": "secret"}).status_code == 200
    assert client.get(url.replace("cat", "dog")).status_code == 403


def test_a_result_has_fooocus_apis_address_too(make_app):
    app = make_app(X_ACCEL_PREFIX="/_files")
    name = picture(app, "cat.png")
    reply = app.test_client().get(f"/files/{name}")
    assert (reply.status_code, reply.headers["X-Accel-Redirect"]) == (200, f"/_files/outputs/{name}")
    assert app.test_client().get("/files/2024-07-05/dog.png").status_code == 404
