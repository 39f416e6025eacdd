"""Webhooks: the record, sent in the background, tried again, forgotten by no restart."""

import json
import queue
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import gevent
import pytest

from fooocus_flask import tasks, webhooks
from fooocus_flask.database import db
from fooocus_flask.tables import Delivery
from tests.serving import PATIENCE


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what it is sent, and answers with these statuses, the last one for ever."""

    daemon_threads = True

    def __init__(self):
        self.got, self.answers = queue.Queue(), [200]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.got.put((handler.path, handler.headers, json.loads(body)))
                status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                handler.send_response(status)
                handler.send_header("Location", "/elsewhere")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *_):
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"

    def take(self):
        """The next thing that was sent."""
        return self.got.get(timeout=PATIENCE)


@pytest.fixture
def receiver():
    """A receiver of webhooks on a real port."""
    with Receiver() as receiver:
        thread = Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture
def app(make_app):
    return make_app(WEBHOOK_DELAYS=(0.01, 0.01))


def finish(app, add, receiver, **columns):
    """The number of the delivery that this task's end causes, once nothing more is under way."""
    with app.app_context():
        task_id = add("running", webhook_url=receiver.url, result=["2024-07-05/cat.png"], **columns)
        tasks.end(task_id, "finished")
    settle(app)
    return task_id


def settle(app):
    """Let the courier do all it has to do."""
    courier = webhooks.of(app)
    with gevent.Timeout(PATIENCE):
        gevent.joinall(list(courier.under_way.values()))


def delivery(app):
    """What the database says about the only delivery."""
    with app.app_context():
        return db.session.query(Delivery).one()


def test_the_record_is_sent_when_the_task_ends(app, add, receiver):
    task_id = finish(app, add, receiver)
    path, headers, body = receiver.take()
    assert (path, headers["Content-Type"]) == ("/hook", "application/json")
    assert headers["User-Agent"].startswith("fooocus-flask/")
    assert (body["task_id"], body["task_status"], body["progress"]) == (task_id, "finished", 100)
    assert body["result"] == ["http://h/outputs/2024-07-05/cat.png"]
    done = delivery(app)
    assert (done.attempts, done.due_mills, done.answer) == (1, None, "200") and done.delivered_mills


def test_the_record_can_be_a_string_of_json(app, add, receiver):
    app.config["WEBHOOK_BODY"] = "string"
    task_id = finish(app, add, receiver)
    assert json.loads(receiver.take()[2])["task_id"] == task_id


def test_a_receiver_that_fails_is_tried_again(app, add, receiver):
    receiver.answers = [500, 503, 200]
    finish(app, add, receiver)
    done = delivery(app)
    assert (receiver.got.qsize(), done.attempts, done.due_mills) == (3, 3, None) and done.delivered_mills


def test_a_receiver_that_always_fails_is_given_up(app, add, receiver):
    receiver.answers = [500]
    finish(app, add, receiver)
    done = delivery(app)
    assert (receiver.got.qsize(), done.attempts, done.due_mills, done.delivered_mills) == (3, 3, None, None)


def test_a_redirect_is_not_followed(app, add, receiver):
    receiver.answers = [302]
    finish(app, add, receiver)
    assert {receiver.take()[0] for _ in range(3)} == {"/hook"}
    assert delivery(app).answer == "302"


def test_nobody_there_is_told_in_the_delivery(app, add, receiver):
    receiver.url = "http://127.0.0.1:9/"
    finish(app, add, receiver)
    assert "refused" in delivery(app).answer


def test_what_is_owed_is_delivered_by_the_next_server(make_app, app, add, receiver):
    with app.app_context():
        record = tasks.find(add("finished", webhook_url=receiver.url))
        db.session.add(Delivery(record_id=record.id, url=receiver.url, attempts=1, due_mills=1))
        db.session.commit()
    later = make_app()
    with later.app_context():
        webhooks.of(later).look()
    settle(later)
    assert receiver.take()[2]["task_id"] == record.task_id
    assert delivery(later).attempts == 2


def test_a_task_without_a_webhook_owes_nothing(app, add):
    with app.app_context():
        tasks.end(add("running", result=[]), "finished")
        assert db.session.query(Delivery).count() == 0


def test_a_drawn_task_is_sent_with_urls_that_work(server, receiver):
    server.draw({"webhook_url": receiver.url})
    _, _, body = receiver.take()
    assert body["task_status"] == "finished"
    path = body["result"][0].removeprefix(f"http://127.0.0.1:{server.port}")
    assert server.get(path).headers["Content-Type"] == "image/png"
