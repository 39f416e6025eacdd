"""Pictures that a request brings: found wherever they come from, looked at, and kept once under their content's hash.

A request's parameters then hold `/inputs/<hash>.<ending>` paths, relative so that a new host breaks no history.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pybase64
from flask import current_app, request
from gevent.event import AsyncResult
from gevent.pool import Pool
from werkzeug.security import safe_join

from engine.images import reading
from engine.images.reading import MOST_BYTES, UnreadablePicture
from fooocus_flask.access import file_tokens, limits
from fooocus_flask.errors import Forbidden, InvalidRequest
from fooocus_flask.pictures import urls
from fooocus_flask.pictures.blocking import attempted, put_meanwhile
from fooocus_flask.pictures.blocking import in_thread as in_thread
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.fetching import NotFetched, fetch
from fooocus_flask.pictures.folder_storage import INPUTS, OUTPUTS, Storage
from fooocus_flask.pictures.storage import storage
from schemas.faults import Fault
from schemas.fields import Upload
from schemas.tasks import IMAGE_MEMBERS

CONTROL_IMAGES, CONTROL_IMAGE = "controlnet_image", "cn_img"
AT_ONCE = 4
"""Pictures of one request that are fetched at the same time."""

DATA_URL = re.compile(r"data:[^,]{0,255}?;base64,", re.IGNORECASE)
"""Whatever kind it names: the bytes tell what they are, and clients write `application/octet-stream`."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
OWN_PATH = re.compile(r"/(inputs|outputs|files)/([^?#]*\.[a-z]+)(\?[^#]*)?(#.*)?")

NO_PICTURE = "Input should be a picture: {}"

Place = tuple[str | int, ...]
"""Where a picture stands in a request, such as `("controlnet_image", 0, "cn_img")`."""


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


def given(sent: str | Upload, *place: str | int) -> bytes:
    """The bytes of the picture at this place of a request that does not keep it; they decode.

    Raises:
        InvalidRequest: there is no picture, or it is another's.
    """
    server = current()
    require_open(server, {place: sent})
    try:
        data = server.data(sent)
        with room.of(in_thread(reading.decoded_bytes, data), server.client):
            in_thread(reading.ending, data)
        return data
    except (NotAPicture, UnreadablePicture) as error:
        raise InvalidRequest([Fault("image_error", str(error), sent, loc=("body", *place))]) from error


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


@contextmanager
def resolved(sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Have the members of a generation request, each picture replaced by the path of its URL on this server.

    The pictures are looked at and stored while the block works; after it they are there. The block is not begun where
    one cannot be had, or begins like no picture.

    Raises:
        InvalidRequest: one of them is none or cannot be had; all such faults at once, and then those that the block
            found.
        StorageFault: the bucket does not take one.
    """
    server, places = current(), dict(pictures(sent))
    require_open(server, places)
    coming, pool = {place: Coming() for place in places}, Pool(AT_ONCE)
    for place, picture in places.items():
        pool.spawn(coming[place].keep, server, picture)
    references = {place: picture.reference.get() for place, picture in coming.items()}

    def faults() -> list[Fault]:
        errors = {place: picture.error.get() for place, picture in coming.items()}
        return [image_fault(place, places[place], error) for place, error in errors.items() if error]

    if None in references.values():
        raise InvalidRequest(faults())
    try:
        yield with_references(sent, references)
    except InvalidRequest as refused:
        raise InvalidRequest([*faults(), *refused.faults]) from refused
    if found := faults():
        raise InvalidRequest(found)


def image_fault(place: Place, sent: str | Upload, error: Exception) -> Fault:
    """What is wrong with the picture at this place of a request.

    Raises:
        Exception: the error, if it says nothing of the picture.
    """
    if not isinstance(error, NotAPicture):
        raise error
    return Fault("image_error", str(error), sent, loc=("body", *place))


def with_references(params: Mapping[str, Any], references: Mapping[Place, str | None]) -> dict[str, Any]:
    """The parameters with other references to the pictures at these places."""
    changed = dict(params)
    if any(place[0] == CONTROL_IMAGES for place in references):
        changed[CONTROL_IMAGES] = [dict(part) for part in params[CONTROL_IMAGES]]
    for place, reference in references.items():
        if len(place) == 1:
            changed[str(place[0])] = reference
        else:
            changed[CONTROL_IMAGES][place[1]][CONTROL_IMAGE] = reference
    return changed


def missing(params: Mapping[str, Any]) -> list[Fault]:
    """A fault for each picture of a task's parameters that is gone; those that are there count as brought just now."""
    server, faults = current(), []
    for place, path in pictures(params):
        try:
            server.storage.fetch(path[1:])
            in_thread(os.utime, server.folder / Path(path).name)
            server.storage.ensure(path[1:])
        except FileNotFoundError:
            text = "The picture is no longer on this server; send the request again with it"
            faults.append(Fault("image_error", text, path, loc=("body", *place)))
    return faults


def require_open(server: InputStore, places: Mapping[Place, str | Upload]) -> None:
    """Let pictures of this server be used by those only who may load them, by their tokens or with a key that may read.

    Raises:
        InvalidRequest: some of them are others'.
    """
    faults = []
    for place, sent in places.items():
        own = None if isinstance(sent, Upload) else server.own(sent.strip())
        if own is None:
            continue
        try:
            file_tokens.check(own, parse_qs(urlsplit(str(sent).strip()).query).get("token", [None])[0])
        except Forbidden as error:
            faults.append(Fault("image_error", str(error), sent, loc=("body", *place)))
    if faults:
        raise InvalidRequest(faults)


def pictures(params: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every picture in a request's or a task's parameters, with its place."""
    for member in IMAGE_MEMBERS:
        if params.get(member):
            yield (member,), params[member]
    for number, part in enumerate(params.get(CONTROL_IMAGES) or ()):
        if part[CONTROL_IMAGE]:
            yield (CONTROL_IMAGES, number, CONTROL_IMAGE), part[CONTROL_IMAGE]


def with_urls(params: Mapping[str, Any], base: str) -> dict[str, Any]:
    """A task's parameters with the full URLs of its pictures, as records hand them out."""
    return with_references(params, {place: urls.absolute(path, base) for place, path in pictures(params)})


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
