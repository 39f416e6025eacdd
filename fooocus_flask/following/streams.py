"""A task's progress as server-sent events: each client has room for one piece of news, the newest, and for the end.

The wire format is what known clients cut apart by hand: an event is two `data` lines and an
empty one, ends of line CR LF, one write each, and never two of them close enough to arrive together.
Other APIs have formats of their own; whatever follows a task is a `TaskStream`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any

import gevent
from flask import Flask, Response
from gevent.event import Event

from fooocus_flask import signals
from fooocus_flask.database import db
from fooocus_flask.extension import Extension
from fooocus_flask.pictures import urls
from fooocus_flask.tables import Task
from fooocus_flask.tasks import queue

PING_EVERY = 15.0
GAP, LAST_GAP = 0.2, 0.03
"""Least seconds between two writes, and before the last one."""

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}


def event(progress: int, preview: str | None, message: str, images: list[str], **more: Any) -> bytes:
    """One event as it goes over the wire."""
    members = {"progress": progress, "preview": preview, "message": message, "images": images, **more}
    return f"data: {json.dumps(members)}\r\ndata: \r\n\r\n".encode()


def last_event(task: Task, base: str) -> bytes:
    """The event that ends a stream; `error` says why a task failed."""
    more = {"error": task.error} if task.error else {}
    return event(100, None, "Finished", urls.pictures(task.result, base), **more)


def ping() -> bytes:
    """A comment that keeps the connection open."""
    return f": ping - {dt.datetime.now(dt.UTC)}\r\n\r\n".encode()


@dataclass(frozen=True)
class News:
    """How far a task is; `step` of a picture's `steps`, which are 0 while none is sampled. `preview` is a PNG."""

    percent: int
    message: str
    preview: bytes = b""
    step: int = 0
    steps: int = 0

    @cached_property
    def event(self) -> bytes:
        """The same as it goes over the wire, written out once, however many follow."""
        picture = f"data:image/png;base64,{base64.b64encode(self.preview).decode()}" if self.preview else None
        return event(self.percent, picture, self.message, [])


class TaskStream(ABC):
    """One client's stream of a task; iterate it, and close it whatever happens.

    It follows from the moment it is made, so nothing that happens before the first write is missed. `left` is called,
    in the application's context, if the client goes away before the end; that shows when a write to it fails.
    """

    def __init__(self, app: Flask, task_id: str, left: Callable[[], object] | None = None) -> None:
        self._app, self._task_id, self._left = app, task_id, left
        self._changed = Event()
        self._closed = False
        followers.of(app)[task_id].add(self)
        with app.app_context():
            task = queue.find(task_id)
            if task.ended:
                self.finish(task)
            db.session.remove()

    @abstractmethod
    def __iter__(self) -> Iterator[bytes]:
        """What goes over the wire, piece by piece."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the task's end is known."""

    @abstractmethod
    def finish(self, task: Task) -> None:
        """Take the end."""

    @abstractmethod
    def progressed(self, news: News) -> None:
        """Take progress."""

    @abstractmethod
    def picture_done(self, picture: DonePicture) -> None:
        """Take a picture that lies in the outputs folder."""

    def close(self) -> None:
        """Stop following; called when the answer has ended, for whatever reason."""
        if self._closed:
            return
        self.dismiss()
        if not self.ended and self._left is not None:
            with self._app.app_context():
                self._left()

    def dismiss(self) -> None:
        """Follow no longer, by the server's own will."""
        self._closed = True
        self._changed.set()
        by_task = followers.of(self._app)
        by_task[self._task_id].discard(self)
        if not by_task[self._task_id]:
            del by_task[self._task_id]


@dataclass(frozen=True)
class DonePicture:
    """A picture in the outputs folder: its place among the task's, its path, what its prompt counts."""

    index: int
    path: str
    prompt_tokens: int = 0


class Follower(TaskStream):
    """The stream of our own API: there is room for the newest progress, and for the end."""

    def __init__(self, app: Flask, task_id: str, base: str, left: Callable[[], object] | None = None) -> None:
        self._base = base
        self._news: bytes | None = None
        self._end: bytes | None = None
        super().__init__(app, task_id, left)

    @property
    def ended(self) -> bool:
        """Whether the last event can be written."""
        return self._end is not None

    def __iter__(self) -> Iterator[bytes]:
        last, next_ping = -GAP, monotonic() + PING_EVERY
        while self._end is not None or not self._closed:
            if self._end is not None:
                gevent.sleep(max(0.0, last + LAST_GAP - monotonic()))
                yield self._end
                return
            due = max(last + GAP, monotonic() if self._news else next_ping)
            self._changed.wait(max(0.0, due - monotonic()))
            self._changed.clear()
            now = monotonic()
            if self._end is not None or self._closed or now < last + GAP:
                continue
            if now >= next_ping:
                next_ping += PING_EVERY
                yield ping()
            elif self._news is not None:
                news, self._news = self._news, None
                yield news
            else:
                continue
            last = monotonic()

    def progressed(self, news: News) -> None:
        """Send progress."""
        self.update(news.event)

    def picture_done(self, picture: DonePicture) -> None:
        """Nothing: the last event names all pictures."""

    def update(self, news: bytes) -> None:
        """Send the newest progress in place of what was not sent yet."""
        self._news = news
        self._changed.set()

    def finish(self, task: Task) -> None:
        """Take the end."""
        self._end = last_event(task, self._base)
        self._changed.set()


def _nobody(app: Flask) -> defaultdict[str, set[TaskStream]]:
    return defaultdict(set)


followers = Extension("fooocus-streams", _nobody)
"""Who follows each task, by task id."""


class StreamResponse(Response):
    """A response whose headers leave at once, not with the first event: a task may wait long in the queue."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        body, status, headers = self.get_wsgi_response(environ)
        write = start_response(status, headers)
        write(b"")
        return body


@signals.task_progressed.connect
def progressed(
    app: Flask, task_id: str, percent: int, message: str, preview: bytes, step: int = 0, steps: int = 0, **_: Any
) -> None:
    """Pass progress on."""
    if group := followers.of(app).get(task_id):
        news = News(percent, message, preview, step, steps)
        for follower in group:
            follower.progressed(news)


@signals.picture_done.connect
def picture_done(app: Flask, task_id: str, index: int, path: str, prompt_tokens: int, **_: Any) -> None:
    """Pass a finished picture on."""
    for follower in followers.of(app).get(task_id, ()):
        follower.picture_done(DonePicture(index, path, prompt_tokens))


@signals.task_ended.connect
def ended(app: Flask, task: Task, **_: Any) -> None:
    """Pass the end on."""
    for follower in followers.of(app).get(task.task_id, ()):
        follower.finish(task)


def close(app: Flask, sparing: Collection[str] = ()) -> None:
    """End every stream without its last event, but those of some tasks; the others go on when a server starts again."""
    for task_id, group in list(followers.of(app).items()):
        for follower in list(group) if task_id not in sparing else ():
            follower.dismiss()
