"""Telling receivers that a task ended: deliveries are rows, so that a restart forgets none, and are tried again."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from importlib.metadata import version
from typing import Any

import gevent
from flask import Flask, current_app
from gevent.pool import Pool
from sqlalchemy import select

from fooocus_flask import records, signals
from fooocus_flask.clock import mills
from fooocus_flask.database import db
from fooocus_flask.tables import Delivery, Task
from schemas.tasks import TaskRecordSchema

log = logging.getLogger(__name__)

EXTENSION = "fooocus-webhooks"
AT_ONCE = 16
"""Deliveries under way at the same time."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the answer it is: the address was checked, the next one is not."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nothing to follow."""


opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)


class Courier:
    """Delivers what one application owes."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._pool = Pool(AT_ONCE)
        self.under_way: dict[int, gevent.Greenlet] = {}

    def look(self) -> None:
        """Set out with every delivery that is owed and not under way."""
        for number in db.session.scalars(select(Delivery.id).where(Delivery.due_mills.is_not(None))):
            if number not in self.under_way:
                self.under_way[number] = gevent.spawn(self._deliver, number)

    def close(self) -> None:
        """Leave the rest to the next start."""
        gevent.killall(list(self.under_way.values()))
        self._pool.kill()

    def _deliver(self, number: int) -> None:
        """Try until it is delivered or given up."""
        try:
            while (wait := self._seconds_left(number)) is not None:
                gevent.sleep(wait)
                self._pool.apply(self._try, (number,))
        finally:
            self.under_way.pop(number, None)

    def _seconds_left(self, number: int) -> float | None:
        """Seconds until it is due; None if nothing is owed."""
        with self.app.app_context():
            delivery = db.session.get(Delivery, number)
            if delivery is None or delivery.due_mills is None:
                return None
            return max(0.0, (delivery.due_mills - mills()) / 1000)

    def _try(self, number: int) -> None:
        with self.app.app_context():
            delivery = db.session.get(Delivery, number)
            task = delivery and db.session.get(Task, delivery.record_id)
            if delivery is None or task is None:
                return
            url, data, timeout = delivery.url, body(task), current_app.config["WEBHOOK_TIMEOUT"]
        good, answer = post(url, data, timeout)
        with self.app.app_context():
            note(number, good, answer)


def init_app(app: Flask) -> None:
    """Give the application its courier."""
    app.extensions[EXTENSION] = Courier(app)


def of(app: Flask) -> Courier:
    """The application's courier."""
    return app.extensions[EXTENSION]


@signals.task_ended.connect
def send(app: Flask, task: Task, **_: Any) -> None:
    """Have what this task owes delivered."""
    if task.webhook_url:
        of(app).look()


def body(task: Task) -> bytes:
    """The record as JSON; as a JSON string of it where WEBHOOK_BODY says so."""
    text = json.dumps(TaskRecordSchema().dump(records.stored(task, task.base_url)), ensure_ascii=False)
    if current_app.config["WEBHOOK_BODY"] == "string":
        text = json.dumps(text)
    return text.encode()


def post(url: str, data: bytes, timeout: float) -> tuple[bool, str]:
    """Whether the receiver took it (any 2xx), and what it answered."""
    headers = {"Content-Type": "application/json", "User-Agent": f"fooocus-flask/{version('fooocus-flask')}"}
    try:
        request = urllib.request.Request(url, data, headers, method="POST")
        with opener.open(request, timeout=timeout) as answer:
            return True, str(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return False, str(error.code)
    except (OSError, ValueError, urllib.error.URLError) as error:
        return False, str(error)


def note(number: int, good: bool, answer: str) -> None:
    """Keep what became of a try: delivered, due again later, or given up."""
    delivery = db.session.get(Delivery, number)
    if delivery is None:
        return
    delays = current_app.config["WEBHOOK_DELAYS"]
    delivery.answer = answer
    delivery.due_mills = None
    delivery.attempts += 1
    if good:
        delivery.delivered_mills = mills()
    elif delivery.attempts <= len(delays):
        delivery.due_mills = mills() + int(delays[delivery.attempts - 1] * 1000)
    else:
        log.warning("Webhook %s given up after %d tries: %s", delivery.url, delivery.attempts, answer)
    db.session.commit()
