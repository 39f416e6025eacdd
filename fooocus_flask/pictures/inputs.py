"""Pictures that a request brings: found wherever they come from, looked at, and kept once under their content's hash.

A request's parameters then hold `/inputs/<hash>.<ending>` paths, relative so that a new host breaks no history.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pybase64
from flask import current_app, request
from gevent.event import AsyncResult
from werkzeug.security import safe_join

from engine.images import reading
from engine.images.reading import MOST_BYTES, UnreadablePicture
from fooocus_flask.access import limits
from fooocus_flask.pictures import urls
from fooocus_flask.pictures.blocking import attempted, put_meanwhile
from fooocus_flask.pictures.blocking import in_thread as in_thread
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.fetching import NotFetched, fetch
from fooocus_flask.pictures.folder_storage import INPUTS, OUTPUTS, Storage
from fooocus_flask.pictures.storage import storage
from schemas.fields import Upload

DATA_URL = re.compile(r"data:[^,]{0,255}?;base64,", re.IGNORECASE)
"""Whatever kind it names: the bytes tell what they are, and clients write `application/octet-stream`."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
OWN_PATH = re.compile(r"/(inputs|outputs|files)/([^?#]*\.[a-z]+)(\?[^#]*)?(#.*)?")

NO_PICTURE = "Input should be a picture: {}"


class NotAPicture(Exception):
    """There is no usable picture here; the text says why."""


@dataclass(frozen=True)
class Arrived:
    """A picture that was brought, and where it is kept; `size` is the memory it takes to see that it is whole, in
    bytes, 0 if it is there already."""

    data: bytes
    path: Path
    size: int

    @property
    def reference(self) -> str:
        """The path of its URL."""
        return f"/inputs/{self.path.name}"


@dataclass(frozen=True)
class InputStore:
    """The pictures of one server, as `current` finds it configured; needs no application context.

    `bases` are the starts of URLs that are this server's own; `client` is who brings pictures, and takes turns.
    """

    folder: Path
    outputs: Path
    bases: tuple[str, ...] = ()
    allow_private: bool = False
    client: str = ""
    storage: Storage = field(default_factory=Storage)

    def keep(self, sent: str | Upload) -> str:
        """Keep what was sent as a picture; the path of its URL.

        Raises:
            NotAPicture: it is none, or cannot be had.
            StorageFault: the bucket does not take it.
        """
        arrived = self.receive(sent)
        self.store(arrived)
        return arrived.reference

    def receive(self, sent: str | Upload) -> Arrived:
        """Have the bytes of what was sent, which begin like a picture.

        Raises:
            NotAPicture: they do not, or cannot be had.
        """
        data = self.data(sent)
        try:
            return in_thread(self._arrived, data)
        except UnreadablePicture as error:
            raise NotAPicture(NO_PICTURE.format(error)) from error

    def store(self, arrived: Arrived) -> None:
        """Write a picture that is new here, once it is sure that all of it can be decoded.

        Raises:
            NotAPicture: it cannot.
            StorageFault: the bucket does not take it.
        """
        try:
            if arrived.size:
                with room.of(arrived.size, self.client), put_meanwhile(arrived.path, arrived.data):
                    in_thread(reading.ending, arrived.data)
        except UnreadablePicture as error:
            raise NotAPicture(NO_PICTURE.format(error)) from error
        self.storage.ensure(f"{INPUTS}/{arrived.path.name}")

    def data(self, sent: str | Upload) -> bytes:
        """The bytes of a picture as it was sent: an upload, a URL, a data URL or base64. They may be anything.

        Raises:
            NotAPicture: they cannot be had.
        """
        if isinstance(sent, Upload):
            return sent.data
        text = sent.strip()
        if own := self.own(text):
            self.storage.fetch(stored_path(own))
            return in_thread(self._read, own)
        if not SCHEME.match(text):
            return in_thread(decoded, text)
        try:
            return fetch(text, allow_private=self.allow_private)
        except NotFetched as error:
            raise NotAPicture(f"The picture cannot be fetched: {error}") from error

    def path(self, reference: str) -> Path:
        """The file of a picture that is kept, or just being stored, by the path of its URL.

        Raises:
            FileNotFoundError: it is not there (any more).
        """
        name = reference.removeprefix("/inputs/")
        coming = _coming.get(self.folder / name)
        if coming is None or not coming.error.get():
            self.storage.fetch(reference[1:])
            if path := found(self.folder, name):
                return path
        raise FileNotFoundError(f"the input picture {name} is gone")

    def own(self, text: str) -> str | None:
        """The path below this server that the text names, if it does."""
        for base in self.bases:
            if text.startswith(base + "/"):
                text = text.removeprefix(base)
        return unquote(text.partition("?")[0].partition("#")[0]) if OWN_PATH.fullmatch(text) else None

    def _read(self, own: str) -> bytes:
        kind, _, below = own.removeprefix("/").partition("/")
        path = found(self.folder if kind == "inputs" else self.outputs, *below.split("/"))
        if path is None:
            raise NotAPicture(f"There is no picture {own} on this server")
        return path.read_bytes()

    def _arrived(self, data: bytes) -> Arrived:
        ending, size = reading.head(data)
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}.{ending}"
        try:
            os.utime(path)  # its time is when it was last brought
        except FileNotFoundError:
            return Arrived(data, path, size)
        return Arrived(data, path, 0)


def stored_path(own: str) -> str:
    """What the storage calls the picture that a path below this server names; Fooocus-API's name results otherwise."""
    kind, _, below = own.removeprefix("/").partition("/")
    return f"{INPUTS if kind == INPUTS else OUTPUTS}/{below}"


def current() -> InputStore:
    """The server's pictures, for the request at hand or for none."""
    config = current_app.config
    bases = (urls.base(), request.url_root.rstrip("/")) if request else ()
    allow_private, client = bool(config["ALLOW_PRIVATE_ADDRESSES"]), limits.whose() if request else ""
    folders = Path(config["INPUT_PATH"]), Path(config["OUTPUT_PATH"])
    return InputStore(*folders, bases, allow_private, client, storage.current())


class Coming:
    """A picture of a request that is on its way: its bytes are had, then it is looked at and stored."""

    def __init__(self) -> None:
        self.reference: AsyncResult[str | None] = AsyncResult()
        """The path of its URL, before it is stored; None where its bytes cannot be had, or begin like no picture."""
        self.error: AsyncResult[Exception | None] = AsyncResult()
        """What keeps it from being stored; None once it is."""

    def keep(self, server: InputStore, sent: str | Upload) -> None:
        """Have it on this server."""
        arrived, error = attempted(server.receive, (sent,))
        if arrived is not None:
            _coming[arrived.path] = self
        self.reference.set(arrived and arrived.reference)
        if arrived is not None:
            _, error = attempted(server.store, (arrived,))
            if _coming.get(arrived.path) is self:  # nobody else brings the same
                del _coming[arrived.path]
        self.error.set(error)


_coming: dict[Path, Coming] = {}
"""The pictures of requests that are being stored, by the path that each will have."""


def decoded(text: str) -> bytes:
    """What a data URL or base64 holds.

    Raises:
        NotAPicture: it is neither, or too long.
    """
    if text[:5].lower() == "data:":
        head = DATA_URL.match(text)
        if head is None:
            raise NotAPicture("A data URL should be in base64: data:image/png;base64,…")
        text = text[head.end() :]
    if len(text) > MOST_BYTES * 3 // 2:  # base64 has 4 characters for 3 bytes, and breaks of lines
        raise NotAPicture(f"The picture has more than {MOST_BYTES} bytes")
    plain = text.replace("-", "+").replace("_", "/")
    with suppress(ValueError):
        return pybase64.b64decode(plain, validate=True)  # 40 times as fast where there are no breaks of lines
    try:
        return binascii.a2b_base64(plain.encode("ascii") + b"=" * 2)  # more = than needed does no harm, less does
    except ValueError as error:
        raise NotAPicture("Input should be a picture: a URL, a data URL or base64") from error


def found(folder: Path | str, *parts: str) -> Path | None:
    """The picture's path, certainly inside the folder; None if there is no such picture."""
    joined = safe_join(str(folder), *parts) if all("\0" not in part for part in parts) else None
    if joined is None:
        return None
    try:
        path = Path(joined).resolve()
        inside = path.is_relative_to(Path(folder).resolve())
        return path if inside and path.suffix[1:] in reading.MEDIA_TYPES and path.is_file() else None
    except (OSError, RuntimeError):  # a name longer than the disk has, or links in a circle
        return None
