"""All tasks followed together: one stream of server-sent events, which a client that was away takes up again.

What changes a list of tasks has an id and is kept for a while. Progress has none: of it only the newest counts.
Whatever happens is written out once, however many listen; who does not read in time is sent away, and may come back.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import gevent
from flask import Flask
from gevent.event import Event
from sqlalchemy import select

from fooocus_flask import signals
from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import READ
from fooocus_flask.database import db
from fooocus_flask.errors import FooocusError, Forbidden
from fooocus_flask.extension import Extension, application
from fooocus_flask.following import streams
from fooocus_flask.pictures import urls
from fooocus_flask.tables import ENDED, Task
from fooocus_flask.tasks import records
from schemas.tasks import LONGEST_EVENT_ID, BriefTaskSchema

KEPT = 1000
"""Events for those who come back."""
MOST_UNREAD = 256
"""Events that may wait for a listener's connection to take them."""
MOST_DELETED = 500
"""Tasks in one event that tells of their deletion."""
GAP, PREVIEW_GAP = 0.5, 1.0
"""Least seconds between two events of progress, and between two with a preview of the same task."""
PING_EVERY = 15.0
RETRY_MILLS = 2000
"""After which a browser comes back."""
STOPPING = "The server is stopping; its tasks are kept, and can be followed again when it has started"

RECORD = BriefTaskSchema(exclude=("queue_position", "eta_seconds"))
"""A task in an event: its place changes whenever another one's does."""


@dataclass(frozen=True)
class TaskEvent:
    """Something that happened to a task, as it is sent to who may see tasks of this key."""

    number: int
    key_name: str | None
    data: bytes


class Listener:
    """One client's stream of events: iterate it, which is when it begins to listen, and close it whatever happens.

    `sees` tells by the name of a task's key whether the client may see it, `allowed` whether the client may go on.
    """

    def __init__(
        self,
        hub: EventHub,
        base: str,
        last_id: str | None = None,
        *,
        sees: Callable[[str | None], bool] = lambda key_name: True,
        allowed: Callable[[], bool] = lambda: True,
        previews: bool = False,
    ) -> None:
        self.sees, self.previews = sees, previews
        self._hub, self._last_id, self._allowed = hub, last_id, allowed
        self._base = json.dumps(base)[1:-1].encode()
        self._unread: deque[bytes] = deque()
        self._progress: dict[str, bytes] = {}
        self._news, self._closed = Event(), False
        self._writer: gevent.Greenlet | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces():
                self._writer = gevent.getcurrent()
                yield piece
                self._writer = None
        finally:
            self._writer = None
            self.close()

    def _pieces(self) -> Iterator[bytes]:
        missed = self._hub.join(self, self._last_id)
        yield self._written([f"retry: {RETRY_MILLS}\n\n".encode(), *missed])
        next_look = monotonic() + PING_EVERY
        while not self._closed:
            self._news.wait(max(0.0, next_look - monotonic()))
            self._news.clear()
            if look := monotonic() >= next_look:
                next_look = monotonic() + PING_EVERY
                if not self._allowed():
                    return
            if self._unread or self._progress:
                yield self._take()
            elif look and not self._closed:
                yield streams.ping()

    def _take(self) -> bytes:
        news = [*self._unread, *self._progress.values()]
        self._unread.clear()
        self._progress.clear()
        return self._written(news)

    def _written(self, news: Iterable[bytes]) -> bytes:
        return b"".join(news).replace(self._hub.base, self._base)

    def put(self, data: bytes) -> None:
        """Send this event; if too many wait already, the client is sent away."""
        if len(self._unread) >= MOST_UNREAD:
            self.close()
            gevent.kill(self._writer) if self._writer else None  # its connection takes nothing
            return
        self._unread.append(data)
        self._news.set()

    def put_progress(self, task_id: str, data: bytes) -> None:
        """Send a task's progress in place of what was not sent yet."""
        self._progress[task_id] = data
        self._news.set()

    def forget(self, task_id: str) -> None:
        """Send no more progress of a task that has ended."""
        self._progress.pop(task_id, None)

    def close(self) -> None:
        """Listen no longer; what was not sent is dropped."""
        self._closed = True
        self._unread.clear()
        self._progress.clear()
        self._news.set()
        self._hub.leave(self)


@dataclass
class Pace:
    """The newest progress of a task, whose key has this name; `preview` is what was not sent yet of pictures."""

    key_name: str | None
    percent: int = 0
    message: str = ""
    preview: bytes = b""


class EventHub:
    """Who listens to one application's tasks, and the last events; `base` stands in them for the URL of the server."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self.base = secrets.token_hex(16).encode()
        self._run = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[TaskEvent] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()
        self.closed = False
        self._owners: dict[str, str | None] = {}
        self._progress: dict[str, Pace] = {}
        self._flusher: gevent.Greenlet | None = None
        self._flushed = 0.0
        self._previewed: dict[str, float] = {}
        """When each task's preview was sent last, by a clock that only grows."""

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def previewed(self) -> bool:
        """Whether somebody listens who wants previews."""
        return any(listener.previews for listener in self._listeners)

    def join(self, listener: Listener, last_id: str | None) -> list[bytes]:
        """Have the listener hear what happens from now on; what it missed, or that it must look at all tasks again."""
        self._listeners.add(listener)
        run, _, digits = (last_id or "")[:LONGEST_EVENT_ID].partition("-")
        number = int(digits) if digits.isdecimal() and digits.isascii() else -1
        oldest = self._kept[0].number if self._kept else self._number + 1
        if run == self._run and oldest - 1 <= number <= self._number:
            return [event.data for event in self._kept if event.number > number and listener.sees(event.key_name)]
        return [self._written("reset", {"reason": "gone" if last_id else "new"}, self._number)]

    def leave(self, listener: Listener) -> None:
        """Have the listener hear nothing more."""
        self._listeners.discard(listener)

    def publish(self, kind: str, key_name: str | None, told: dict[str, Any]) -> None:
        """Tell everybody who may see tasks of this key, and keep it for those who come back."""
        self._number += 1
        event = TaskEvent(self._number, key_name, self._written(kind, told, self._number))
        self._kept.append(event)
        for listener in [listener for listener in self._listeners if listener.sees(key_name)]:
            listener.put(event.data)

    def show(self, kind: str, task: Task) -> None:
        """Tell of a task that was submitted, started or has ended."""
        if task.ended:
            self._owners.pop(task.task_id, None)
            self._progress.pop(task.task_id, None)
            self._previewed.pop(task.task_id, None)
            for listener in self._listeners:
                listener.forget(task.task_id)
        else:
            self._owners[task.task_id] = task.key_name
        self.publish(kind, task.key_name, RECORD.dump(records.brief(task, self.base.decode())))

    def show_picture(self, task_id: str, path: str, told: dict[str, Any]) -> None:
        """Tell of a picture, which lies at this path below the outputs folder."""
        (url,) = urls.pictures([path], self.base.decode())
        if self._knows(task_id):
            self.publish("picture", self._owners[task_id], {"task_id": task_id, "url": url, **told})

    def note_progress(self, task_id: str, percent: int, message: str, preview: bytes) -> None:
        """Tell of a task's progress, soon: what follows at once replaces it."""
        if not self._listeners or not self._knows(task_id):
            return
        pace = self._progress.setdefault(task_id, Pace(self._owners[task_id]))
        pace.percent, pace.message, pace.preview = percent, message, preview or pace.preview
        if self._flusher is None:
            self._flusher = gevent.spawn_later(max(0.0, self._flushed + GAP - monotonic()), self._flush)

    def _flush(self) -> None:
        self._flusher, self._flushed = None, monotonic()
        paces, self._progress = self._progress, {}
        for task_id, pace in paces.items():
            told = {"task_id": task_id, "progress": pace.percent, "message": pace.message}
            hearing = [listener for listener in self._listeners if listener.sees(pace.key_name)]
            pictured = pace.preview and self._flushed >= self._previewed.get(task_id, -PREVIEW_GAP) + PREVIEW_GAP
            with_preview = [listener for listener in hearing if listener.previews] if pictured else []
            plain = self._written("progress", told)
            for listener in hearing:
                listener.put_progress(task_id, plain)
            if with_preview:
                self._previewed[task_id] = self._flushed
                data = f"data:image/png;base64,{base64.b64encode(pace.preview).decode()}"
                whole = self._written("progress", told | {"preview": data})
                for listener in with_preview:
                    listener.put_progress(task_id, whole)

    def _knows(self, task_id: str) -> bool:
        """Whether there is such a task that has not ended; the row is asked where the task came before this start."""
        if task_id in self._owners:
            return True
        with self._app.app_context():
            asked = select(Task.key_name, Task.task_status).where(Task.task_id == task_id)
            found = db.session.execute(asked).first()
        if found is None or found.task_status in ENDED:
            return False
        self._owners[task_id] = found.key_name
        return True

    def _written(self, kind: str, told: dict[str, Any], number: int | None = None) -> bytes:
        """An event as it goes over the wire."""
        name = "" if number is None else f"id: {self._run}-{number}\n"
        return f"event: {kind}\n{name}data: {json.dumps(told, separators=(',', ':'))}\n\n".encode()

    def close(self) -> None:
        """Send everybody away, and let nobody else come: who does on a connection that is open would hold the stop."""
        self.closed = True
        if self._flusher is not None:
            self._flusher.kill()
            self._flusher = None
        for listener in [*self._listeners]:
            listener.close()


hub = Extension("fooocus-task-events", EventHub)


def answer(last_id: str | None, *, previews: bool) -> streams.StreamResponse:
    """The stream for whoever sends the request at hand: the tasks that this caller may look at, while the key is good.

    Raises:
        Forbidden: there is no caller.
        FooocusError: the server is stopping.
    """
    app, caller, key = application(), callers.current(), callers.sent()
    if caller is None:
        raise Forbidden
    if hub.of(app).closed:
        raise FooocusError(STOPPING, status=503, headers={"Retry-After": str(RETRY_MILLS // 1000)})

    def allowed() -> bool:
        with app.app_context():
            return callers.who(key) == caller

    sees = partial(scopes.is_open_to, caller, scope=READ)
    listener = Listener(hub.of(app), urls.base(), last_id, sees=sees, allowed=allowed, previews=previews)
    return streams.StreamResponse(listener, headers=streams.HEADERS)


@signals.task_submitted.connect
def submitted(app: Flask, task: Task, **_: Any) -> None:
    """Tell that a task waits."""
    hub.of(app).show("submitted", task)


@signals.task_started.connect
def started(app: Flask, task: Task, **_: Any) -> None:
    """Tell that a task is drawn."""
    hub.of(app).show("started", task)


@signals.task_progressed.connect
def progressed(app: Flask, task_id: str, percent: int, message: str, preview: bytes, **_: Any) -> None:
    """Tell how far a task is."""
    hub.of(app).note_progress(task_id, percent, message, preview)


@signals.picture_done.connect
def pictured(app: Flask, task_id: str, index: int, path: str, seed: int, width: int, height: int, **_: Any) -> None:
    """Tell that a picture is there."""
    told = {"index": index, "seed": str(seed), "width": width, "height": height}
    hub.of(app).show_picture(task_id, path, told)


@signals.task_ended.connect
def ended(app: Flask, task: Task, **_: Any) -> None:
    """Tell how a task ended."""
    hub.of(app).show("ended", task)


@signals.tasks_deleted.connect
def deleted(app: Flask, tasks: list[tuple[str, str | None]], **_: Any) -> None:
    """Tell which tasks are gone, each to those who could see it."""
    by_key: dict[str | None, list[str]] = {}
    for task_id, key_name in tasks:
        by_key.setdefault(key_name, []).append(task_id)
    for key_name, ids in by_key.items():
        for first in range(0, len(ids), MOST_DELETED):
            hub.of(app).publish("deleted", key_name, {"task_ids": ids[first : first + MOST_DELETED]})
