"""Sends receivers what becomes of tasks, signed as Standard Webhooks 1.0 has it.

What is owed are rows, written in the transaction that made them owed: a restart forgets none, and one that fails is
tried again under the same id. Progress alone is no row: it is sent at once or not at all.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from time import monotonic
from typing import Any
from uuid import uuid4

import gevent
from flask import Flask, current_app
from gevent.event import Event
from gevent.pool import Pool
from sqlalchemy import ColumnElement, Select, func, select, update
from standardwebhooks import Webhook

from engine.files.downloads import shown
from fooocus_flask import request_ids, signals
from fooocus_flask.clock import mills
from fooocus_flask.database import FRESH, begin_write, commit, db
from fooocus_flask.errors import NotFound
from fooocus_flask.extension import Extension
from fooocus_flask.following.webhook_secret import signer
from fooocus_flask.pictures import public_hosts
from fooocus_flask.tables import Delivery, Task, receiver_host
from fooocus_flask.tasks import records
from fooocus_flask.version import VERSION
from schemas.tasks import DeliverySchema, TaskRecordSchema

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Deliveries under way at the same time."""
AT_ONE_HOST = 4
"""Of them to one host, so that one that never answers keeps up nobody else's."""
AT_UNKNOWN_HOSTS = 48
"""Of them to hosts that did not answer last time, or were never asked: they may be many."""
HOSTS_KNOWN = 1000
LOOK_EVERY = 60.0
"""Seconds after which the outbox is looked at, whatever the clock said was due."""
JITTER = 0.2
"""Part by which a delay is randomly longer or shorter, so that not all retries reach a receiver at once."""
LONGEST_WAIT = 24 * 3600.0
"""Seconds a receiver's Retry-After may ask for."""
PROGRESS_EVERY = 0.5
CLOCK_SLACK = 60_000
"""Milliseconds by which a clock may be set back without being told from its usual corrections."""
GONE = 410
UNTOLD = "no answer"
"""What those are told of a failure who may not know the receiver."""

Body = Callable[[Task], dict[str, Any]]
BODIES: dict[str, Body] = {}
"""What the receivers of tasks that came by another API are sent, by the API's name."""


@dataclass(frozen=True)
class WebhookMessage:
    """Something to be sent; `id` tells a receiver what it has seen already, `request` is for the log.

    `due_mills` is when its delivery was due; None for progress, which is no row.
    """

    url: str
    id: str
    event: str
    body: bytes
    request: str | None = None
    due_mills: int | None = None


@dataclass(frozen=True)
class ReceiverAnswer:
    """What a receiver said: whether it took the message, in words, its status, and the seconds it wants to be left."""

    good: bool
    text: str
    status: int | None = None
    wait: float = 0.0


class WebhookSender:
    """Delivers what one application owes; `progress` are those who hear how far running tasks are, by task id."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.progress: dict[str, ProgressSender] = {}
        self._pool = Pool(AT_ONCE)
        self._under_way: dict[str, str] = {}
        """The host of each message."""
        self._answering: dict[str, None] = {}
        """Hosts that answered last time, the latest last."""
        self._news = Event()
        self._greenlet: gevent.Greenlet | None = None

    def wake(self) -> None:
        """Send what is owed now, and go on with what is due later."""
        self._news.set()
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)

    def close(self) -> None:
        """Leave the rest to the next start."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()
        self._pool.kill()

    @cached_property
    def signer(self) -> Webhook:
        """What signs them; its secret is made when it is first needed."""
        return signer(self.app)

    def _work(self) -> None:
        while True:
            self._news.clear()
            try:
                wait = self._send_due()
            except Exception:  # a locked database, a full disk: this loop must outlive them
                log.exception("The webhooks are looked at again in %.0f s", LOOK_EVERY)
                wait = LOOK_EVERY
            self._news.wait(min(wait, LOOK_EVERY))

    def _send_due(self) -> float:
        """Send what is due, as far as there is room; seconds until the next one is."""
        now = mills()
        with self.app.app_context():
            while self._pool.free_count() and (due := db.session.execute(self._due(now)).all()):
                for name, host in due:
                    if self._has_slot(host):
                        self._under_way[name] = host
                        self._pool.spawn(self._deliver, name)
            later = db.session.scalar(select(func.min(Delivery.due_mills)).where(Delivery.due_mills > now))
        return LOOK_EVERY if later is None else (later - now) / 1000

    def _due(self, now: int) -> Select[str, str]:
        """What is due now at hosts that have slots, the longest due first; each such answer is of use."""
        full = [host for host, count in Counter(self._under_way.values()).items() if count >= AT_ONE_HOST]
        waiting = is_due(now) & Delivery.message_id.not_in(list(self._under_way)) & Delivery.host.not_in(full)
        if not self._unknown_left():
            waiting &= Delivery.host.in_(list(self._answering))
        return select(Delivery.message_id, Delivery.host).where(waiting).order_by(Delivery.due_mills).limit(AT_ONCE)

    def _has_slot(self, host: str) -> bool:
        known = host in self._answering or self._unknown_left() > 0
        there = sum(other == host for other in self._under_way.values())
        return self._pool.free_count() > 0 and known and there < AT_ONE_HOST

    def _unknown_left(self) -> int:
        """How many more may go to hosts of which nothing good is known."""
        return AT_UNKNOWN_HOSTS - sum(host not in self._answering for host in self._under_way.values())

    def _note_answer(self, host: str, answer: ReceiverAnswer) -> None:
        self._answering.pop(host, None)
        if answer.status is not None:
            self._answering[host] = None
        if len(self._answering) > HOSTS_KNOWN:
            del self._answering[next(iter(self._answering))]

    def _deliver(self, message_id: str) -> None:
        try:
            with self.app.app_context():
                message = message_of(message_id)
            if message:
                with request_ids.after(message.request):
                    self._send(message)
        except Exception:
            log.exception("Webhook %s is tried again in %.0f s", message_id, LOOK_EVERY)
            gevent.sleep(LOOK_EVERY)
        finally:
            self._under_way.pop(message_id, None)
            self._news.set()

    def _send(self, message: WebhookMessage) -> None:
        with self.app.app_context():
            answer = post(message)
        self._note_answer(receiver_host(message.url), answer)
        with self.app.app_context():
            record_outcome(message, answer)


class ProgressSender:
    """Sends one task's progress to its receiver: never two at once, and so many a second."""

    def __init__(self, app: Flask, task: Task) -> None:
        self.app, self.task = app, task
        self._next = 0.0
        self._greenlet: gevent.Greenlet | None = None

    def send(self, percent: int) -> None:
        """Send this percentage, unless the last one is still on its way or was sent just now."""
        if monotonic() >= self._next and (self._greenlet is None or self._greenlet.ready()):
            self._next = monotonic() + PROGRESS_EVERY
            self._greenlet = gevent.spawn(self._send, percent)

    def _send(self, percent: int) -> None:
        with self.app.app_context():
            data = body(self.task, progress=percent)
            post(WebhookMessage(self.task.webhook_url, f"msg_{uuid4().hex}", "progress", data))


sender = Extension("fooocus-webhooks", WebhookSender)


@signals.task_started.connect
def begin(app: Flask, task: Task, **_: Any) -> None:
    """Send that drawing began, and get ready to send progress."""
    if task.webhook_url and "progress" in (task.webhook_events or ()):
        sender.of(app).progress[task.task_id] = ProgressSender(app, task)
    send(app, task)


@signals.task_progressed.connect
def progressed(app: Flask, task_id: str, percent: int, **_: Any) -> None:
    """Send progress, where somebody wants to hear it."""
    if receiver := sender.of(app).progress.get(task_id):
        receiver.send(percent)


@signals.task_ended.connect
def send(app: Flask, task: Task, **_: Any) -> None:
    """Have what this task owes delivered."""
    if task.ended:
        sender.of(app).progress.pop(task.task_id, None)
    if task.webhook_url:
        sender.of(app).wake()


def is_due(now: int) -> ColumnElement[bool]:
    """Which deliveries are to be tried at this moment: those whose moment has come, and those last tried in what is
    now the future, for the clock was set back and theirs may not come for long."""
    last = func.coalesce(Delivery.tried_mills, Delivery.made_mills)
    return Delivery.due_mills.is_not(None) & ((Delivery.due_mills <= now) | (last > now + CLOCK_SLACK))


def find_delivery(message_id: str) -> Delivery | None:
    """The delivery of this message; None if it was deleted with its task."""
    return db.session.scalar(select(Delivery).where(Delivery.message_id == message_id))


def lock_deliveries(message: WebhookMessage, answer: ReceiverAnswer) -> None:
    """Have nobody else change, until the commit, what this answer changes: the message's delivery, and after a 410 all
    that is owed to its receiver. Who locks several does so in one order, or two of them would wait for each other."""
    begin_write()
    chosen = Delivery.message_id == message.id
    if answer.status == GONE:
        chosen |= is_owed_to(message.url)
    db.session.execute(select(Delivery.id).where(chosen).order_by(Delivery.id).with_for_update())


def is_owed_to(url: str) -> ColumnElement[bool]:
    """Which deliveries to this receiver are still to be made."""
    return (Delivery.url == url) & Delivery.due_mills.is_not(None)


def message_of(message_id: str) -> WebhookMessage | None:
    """What is sent under this name; None if it is owed no more."""
    delivery = find_delivery(message_id)
    task = delivery and db.session.get(Task, delivery.record_id)
    if delivery is None or delivery.due_mills is None or task is None:
        return None
    return WebhookMessage(delivery.url, message_id, delivery.event, body(task), task.request_id, delivery.due_mills)


def body_for(api: str) -> Callable[[Body], Body]:
    """Mark a function as the one that tells receivers of tasks that came by this API; other tasks send their record."""

    def mark(made: Body) -> Body:
        BODIES[api] = made
        return made

    return mark


def body(task: Task, **changes: Any) -> bytes:
    """The record as JSON, as a JSON string of it where WEBHOOK_BODY says so; or what the task's API has for it."""
    made = BODIES.get((task.api or {}).get("name", ""))
    if made:
        return json.dumps(made(task), ensure_ascii=False).encode()
    text = json.dumps(TaskRecordSchema().dump(records.stored(task, task.base_url) | changes), ensure_ascii=False)
    if current_app.config["WEBHOOK_BODY"] == "string":
        text = json.dumps(text)
    return text.encode()


def post(message: WebhookMessage) -> ReceiverAnswer:
    """What the receiver made of it; any 2xx is good, and nothing else, for the next address was never checked."""
    config = current_app.config
    allowed = config["ALLOW_PRIVATE_ADDRESSES"] or message.url == config["WEBHOOK_URL"]
    db.session.remove()  # nothing may be held while a receiver takes its time
    try:
        answer = public_hosts.guarded_request(
            *("POST", message.url, headers(message), message.body),
            timeout=config["WEBHOOK_TIMEOUT"],
            allow_private=allowed,
        )
    except OSError as error:
        return ReceiverAnswer(False, public_hosts.failure_of(error))
    except public_hosts.AddressRefused as error:
        return ReceiverAnswer(False, str(error))
    good = 200 <= answer.status < 300
    return ReceiverAnswer(good, str(answer.status), answer.status, retry_after(answer.headers.get("retry-after")))


def headers(message: WebhookMessage) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0, and the event's name."""
    now = dt.datetime.now(dt.UTC)
    sign = sender.current().signer.sign
    return {
        "Content-Type": "application/json",
        "User-Agent": f"fooocus-flask/{VERSION}",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": sign(message.id, now, message.body.decode()),
        "X-Webhook-Event": message.event,
    }


def retry_after(header: str | None) -> float:
    """The seconds a receiver wants to be left alone, by its Retry-After; 0 if it doesn't say."""
    text = (header or "").strip()
    try:
        seconds = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - mills() / 1000
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_WAIT)


def record_outcome(message: WebhookMessage, answer: ReceiverAnswer) -> None:
    """Record a try and what comes of it, unless that was decided meanwhile: by a replay, or by a 410 to another."""
    lock_deliveries(message, answer)
    delivery = find_delivery(message.id)
    if delivery is None:
        commit()
        return
    delivery.answer, delivery.tried_mills = answer.text, mills()
    if delivery.due_mills == message.due_mills or (delivery.due_mills is None and answer.good):
        apply_answer(delivery, answer)
    else:
        log.info("Webhook %s to %s: %s; what was decided meanwhile stands", message.id, shown(message.url), answer.text)
    commit()
    signals.send(signals.delivery_tried, sender.current().app, delivery=delivery, good=answer.good)


def apply_answer(delivery: Delivery, answer: ReceiverAnswer) -> None:
    """Have a delivery that was tried just now be delivered, due again later, or given up."""
    delays = current_app.config["WEBHOOK_DELAYS"]
    delivery.attempts, delivery.due_mills = delivery.attempts + 1, None
    if answer.good:
        delivery.delivered_mills = delivery.tried_mills
        log.info("Webhook %s to %s delivered at try %d", delivery.message_id, shown(delivery.url), delivery.attempts)
    elif answer.status == GONE:
        log.warning("Webhook %s is gone: what is owed to it is given up", shown(delivery.url))
        given_up = update(Delivery).where(is_owed_to(delivery.url))
        db.session.execute(given_up.values(due_mills=None, answer=answer.text))
    elif delivery.attempts <= len(delays):
        failure = (delivery.message_id, shown(delivery.url), delivery.attempts, answer.text)
        log.info("Webhook %s to %s failed at try %d: %s", *failure)
        delay = delays[delivery.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
        delivery.due_mills = mills() + int(max(delay, answer.wait) * 1000)
    else:
        log.warning("Webhook %s given up after %d tries: %s", shown(delivery.url), delivery.attempts, answer.text)


def deliveries(task: Task) -> list[dict[str, Any]]:
    """What this task owes, or owed, in its order."""
    chosen = select(Delivery).where(Delivery.record_id == task.id).order_by(Delivery.id)
    return [serialise_delivery(task, delivery) for delivery in db.session.scalars(chosen)]


def serialise_delivery(task: Task, delivery: Delivery) -> dict[str, Any]:
    """A delivery as the caller may see it: of the operator's own webhook, an answer's words may tell where it is."""
    values = {name: getattr(delivery, name) for name in DeliverySchema().fields}
    if records.is_operators_webhook(task):
        values["url"] = records.operators_webhook(delivery.url)
        if not values["url"] and delivery.answer and not delivery.answer.isdigit():
            values["answer"] = UNTOLD
    return values


def replay(task: Task, number: int) -> dict[str, Any]:
    """Send this delivery once more, now, under its own id.

    Raises:
        NotFound: the task has no such delivery.
    """
    change = update(Delivery).where(Delivery.id == number, Delivery.record_id == task.id)
    change = change.values(due_mills=mills(), attempts=0, delivered_mills=None)
    found: Delivery | None = db.session.scalar(change.returning(Delivery), execution_options=FRESH)
    commit()
    if found is None:
        raise NotFound(f"The task {task.task_id} has no delivery {number}")
    sender.current().wake()
    return serialise_delivery(task, found)


def owed() -> int:
    """How many deliveries are not done."""
    return db.session.scalar(select(func.count()).select_from(Delivery).where(Delivery.due_mills.is_not(None))) or 0
