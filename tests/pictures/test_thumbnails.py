"""Small pictures of results: as wide as asked for, made once, and gone with their picture."""

import io
import os
from pathlib import Path

import gevent
import pytest
from PIL import Image

from fooocus_flask.pictures import retention, urls
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.thumbnails import thumbnails
from tests.conftest import picture
from tests.patience import patience

pytestmark = pytest.mark.pictures

CAT = "/outputs/2024-07-05/cat.png"


@pytest.fixture
def cat(app):
    """A result of 800×400 pixels."""
    return Path(app.config["OUTPUT_PATH"]) / picture(app, "cat.png", size=(800, 400))


def files(app):
    """All thumbnails, by their names below their folder."""
    folder = thumbnails.of(app).folder
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


@pytest.mark.parametrize(("width", "size"), [(160, (160, 80)), (320, (320, 160)), (640, (640, 320))])
def test_it_is_a_small_webp_as_wide_as_asked_for(app, client, cat, width, size):
    reply = client.get(f"{CAT}?w={width}")
    small = Image.open(io.BytesIO(reply.data))
    assert (reply.status_code, reply.mimetype, small.format, small.size) == (200, "image/webp", "WEBP", size)
    assert small.convert("RGB").getpixel((0, 0))[0] > 240
    assert files(app) == [f"{width}/2024-07-05/cat.png.webp"]


def test_one_that_is_narrower_keeps_its_width(app, client):
    picture(app, "narrow.png", size=(50, 2000))
    assert Image.open(io.BytesIO(client.get("/outputs/2024-07-05/narrow.png?w=320").data)).size == (50, 2000)
    picture(app, "flat.png", size=(2000, 2))
    assert Image.open(io.BytesIO(client.get("/outputs/2024-07-05/flat.png?w=160").data)).size == (160, 1)


@pytest.mark.parametrize("width", ["161", "0", "-160", "1000000", "wide", "0160"])
def test_other_widths_are_refused_with_those_there_are(app, client, cat, width):
    reply = client.get(f"{CAT}?w={width}")
    (fault,) = reply.json["detail"]
    assert (reply.status_code, fault["loc"], fault["ctx"]["expected"]) == (422, ["query", "w"], "'160', '320', '640'")
    assert files(app) == []


def test_without_a_width_it_is_the_picture(client, cat):
    assert client.get(f"{CAT}?w=").data == client.get(CAT).data == cat.read_bytes()


def test_what_the_client_has_is_neither_sent_nor_made(app, client, cat):
    reply = client.get(f"{CAT}?w=320")
    assert reply.headers["Cache-Control"] == "private, max-age=3600" and "Accept" not in reply.headers.get("Vary", "")
    thumbnails.of(app).path("2024-07-05/cat.png", 320).unlink()
    tag = {"If-None-Match": reply.headers["ETag"]}
    assert client.get(f"{CAT}?w=320", headers=tag).status_code == 304
    assert files(app) == []
    assert client.get(f"{CAT}?w=160", headers=tag).status_code == 200


def test_one_that_is_there_is_not_made_again(app, client, cat):
    client.get(f"{CAT}?w=320")
    path = thumbnails.of(app).path("2024-07-05/cat.png", 320)
    before = path.stat().st_ino
    client.get(f"{CAT}?w=320")
    assert path.stat().st_ino == before


@pytest.mark.folder("a bucket has no two pictures of one name")
def test_another_picture_of_the_same_name_gets_its_own(app, client, cat):
    red = client.get(f"{CAT}?w=160").data
    Image.new("RGB", (800, 400), "blue").save(cat)
    os.utime(cat, (1, 1))
    assert client.get(f"{CAT}?w=160").data != red


def test_several_at_once_are_made_once(app, cat):
    made = thumbnails.of(app)
    with room.of(room.size):
        asking = [gevent.spawn(made.have, cat, "2024-07-05/cat.png", 320) for _ in range(8)]
        with patience():
            while not room._waiting:
                gevent.sleep(0.01)
        assert gevent.joinall(asking, timeout=0.3) == []
        assert len(room._waiting) == 1  # one of them waits for its turn, the others for that one
    with patience():
        assert {greenlet.get() for greenlet in asking} == {made.path("2024-07-05/cat.png", 320)}


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_damaged_picture_is_told_as_such(client, cat, data):
    cat.write_bytes(data)
    reply = client.get(f"{CAT}?w=320")
    assert reply.status_code == 500 and "damaged" in reply.json["detail"]


def test_one_cut_short_is_told_as_such(client, cat):
    cat.write_bytes(cat.read_bytes()[:-200])
    assert client.get(f"{CAT}?w=320").status_code == 500


def test_a_disk_that_takes_nothing_is_told_as_such(app, client, cat):
    thumbnails.of(app).folder.write_text("in the way")
    reply = client.get(f"{CAT}?w=320")
    assert reply.status_code == 507 and "without w" in reply.json["detail"]


def test_they_are_deleted_with_their_picture(app, client, add):
    first, second = add(pictures=2), add(pictures=1)
    for task_id in (first, second):
        for url in client.get(f"/tasks/{task_id}").json["result"]:
            for width in (160, 640):
                assert client.get(f"{url.removeprefix('http://localhost')}?w={width}").status_code == 200
    assert client.delete(f"/tasks/{first}").json == {"deleted": 1, "files": 2}
    assert files(app) == [f"{width}/2024-07-05/{second}-0.png.webp" for width in (160, 640)]


def test_one_whose_picture_goes_while_it_is_made_goes_too(app, client, cat):
    with room.of(room.size):
        asking = gevent.spawn(client.get, f"{CAT}?w=320")
        with patience():
            while not room._waiting:
                gevent.sleep(0)
        cat.unlink()
    with patience():
        assert asking.get().status_code == 404
    assert files(app) == []


@pytest.mark.folder("most pictures have no copy on the disk")
def test_the_sweeper_deletes_those_whose_picture_somebody_else_deleted(app, client, cat):
    other = Path(app.config["OUTPUT_PATH"]) / picture(app, "dog.png")
    for name in ("cat", "dog"):
        client.get(f"/outputs/2024-07-05/{name}.png?w=160")
    other.unlink()
    retention.sweeper.of(app).start()
    with patience():
        while len(files(app)) > 1:
            gevent.sleep(0)
    assert files(app) == ["160/2024-07-05/cat.png.webp"]


def test_those_that_go_while_the_others_are_looked_through_do_not_end_that(app, client, cat):
    client.get(f"{CAT}?w=160")
    folder = thumbnails.of(app)
    folder.path("2024-07-05/gone.png", 160).symlink_to("nowhere")
    assert (folder.trim(10**6), folder.trim(0)) == (0, 1)


def test_it_opens_with_the_token_of_its_picture(make_app):
    app = make_app(API_KEY="secret")
    client = app.test_client()
    name = picture(app, "cat.png")
    with app.test_request_context():
        (url,) = urls.pictures([name], "")
    assert client.get(f"{url}&w=160").mimetype == "image/webp"
    assert client.get(f"{CAT}?w=160").status_code == 403
    assert client.get("/outputs/2024-07-05/dog.png?w=160").status_code == 403


def test_a_proxy_may_send_it(make_app):
    app = make_app(X_ACCEL_PREFIX="/_files")
    picture(app, "cat 1.png")
    reply = app.test_client().get("/outputs/2024-07-05/cat%201.png?w=160")
    assert reply.headers["X-Accel-Redirect"] == "/_files/thumbnails/160/2024-07-05/cat%201.png.webp"
    assert (reply.data, files(app)) == (b"", ["160/2024-07-05/cat 1.png.webp"])
