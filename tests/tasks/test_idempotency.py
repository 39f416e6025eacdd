"""Requests that come twice: one task, for a day, whatever happens in between."""

import gevent
import pytest

from fooocus_flask.database import db
from fooocus_flask.submission import submit
from fooocus_flask.tables import RequestKey, Task
from fooocus_flask.tasks import idempotency
from tests.serving import GENERATE, small

pytestmark = pytest.mark.sql("tasks/idempotency")

KEY = {"Idempotency-Key": "first"}


def ask(client, headers=KEY, **members):
    return client.post(GENERATE, json=small(async_process=True, **members), headers=headers)


def test_the_same_request_again_is_the_same_task(client):
    first, second = ask(client, image_seed=-1), ask(client, image_seed=-1)
    assert first.json["task_id"] == second.json["task_id"] and first.headers["X-Seed"] == second.headers["X-Seed"]
    assert (first.headers.get("Idempotency-Replayed"), second.headers["Idempotency-Replayed"]) == (None, "true")
    assert ask(client, {}).json["task_id"] != first.json["task_id"]


def test_another_request_under_the_same_key_is_refused(client):
    ask(client)
    reply = ask(client, prompt="a dog")
    assert reply.status_code == 422 and "another request" in reply.json["detail"]


@pytest.mark.parametrize("place", [0, 40_000, -1])
def test_pictures_are_told_apart_by_all_of_their_bytes(app, place):
    """A text of them is long, and a digest stands for it, wherever it lies."""
    text = "A" * 80_000
    other = text[:place] + "B" + text[place:][1:]
    with app.test_request_context():
        for wrap in (lambda sent: {"image": sent}, lambda sent: {"images": [{"cn_img": sent}]}):
            same, changed = (idempotency.fingerprint(wrap(sent), "json") for sent in (text, other))
            assert same == idempotency.fingerprint(wrap("A" * 80_000), "json") != changed


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_must_be_one(client, key):
    reply = ask(client, {"Idempotency-Key": key})
    assert reply.status_code == 422
    assert reply.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]


def test_a_restart_forgets_no_key(make_app):
    ids = [ask(make_app().test_client()).json["task_id"] for _ in range(2)]
    assert ids[0] == ids[1]


def test_a_key_is_forgotten_after_a_day(app, client):
    first = ask(client).json["task_id"]
    with app.app_context():
        db.session.query(RequestKey).one().made_mills -= idempotency.KEPT + 1000
        db.session.commit()
    assert ask(client).json["task_id"] != first


def test_a_key_goes_with_its_task(app, client):
    task_id = ask(client).json["task_id"]
    client.post(f"/tasks/{task_id}/cancel")
    assert client.delete(f"/tasks/{task_id}").status_code == 200
    assert ask(client).json["task_id"] != task_id


def test_requests_at_the_same_time_become_one_task(app, client, monkeypatch):
    real = submit.prepare

    def slow(sent):
        gevent.sleep(0.05)  # as fetching a picture would
        return real(sent)

    monkeypatch.setattr(submit, "prepare", slow)
    replies = [gevent.spawn(ask, app.test_client()) for _ in range(5)]
    gevent.joinall(replies, raise_error=True)
    assert len({reply.value.json["task_id"] for reply in replies}) == 1
    with app.app_context():
        assert db.session.query(Task).count() == 1
