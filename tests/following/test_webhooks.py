"""Webhooks: the record, sent in the background, tried again, forgotten by no restart."""

import base64
import json
import socket
import stat
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier

import gevent
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from fooocus_flask.access import keys
from fooocus_flask.access.kept_secrets import SecretError
from fooocus_flask.database import db
from fooocus_flask.following import webhooks
from fooocus_flask.pictures import urls
from fooocus_flask.server import launcher
from fooocus_flask.tables import Delivery
from fooocus_flask.tasks import queue
from tests.patience import CEILING, eventually, patience
from tests.serving import Server

pytestmark = pytest.mark.sql("following/webhooks")


@pytest.fixture
def app(make_app):
    return make_app(WEBHOOK_DELAYS=(0.01, 0.01), ALLOW_PRIVATE_ADDRESSES=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory, models, database):
    """A server whose webhooks may go to this machine."""
    server = Server(tmp_path_factory.mktemp("webhooks"), models, FOOOCUS_ALLOW_PRIVATE_ADDRESSES="true")
    yield server
    server.stop()


def finish(app, add, receiver, **columns):
    """The number of the delivery that this task's end causes, once nothing more is under way."""
    with app.app_context():
        task_id = add("running", webhook_url=receiver.url, result=["2024-07-05/cat.png"], **columns)
        queue.end(task_id, "finished")
    settle(app)
    return task_id


def settle(app):
    """Let the courier do all it has to do."""
    with patience():
        while True:
            with app.app_context():
                if not webhooks.owed():
                    return
            gevent.sleep(0.01)


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


def test_what_is_sent_is_signed(make_app, add, receiver):
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    app = make_app(WEBHOOK_SECRET=secret, ALLOW_PRIVATE_ADDRESSES=True)
    task_id = finish(app, add, receiver)
    _, headers, _ = receiver.take()
    assert Webhook(secret).verify(receiver.raw[0], dict(headers))["task_id"] == task_id
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(receiver.raw[0] + b" ", dict(headers))


def test_a_secret_is_made_once_and_only_its_owner_reads_it(app, make_app):
    path = Path(app.instance_path) / "webhook_secret"
    launcher.checked(app)
    made = path.read_text()
    assert made.startswith("whsec_") and stat.S_IMODE(path.stat().st_mode) == 0o600
    launcher.checked(make_app())
    assert path.read_text() == made


def test_a_secret_that_is_none_ends_the_start(make_app):
    with pytest.raises(SecretError, match="base64"):
        launcher.checked(make_app(WEBHOOK_SECRET="not at all"))


def test_each_try_has_the_same_id(app, add, receiver):
    receiver.answers = [500, 500, 200]
    finish(app, add, receiver)
    assert len({receiver.take()[1]["webhook-id"] for _ in range(3)}) == 1


def test_a_receiver_that_is_gone_is_left_alone(app, add, receiver):
    receiver.answers = [410]
    with app.app_context():
        later = add("finished", webhook_url=receiver.url)
        record = queue.find(later).id
        db.session.add(Delivery(record_id=record, url=receiver.url, message_id="msg_b", due_mills=2**45))
        db.session.commit()
    finish(app, add, receiver)
    assert receiver.got.qsize() == 1
    with app.app_context():
        assert [row.answer for row in db.session.query(Delivery)] == ["410", "410"]


class AtOnce(list):
    """One answer, which is given once so many wait for it."""

    def __init__(self, answer, number):
        super().__init__([answer])
        self.all_wait = Barrier(number)

    def __getitem__(self, place):
        self.all_wait.wait(CEILING)
        return super().__getitem__(place)


def test_several_may_hear_at_once_that_a_receiver_is_gone(server, receiver):
    """Each gives up what is owed to all, and none waits for another that waits for it."""
    receiver.answers = AtOnce(410, webhooks.AT_ONE_HOST)
    lines = len(server.ready().lines)
    server.ask("POST", "/v1/engine/queue/pause")
    tasks = [server.submit(webhook_url=receiver.url) for _ in range(webhooks.AT_ONE_HOST)]
    for task_id in tasks:
        server.ask("POST", f"/tasks/{task_id}/cancel")

    def answers():
        told = [server.get(f"/tasks/{task_id}/deliveries").json[0] for task_id in tasks]
        return all(each["tried_mills"] for each in told) and [(each["answer"], each["due_mills"]) for each in told]

    assert eventually(answers, "an answer is not recorded", server.process.pid) == [("410", None)] * len(tasks)
    assert "tried again" not in "".join(server.lines[lines:])
    server.ask("POST", "/v1/engine/queue/resume")


def test_an_answer_is_noted_on_the_message_it_answers_alone(app, add, receiver):
    """The task may have been deleted while its message was under way, and its row's number belong to another."""
    with app.app_context():
        record = queue.find(add("finished", webhook_url=receiver.url)).id
        db.session.add(Delivery(record_id=record, url=receiver.url, message_id="msg_other", due_mills=2**45))
        db.session.commit()
        deleted = webhooks.WebhookMessage(receiver.url, "msg_deleted", "ended", b"{}")
        webhooks.record_outcome(deleted, webhooks.ReceiverAnswer(True, "200"))
    assert (delivery(app).message_id, delivery(app).due_mills, delivery(app).answer) == ("msg_other", 2**45, None)


def test_what_was_given_up_while_it_was_under_way_is_not_tried_again(app, add, receiver):
    """The receiver answered 410 to another message meanwhile."""
    message = webhooks.WebhookMessage(receiver.url, "msg_late", "ended", b"{}", due_mills=1)
    with app.app_context():
        record = queue.find(add("finished", webhook_url=receiver.url)).id
        db.session.add(Delivery(record_id=record, url=receiver.url, message_id=message.id, due_mills=None))
        db.session.commit()
        webhooks.record_outcome(message, webhooks.ReceiverAnswer(False, "503", 503))
    assert (delivery(app).due_mills, delivery(app).answer, delivery(app).delivered_mills) == (None, "503", None)
    with app.app_context():
        webhooks.record_outcome(message, webhooks.ReceiverAnswer(True, "200", 200))
    assert delivery(app).delivered_mills and delivery(app).due_mills is None


def test_a_receiver_may_ask_for_time(app, add, receiver):
    receiver.answers, receiver.headers = [503], {"Retry-After": "3600"}
    with app.app_context():
        queue.end(add("running", webhook_url=receiver.url, result=[]), "finished")
    with patience():
        while delivery(app).attempts == 0:
            gevent.sleep(0.01)
    done = delivery(app)
    assert 3600_000 <= done.due_mills - done.tried_mills < 3601_000


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 0), ("", 0), ("12", 12), ("soon", 0), ("-3", 0), ("Mon, 01 Jan 2024 00:00:00 GMT", 0)]
)
def test_how_long_a_receiver_wants_to_be_left_alone(text, seconds):
    assert webhooks.retry_after(text) == seconds


def test_retry_after_has_a_limit():
    assert webhooks.retry_after("9999999") == webhooks.LONGEST_WAIT


def test_the_deliveries_are_told_and_sent_again(app, add, client, receiver):
    task_id = finish(app, add, receiver)
    first = receiver.take()[1]["webhook-id"]
    (told,) = client.get(f"/tasks/{task_id}/deliveries").json
    assert (told["message_id"], told["event"], told["answer"], told["attempts"]) == (first, "ended", "200", 1)
    reply = client.post(f"/tasks/{task_id}/deliveries/{told['id']}/replay")
    assert reply.status_code == 200 and reply.json["delivered_mills"] is None
    settle(app)
    assert receiver.take()[1]["webhook-id"] == first
    for nobody in (999, 2**31, 2**63, 10**40):
        assert client.post(f"/tasks/{task_id}/deliveries/{nobody}/replay").status_code == 404
    assert client.post(f"/tasks/{add()}/deliveries/{told['id']}/replay").status_code == 404


@pytest.mark.parametrize("first", [200, 503])
def test_one_that_is_to_be_sent_again_while_it_is_under_way_is(app, add, client, receiver, monkeypatch, first):
    """Whatever the receiver answers to the try under way, which has no other after it."""
    app.config["WEBHOOK_DELAYS"] = ()
    receiver.answers, post = [first, 200], webhooks.post

    def post_and_replay(message):
        monkeypatch.setattr(webhooks, "post", post)
        answer, task_id = post(message), json.loads(message.body)["task_id"]
        (told,) = client.get(f"/tasks/{task_id}/deliveries").json
        assert client.post(f"/tasks/{task_id}/deliveries/{told['id']}/replay").status_code == 200
        return answer

    monkeypatch.setattr(webhooks, "post", post_and_replay)
    finish(app, add, receiver)
    done = delivery(app)
    assert receiver.take()[1]["webhook-id"] == receiver.take()[1]["webhook-id"] == done.message_id
    assert (done.attempts, done.due_mills, done.answer) == (1, None, "200") and done.delivered_mills


def test_a_receiver_hears_what_it_asked_for(server, receiver):
    events = ["started", "progress", "ended"]
    server.draw({"webhook_url": receiver.url, "webhook_events": events, "overwrite_step": 60})
    heard = []
    while not heard or heard[-1][0] != "ended":
        _, headers, body = receiver.take()
        heard.append((headers["X-Webhook-Event"], body["task_status"], body["progress"]))
    assert {event for event, *_ in heard} == set(events)
    assert heard[-1] == ("ended", "finished", 100)
    assert all(0 <= progress <= 100 for event, _, progress in heard if event == "progress")


def test_a_receiver_that_wants_no_end_hears_none(app, add, receiver):
    with app.app_context():
        queue.end(add("running", webhook_url=receiver.url, webhook_events=["started"], result=[]), "finished")
        assert db.session.query(Delivery).count() == 0


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


def test_a_private_address_is_the_operator_s_business(app, add, receiver, caplog):
    app.config["ALLOW_PRIVATE_ADDRESSES"] = False
    caplog.set_level("INFO", "fooocus_flask.following.webhooks")
    finish(app, add, receiver)
    assert "not public" in delivery(app).answer and receiver.got.empty()
    assert f"to {receiver.url} failed at try 1: 127.0.0.1 has an address that is not public" in caplog.text


def test_a_name_that_leads_inside_is_refused_at_delivery(app, add, receiver):
    app.config["ALLOW_PRIVATE_ADDRESSES"] = False
    receiver.url = receiver.url.replace("127.0.0.1", "localhost")
    finish(app, add, receiver)
    assert "localhost has an address that is not public" in delivery(app).answer and receiver.got.empty()


def test_the_operator_s_own_webhook_may_be_anywhere(app, add, receiver):
    app.config |= {"ALLOW_PRIVATE_ADDRESSES": False, "WEBHOOK_URL": receiver.url}
    finish(app, add, receiver)
    assert delivery(app).answer == "200"


OPERATORS = "http://user:word@hooks.example:1/services/x?secret=y"


def told_of_webhook(client, task_id, key):
    """What answers tell a caller with this key of a task's webhook."""
    headers = {"X-API-KEY": key} if key else {}
    record = client.get(f"/tasks/{task_id}", headers=headers).json
    (delivery,) = client.get(f"/tasks/{task_id}/deliveries", headers=headers).json
    if "history" in (lists := client.get("/tasks", headers=headers).json):
        assert record in lists["history"]
    return [record["webhook_url"], record["req_params"]["webhook_url"], delivery["url"], delivery["answer"]]


def owe(app, add, url, **params):
    """A task whose webhook could not be delivered."""
    with app.app_context():
        task_id = add("finished", webhook_url=url, params=params)
        owed = {"record_id": queue.find(task_id).id, "url": url, "answer": "hooks.example is not public"}
        db.session.add(Delivery(**owed))
        db.session.commit()
    return task_id


def test_the_operator_s_webhook_is_told_to_admins_only_and_without_its_secrets(make_app, app, add, client):
    app.config["WEBHOOK_URL"] = OPERATORS
    tasks = [owe(app, add, OPERATORS), owe(app, add, OPERATORS, webhook_url=OPERATORS)]
    assert told_of_webhook(client, tasks[1], None) == ["", "", "", "no answer"]  # nobody is an admin without a key
    with app.app_context():
        looking, all_of_it = keys.add("looking", ["read"]), keys.add("all", ["admin"])
    app.config["WEBHOOK_URL"] = OPERATORS
    for task_id in tasks:
        assert told_of_webhook(client, task_id, looking) == ["", "", "", "no answer"]
        shown = "http://hooks.example:1/services/x"
        assert told_of_webhook(client, task_id, all_of_it) == [shown, "", shown, "hooks.example is not public"]


def test_a_client_s_own_webhook_is_told_as_it_sent_it(app, add, client):
    app.config["WEBHOOK_URL"] = OPERATORS
    url = "http://h.example/hook?a=b"
    assert told_of_webhook(client, owe(app, add, url, webhook_url=url), None)[:3] == [url] * 3


def test_no_line_of_the_log_has_a_webhook_s_query(app, add, receiver, caplog):
    app.config["WEBHOOK_URL"] = receiver.url = receiver.url + "?secret=y"
    caplog.set_level("DEBUG")
    for answers in ([500, 200], [500], [410]):
        receiver.answers = answers
        finish(app, add, receiver)
    assert "delivered" in caplog.text and "given up" in caplog.text and "gone" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "host", "begins"),
    [
        ({}, "evil.example", "http://localhost:80"),
        ({}, "10.255.255.1", "http://localhost:80"),
        ({}, "localhost:8080", "http://localhost:80"),
        ({}, "[::", "http://localhost:80"),
        ({}, "127.0.0.1", "http://127.0.0.1"),
        ({}, "localhost", "http://localhost"),
        ({"BASE_URL": "https://draw.example"}, "evil.example", "https://draw.example"),
        ({"BASE_URL": "draw.example"}, "evil.example:666", "http://draw.example:80"),
        ({"TRUSTED_HOSTS": "draw.example, .lan"}, "gpu.lan:8080", "http://gpu.lan:8080"),
    ],
)
def test_urls_in_webhooks_begin_with_no_host_that_a_client_made_up(make_app, settings, host, begins):
    with make_app(**settings).test_request_context(headers={"Host": host}):
        assert urls.webhook_base() == begins


def test_a_proxy_that_passes_on_any_host_is_believed_no_more_than_a_client(make_app, caplog):
    app = make_app(TRUSTED_PROXIES=1)
    app.add_url_rule("/base", view_func=urls.webhook_base)
    for host in ("evil.example", "other.example"):
        assert app.test_client().get("/base", headers={"X-Forwarded-Host": host}).text == "http://localhost:80"
    assert caplog.text.count("set BASE_URL or TRUSTED_HOSTS") == 1


def test_requests_for_hosts_that_are_not_trusted_are_refused(make_app):
    client = make_app(TRUSTED_HOSTS="draw.example").test_client()
    assert client.get("/ping", headers={"Host": "draw.example:81"}).status_code == 200
    reply = client.get("/ping", headers={"Host": "evil.example"})
    assert (reply.status_code, "not trusted" in reply.json["detail"]) == (400, True)


def test_nobody_there_is_told_in_the_delivery(app, add, receiver):
    receiver.url = "http://127.0.0.1:9/"
    finish(app, add, receiver)
    assert "refused" in delivery(app).answer


def test_what_is_owed_is_delivered_by_the_next_server(make_app, app, add, receiver):
    with app.app_context():
        record = queue.find(add("finished", webhook_url=receiver.url))
        db.session.add(Delivery(record_id=record.id, url=receiver.url, attempts=1, due_mills=1))
        db.session.commit()
    later = make_app(ALLOW_PRIVATE_ADDRESSES=True)
    with later.app_context():
        webhooks.sender.of(later).wake()
    settle(later)
    assert receiver.take()[2]["task_id"] == record.task_id
    assert delivery(later).attempts == 2


def test_a_task_without_a_webhook_owes_nothing(app, add):
    with app.app_context():
        queue.end(add("running", result=[]), "finished")
        assert db.session.query(Delivery).count() == 0


def test_a_drawn_task_is_sent_with_urls_that_work(server, receiver):
    server.draw({"webhook_url": receiver.url})
    _, _, body = receiver.take()
    assert body["task_status"] == "finished"
    path = body["result"][0].removeprefix(f"http://127.0.0.1:{server.port}")
    assert server.get(path).headers["Content-Type"] == "image/png"


@contextmanager
def deaf_receivers(count):
    """The URLs of so many that take connections and answer nothing."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        yield [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


@pytest.mark.parametrize(("hosts", "each"), [(1, 300), (webhooks.AT_ONCE * 2, 1)])
def test_receivers_that_never_answer_delay_nobody_else_s_webhooks(app, add, receiver, hosts, each):
    app.config["WEBHOOK_TIMEOUT"] = CEILING
    with deaf_receivers(hosts) as deaf, app.app_context():
        finish(app, add, receiver)  # known to answer
        record = queue.find(add("finished", webhook_url=receiver.url)).id
        owed = [(f"{url}/{number}", 1) for url in deaf for number in range(each)] + [(f"{receiver.url}/last", 2)]
        db.session.add_all([Delivery(record_id=record, url=url, due_mills=due) for url, due in owed])
        db.session.commit()
        webhooks.sender.of(app).wake()
        with patience():
            while receiver.got.qsize() < 2:
                gevent.sleep(0.01)
        assert webhooks.owed() >= hosts * each


def test_a_receiver_that_does_not_answer_holds_up_nobody(app, add, client):
    with socket.create_server(("127.0.0.1", 0)) as deaf, app.app_context():
        task_id = add("running", webhook_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/", result=[])
        queue.end(task_id, "finished")
        with patience():
            connection, _ = gevent.get_hub().threadpool.apply(deaf.accept)  # the record is on its way now
        with connection:
            assert client.get(f"/tasks/{task_id}").json["task_status"] == "finished"
            assert webhooks.owed() == 1
