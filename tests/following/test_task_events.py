"""All tasks in one stream: what it tells, to whom, and how a client that was away goes on."""

import json
import re

import gevent
import pytest
from gevent.event import Event

from fooocus_flask import signals
from fooocus_flask.access import keys
from fooocus_flask.following import task_events
from fooocus_flask.tasks import queue
from tests.patience import patience
from tests.serving import LASTING, Stream

speaks_sql = pytest.mark.sql("following/task_events", "tasks/history")

EVENTS = "/tasks/events"
CONTROL = "/v1/engine/control"
EVENT = re.compile(r"event: (\w+)\n(?:id: ([0-9a-f]{8}-\d+)\n)?data: (\{.*\})")


def events_in(text):
    """(kind, id, what is told) of each event in a piece of a stream."""
    parts = [part for part in text.split("\n\n") if part and not part.startswith(("retry: ", ": ping"))]
    return [(found[1], found[2], json.loads(found[3])) for found in map(EVENT.fullmatch, parts)]


def read_until(stream, *kinds):
    """The events of a stream up to the first that is of one of these kinds."""
    found = []
    while not any(kind in kinds for kind, _, _ in found):
        chunk = stream.chunk().decode()
        assert chunk, "the stream has ended"
        found += events_in(chunk)
    return found


class Reader:
    """A listener of an application's own, read by the test."""

    def __init__(self, app, last_id=None, **options):
        self.hub = task_events.hub.of(app)
        self.listener = task_events.Listener(self.hub, "http://h", last_id, **options)
        self.pieces = iter(self.listener)

    def piece(self):
        """The next piece that is sent, as text."""
        with patience():
            return next(self.pieces).decode()

    def events(self):
        """The events in the next piece."""
        return events_in(self.piece())


@pytest.fixture
def listen(app):
    """Makes readers, and sends them away."""
    readers = []

    def make(*args, **options):
        readers.append(Reader(app, *args, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.pieces.close()
    assert len(task_events.hub.of(app)) == 0


@pytest.fixture
def happen(app, add):
    """Has a task be submitted, and returns its id; `happen("finished")` tells of its end."""

    def send(status="pending", **columns):
        with app.app_context():
            task = queue.find(add(status, **columns))
            signals.send(signals.task_ended if task.ended else signals.task_submitted, app, task=task)
            return task.task_id

    return send


@speaks_sql
def test_a_tasks_whole_life_is_told(server):
    stream = Stream(server, EVENTS)
    ((kind, first_id, told),) = read_until(stream, "reset")
    assert (kind, told) == ("reset", {"reason": "new"}) and first_id
    assert stream.header("Content-Type").startswith("text/event-stream")
    task_id = server.submit(image_number=2, overwrite_step=15, prompt="p" * 300)
    found = read_until(stream, "ended")
    stream.close()
    lasting = [(kind, told) for kind, _, told in found if kind != "progress"]
    assert [kind for kind, _ in lasting] == ["submitted", "started", "picture", "picture", "ended"]
    assert {told["task_id"] for _, told in lasting} == {task_id}
    assert [told["task_status"] for kind, told in lasting if kind != "picture"] == ["pending", "running", "finished"]
    assert lasting[0][1]["prompt"] == "p" * 200 + "…"
    pictures = [told for kind, told in lasting if kind == "picture"]
    assert [(told["index"], told["seed"], told["width"], told["height"]) for told in pictures] == [
        (0, "7", 64, 64),
        (1, "8", 64, 64),
    ]
    assert lasting[-1][1]["result"] == [told["url"] for told in pictures]
    assert server.get("/" + pictures[0]["url"].split("/", 3)[3]).status == 200
    percents = [told["progress"] for kind, _, told in found if kind == "progress"]
    assert percents == sorted(percents) and all("preview" not in told for kind, _, told in found)
    brief = server.get("/tasks?query=history&brief=true&page_size=1").json["history"][0]
    assert lasting[-1][1].items() <= brief.items()


def test_a_client_goes_on_where_it_left_off(server):
    stream = Stream(server, EVENTS)
    read_until(stream, "reset")
    server.submit()
    found = read_until(stream, "ended")
    stream.close()
    (_, last_id, _), *missed = [event for event in found if event[1]]
    again = Stream(server, EVENTS, Last_Event_ID=last_id)
    assert read_until(again, "ended") == missed
    again.close()
    by_query = Stream(server, f"{EVENTS}?last_event_id={last_id}")
    assert read_until(by_query, "ended") == missed
    by_query.close()
    newer = Stream(server, f"{EVENTS}?last_event_id={last_id}", Last_Event_ID=missed[0][1])
    assert read_until(newer, "ended") == missed[1:]
    newer.close()


def test_previews_come_where_they_are_asked_for(server):
    stream, plain = Stream(server, f"{EVENTS}?previews=true"), Stream(server, EVENTS)
    task_id, preview = server.submit(image_number=32, **LASTING), None
    while not preview:
        preview = next(told.get("preview") for kind, _, told in read_until(stream, "progress") if kind == "progress")
    stream.close()
    assert preview.startswith("data:image/png;base64,")
    server.ask("POST", CONTROL, {"action": "stop", "task_id": task_id})
    assert {told.get("preview") for _, _, told in read_until(plain, "ended")} == {None}
    plain.close()


@pytest.mark.parametrize("last_id", ["0123abcd-1", "nonsense", "-", "0" * 5000, "0123abcd-" + "9" * 5000])
def test_an_id_that_is_not_known_begins_anew(listen, last_id):
    assert [(kind, told) for kind, _, told in listen(last_id).events()] == [("reset", {"reason": "gone"})]


def test_an_id_of_the_future_begins_anew(listen):
    ((_, now, _),) = listen().events()
    run, _, number = now.partition("-")
    assert listen(now).piece() == f"retry: {task_events.RETRY_MILLS}\n\n"
    assert listen(f"{run}-{int(number) + 1}").events()[0][2] == {"reason": "gone"}


def test_what_is_kept_no_longer_begins_anew(app, listen, happen, monkeypatch):
    monkeypatch.setattr(task_events, "KEPT", 3)
    ids = [event_id for _, event_id, _ in listen().events()]
    reader = listen()
    reader.events()
    for _ in range(4):
        happen()
    ids += [event_id for _, event_id, _ in reader.events()]
    kinds = [[kind for kind, _, _ in listen(event_id).events()] for event_id in ids]
    assert kinds == [["reset"], ["submitted"] * 3, ["submitted"] * 2, ["submitted"], []]


def test_a_listener_is_sent_what_happened_before_it_read(listen, happen):
    reader = listen()
    reader.events()
    first, second = happen(), happen("failed", error="no")
    assert [(kind, told["task_id"]) for kind, _, told in reader.events()] == [("submitted", first), ("ended", second)]


def test_of_progress_only_the_newest_is_sent_and_none_after_the_end(app, listen, happen):
    reader = listen()
    reader.events()
    task_id = happen()
    reader.events()
    for percent in (10, 20, 30):
        signals.send(signals.task_progressed, app, task_id=task_id, percent=percent, message="…", preview=b"")
    ((kind, event_id, told),) = reader.events()
    assert (kind, event_id, told) == ("progress", None, {"task_id": task_id, "progress": 30, "message": "…"})
    signals.send(signals.task_progressed, app, task_id=task_id, percent=40, message="…", preview=b"")
    with app.app_context():
        queue.end(task_id, "stop")
    assert [kind for kind, _, _ in reader.events()] == ["ended"]


def test_tasks_that_are_drawn_at_once_have_previews_each(app, listen, happen, monkeypatch):
    monkeypatch.setattr(task_events, "GAP", 0.0)
    monkeypatch.setattr(task_events, "PREVIEW_GAP", 3600.0)
    reader = listen(previews=True)
    reader.events()
    tasks = [happen(), happen()]
    reader.events()
    previewed = []
    for task_id in (*tasks, *tasks):
        signals.send(signals.task_progressed, app, task_id=task_id, percent=10, message="…", preview=b"PNG")
        previewed += ["preview" in told for _, _, told in reader.events()]
    assert previewed == [True, True, False, False]


@speaks_sql
def test_a_task_from_before_the_start_is_followed_too(app, listen, add):
    reader = listen()
    reader.events()
    waiting, over = add("pending"), add("finished")
    for task_id in (over, waiting, "never"):
        signals.send(signals.task_progressed, app, task_id=task_id, percent=0, message="…", preview=b"")
    assert [told["task_id"] for _, _, told in reader.events()] == [waiting]


@speaks_sql
def test_deletions_are_told(client, listen, add):
    reader = listen()
    reader.events()
    first, second, third = add(), add(hours_ago=5), add(hours_ago=5)
    client.delete(f"/tasks/{first}")
    client.delete("/tasks?start_at=2020-01-01")
    found = [(kind, sorted(told["task_ids"])) for kind, _, told in reader.events()]
    assert found == [("deleted", [first]), ("deleted", sorted([second, third]))]


def test_a_comment_comes_while_nothing_happens(listen, monkeypatch):
    monkeypatch.setattr(task_events, "PING_EVERY", 0.05)
    reader = listen()
    reader.events()
    assert reader.piece().startswith(": ping")


def test_whoever_does_not_read_is_sent_away_and_goes_on_later(app, listen, happen):
    reader = listen()
    ((_, last_id, _),) = reader.events()
    stuck, there = Event(), Event()

    def write():
        for _ in reader.pieces:
            there.set()
            stuck.wait()  # as a write to a connection that takes nothing

    writer = gevent.spawn(write)
    task_id = happen()
    with patience():
        there.wait()
    for _ in range(task_events.MOST_UNREAD + 1):
        reader.hub.publish("deleted", None, {"task_ids": [task_id]})
    with patience():
        writer.join()
    assert len(reader.hub) == 0
    assert len(listen(last_id).events()) == task_events.MOST_UNREAD + 2


def test_an_event_is_written_once_for_all(listen, happen):
    readers = [listen() for _ in range(20)]
    for reader in readers:
        reader.events()
    happen("finished", pictures=1)
    assert len({id(reader.listener._unread[0]) for reader in readers}) == 1
    assert {reader.events()[0][2]["result"][0].partition("/outputs/")[0] for reader in readers} == {"http://h"}


def test_asking_for_the_head_leaves_nobody_listening(app, client):
    assert client.head(EVENTS).status_code == 200
    assert len(task_events.hub.of(app)) == 0


def test_a_server_that_stops_ends_the_streams(app, listen):
    reader = listen()
    reader.events()
    task_events.hub.of(app).close()
    assert list(reader.pieces) == []


@pytest.fixture
def key(app):
    """Makes a key, and returns the header that carries it."""

    def make(name, *scopes):
        with app.app_context():
            return {"X-API-KEY": keys.add(name, scopes)}

    return make


def opened(client, headers):
    """The pieces of a stream over the application's own door, after the first."""
    reply = client.get(EVENTS, headers=headers, buffered=False)
    assert reply.status_code == 200
    pieces = iter(piece for piece in reply.response if piece)
    assert "reset" in next(pieces).decode()
    return pieces


@speaks_sql
def test_a_key_hears_of_the_tasks_that_it_may_look_at(client, key, happen):
    reading = opened(client, key("reading", "read"))
    drawing = opened(client, key("drawing", "draw"))
    ids = [happen(key_name=name) for name in ("reading", "drawing", None)]
    heard = [[told["task_id"] for _, _, told in events_in(next(pieces).decode())] for pieces in (reading, drawing)]
    assert heard == [ids, [ids[1]]]


def test_without_a_key_that_may_look_there_is_no_stream(client, key):
    key("any", "read")
    assert client.get(EVENTS).status_code == 403


def test_a_key_that_is_revoked_hears_nothing_more(app, client, key, monkeypatch):
    monkeypatch.setattr(task_events, "PING_EVERY", 0.05)
    pieces = opened(client, key("reading", "read"))
    assert next(pieces).decode().startswith(": ping")
    with app.app_context():
        keys.revoke("reading")
    with patience():
        assert not any("event" in piece.decode() for piece in pieces)


def test_the_token_of_a_picture_comes_with_its_url(client, key, happen):
    pieces = opened(client, key("reading", "read"))
    happen("finished", pictures=1)
    ((_, _, told),) = events_in(next(pieces).decode())
    (url,) = told["result"]
    assert client.get(url.removeprefix("http://localhost")).status_code == 200
    assert client.get(url.removeprefix("http://localhost").partition("?")[0]).status_code == 403


def test_a_server_that_stops_lets_nobody_begin_to_listen(app, client):
    task_events.hub.of(app).close()
    answer = client.get("/tasks/events")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "2" and "stopping" in answer.json["detail"]
