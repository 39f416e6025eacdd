"""The stream of a task in their format: partial pictures, each finished one as soon as it is there, or the failure."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from flask import Flask

from blueprints.openai_images.answers import AnswerStyle, in_base64, usage
from blueprints.openai_images.errors import SERVER, TaskEnd, Told, end_of
from blueprints.openai_images.sizes import spelt
from engine.images import codecs, reading
from fooocus_flask.clock import mills
from fooocus_flask.following.departures import Departure
from fooocus_flask.following.streams import PING_EVERY, DonePicture, News, TaskStream
from fooocus_flask.following.waiters import STOPPING
from fooocus_flask.pictures import outputs
from fooocus_flask.pictures.folder_storage import OUTPUTS
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.pictures.storage import storage
from fooocus_flask.tables import Task

PREFIXES = {"generations": "image_generation", "edits": "image_edit", "variations": "image_edit"}
PING = b": ping\n\n"


@dataclass(frozen=True)
class PartialPicture:
    """A preview of a picture, and its place among those of the same one."""

    png: bytes
    index: int


@dataclass
class Spread:
    """Chooses previews of each picture: at most so many, evenly over its steps."""

    most: int
    sent: int = 0
    step: int = 0

    def take(self, news: News) -> int | None:
        """The place of this preview among those chosen; None where it is not."""
        if news.step <= self.step:  # the next picture
            self.sent = 0
        self.step = news.step
        if not news.preview or self.sent >= self.most:
            return None
        if news.step < math.ceil((self.sent + 1) * news.steps / (self.most + 1)):
            return None
        self.sent += 1
        return self.sent - 1


class ImageEvents(TaskStream):
    """One client's stream of pictures."""

    def __init__(
        self, app: Flask, task: Task, most_partial: int, environ: Mapping[str, Any], left: Callable[[], object] | None
    ) -> None:
        self._style, self._kind = AnswerStyle.of(task), PREFIXES[(task.api or {}).get("route", "generations")]
        self._folder, self._spread, self._over = outputs.folder(), Spread(most_partial), False
        self._waiting: deque[PartialPicture | DonePicture | TaskEnd] = deque()
        self._known: set[str] = set()
        """Paths of the pictures that were queued."""
        super().__init__(app, task.task_id, left)
        self._departure = None if left is None else Departure(app, environ, left)

    @property
    def ended(self) -> bool:
        """Whether all is queued that will come."""
        return self._over

    def progressed(self, news: News) -> None:
        """Queue the preview, if it is one of those to send."""
        if news.steps and (index := self._spread.take(news)) is not None:
            self._queue(PartialPicture(news.preview, index))

    def picture_done(self, picture: DonePicture) -> None:
        """Queue the picture, once."""
        if picture.path not in self._known:
            self._known.add(picture.path)
            self._queue(picture)

    def finish(self, task: Task) -> None:
        """Queue what is missing: pictures that were done before, or why there are none."""
        tokens = (task.drawn_with or {}).get("prompt_tokens", 0)
        if end := end_of(task):
            self._queue(end)
        else:
            for index, path in enumerate(task.result or ()):
                self.picture_done(DonePicture(index, path, tokens))
        self._over = True
        self._changed.set()

    def _queue(self, event: PartialPicture | DonePicture | TaskEnd) -> None:
        self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        """Stop following, and watching the client."""
        if self._departure is not None:
            self._departure.close()
        super().close()

    def __iter__(self) -> Iterator[bytes]:
        next_ping = monotonic() + PING_EVERY
        while True:
            self._changed.clear()
            while self._waiting:
                yield self._written(self._waiting.popleft())
                next_ping = monotonic() + PING_EVERY
            if self._over:
                return
            if self._closed:
                self._give_up()
                yield failure(Told(STOPPING, SERVER, None, "engine_unavailable"))
                return
            if not self._changed.wait(max(0.0, next_ping - monotonic())):
                next_ping = monotonic() + PING_EVERY
                yield PING

    def _give_up(self) -> None:
        """Take back a task that has not begun: the server stops, and its client hears so and may ask again."""
        if self._left is not None:
            with self._app.app_context():
                self._left()

    def _written(self, event: PartialPicture | DonePicture | TaskEnd) -> bytes:
        if isinstance(event, TaskEnd):
            return failure(event.told)
        if isinstance(event, PartialPicture):
            more = {"partial_image_index": event.index}
            return self._picture("partial_image", in_thread(self._partial_file, event.png), more)
        return self._picture("completed", self._final_file(event), {"usage": usage(event.prompt_tokens)})

    def _partial_file(self, png: bytes) -> bytes:
        return png if self._style.output_format == "png" else codecs.convert(png, self._style.output_format)

    def _final_file(self, picture: DonePicture) -> bytes:
        storage.of(self._app).fetch(f"{OUTPUTS}/{picture.path}")
        return self._style.file(self._folder / picture.path)

    def _picture(self, kind: str, file: bytes, more: Mapping[str, Any]) -> bytes:
        """The event of a picture, which tells its own size."""
        told = {"type": f"{self._kind}.{kind}", "created_at": mills() // 1000, **self._style.told, **more}
        return in_thread(picture_event, told, file)


def picture_event(told: dict[str, Any], file: bytes) -> bytes:
    """An event with a picture in it; takes its time."""
    told |= {"b64_json": in_base64(file), "size": spelt(reading.size(file))}
    return event(told["type"], told)


def failure(told: Told) -> bytes:
    """The event that says why nothing more comes."""
    return event("error", {"error": asdict(told)})


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event as it goes over the wire."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
