"""Events on the wire, byte for byte, and what a client's leaving changes."""

import base64
import datetime as dt
import io
import json
import re
from time import monotonic

import gevent
import pytest
from PIL import Image

from fooocus_flask.following import streams
from fooocus_flask.tasks import queue
from tests.patience import patience
from tests.serving import LASTING, event, one_by_one

speaks_sql = pytest.mark.sql("following/streams")


@pytest.fixture(scope="module")
def followed(server):
    """The stream of a picture of many steps, and the chunks in which its events came."""
    stream = server.follow(**LASTING)
    return stream, [chunk for chunk in stream.chunks() if not chunk.startswith(b": ping")]


def test_the_headers_leave_before_the_first_event(followed):
    stream, _ = followed
    assert stream.head.startswith(b"HTTP/1.1 200 ")
    for name, value in [*streams.HEADERS.items(), ("Transfer-Encoding", "chunked")]:
        assert stream.header(name) == value
    assert len(stream.header("X-Task-Id")) == 32


def test_an_event_is_two_data_lines_and_an_empty_one(server):
    chunks = server.follow().chunks()
    last = chunks[-1].decode()
    assert re.fullmatch(r"data: \{[^\n]*\}\r\ndata: \r\n\r\n", last)
    told = event(chunks[-1])
    assert last == f"data: {json.dumps(told)}\r\ndata: \r\n\r\n"
    assert list(told) == ["progress", "preview", "message", "images"]
    assert (told["progress"], told["preview"], told["message"]) == (100, None, "Finished")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/outputs/[-\d]+/[-_\d]+\.png", told["images"][0])


def test_each_event_is_a_write_of_its_own(server):
    assert any(one_by_one(server) for _ in range(10))


def test_progress_goes_up_and_only_the_last_event_has_pictures(server):
    events = server.follow(image_number=2, overwrite_step=20).events()
    percents = [told["progress"] for told in events]
    assert percents == sorted(percents) and percents[-1] == 100
    assert [bool(told["images"]) for told in events] == [False] * (len(events) - 1) + [True]
    assert len(events[-1]["images"]) == 2


def test_a_preview_is_a_small_png(followed):
    previews = [told["preview"] for told in map(event, followed[1]) if told["preview"]]
    kind, _, data = previews[-1].partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "PNG" and max(picture.size) < 64


def test_previews_can_be_switched_off(server):
    assert {told["preview"] for told in server.follow(disable_preview=True, **LASTING).events()} == {None}


def test_a_client_that_leaves_changes_nothing(server):
    stream = server.follow(overwrite_step=20)
    task_id = stream.header("X-Task-Id")
    stream.event()
    stream.close()
    told = server.ended(task_id)
    assert (told["task_status"], told["pictures_done"]) == ("finished", 1)


@speaks_sql
def test_two_streams_of_two_tasks_do_not_mix(server):
    first, second = (server.follow(save_name=name, overwrite_step=20) for name in ("first", "second"))
    assert "first" in first.events()[-1]["images"][0]
    assert "second" in second.events()[-1]["images"][0]


@pytest.fixture
def follower(app, add):
    """A client that follows a waiting task."""
    follower = streams.Follower(app, add("pending"), "http://h")
    yield follower
    follower.close()


def test_a_comment_comes_while_nothing_happens(follower, monkeypatch):
    monkeypatch.setattr(streams, "PING_EVERY", 0.3)
    pings = [next(pieces) for pieces in [iter(follower)] for _ in range(2)]
    for ping in pings:
        moment = re.fullmatch(r": ping - (.*)\r\n\r\n", ping.decode()).group(1)
        assert dt.datetime.fromisoformat(moment).tzinfo is not None


def test_events_keep_their_distance(follower):
    """From before one is asked for to its coming: so a machine that is busy lengthens what is measured."""
    pieces, gaps = iter(follower), []
    follower.update(streams.event(0, None, "…", []))
    next(pieces)
    for percent in (1, 2, 3):
        follower.update(streams.event(percent, None, "…", []))
        asked = monotonic()
        assert event(next(pieces))["progress"] == percent
        gaps.append(monotonic() - asked)
    assert all(gap >= streams.GAP for gap in gaps), gaps


def test_of_waiting_progress_only_the_newest_is_sent(follower):
    pieces = iter(follower)
    for percent in (1, 2, 3):
        follower.update(streams.event(percent, None, "…", []))
    assert event(next(pieces))["progress"] == 3
    follower.update(streams.event(4, None, "…", []))
    follower.update(streams.event(5, None, "…", []))
    assert event(next(pieces))["progress"] == 5


def test_other_characters_are_escaped():
    assert streams.event(1, None, "画", []).isascii()


def test_a_follower_that_closes_is_forgotten(app, follower):
    gevent.spawn(follower.close)
    assert list(follower) == []
    assert not streams.followers.of(app)


@speaks_sql
def test_a_stream_of_an_ended_task_tells_the_end(app, add):
    follower = streams.Follower(app, add("finished", pictures=1), "http://h")
    (last,) = follower
    follower.close()
    assert event(last)["images"][0].startswith("http://h/outputs/2024-07-05/")


def test_the_end_waits_for_no_distance_between_events(app, add, follower, monkeypatch):
    monkeypatch.setattr(streams, "GAP", 1000.0)
    pieces = iter(follower)
    follower.update(streams.event(1, None, "…", []))
    assert event(next(pieces))["progress"] == 1
    follower.update(streams.event(2, None, "…", []))
    with app.app_context():
        follower.finish(queue.find(add("finished", pictures=1)))
    with patience():
        last = list(pieces)[-1]
    assert event(last)["message"] == "Finished"
