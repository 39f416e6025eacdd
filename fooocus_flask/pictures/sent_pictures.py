"""The pictures of a request or a task, by their places: taken from what was sent, handed out as URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gevent.pool import Pool

from engine.images import reading
from engine.images.reading import UnreadablePicture
from fooocus_flask.access import file_tokens
from fooocus_flask.errors import Forbidden, InvalidRequest
from fooocus_flask.pictures import urls
from fooocus_flask.pictures.blocking import in_thread
from fooocus_flask.pictures.decoding import room
from fooocus_flask.pictures.inputs import Coming, InputStore, NotAPicture, current
from schemas.faults import Fault
from schemas.fields import Upload
from schemas.tasks import IMAGE_MEMBERS

CONTROL_IMAGES, CONTROL_IMAGE = "controlnet_image", "cn_img"
AT_ONCE = 4
"""Pictures of one request that are fetched at the same time."""

Place = tuple[str | int, ...]
"""Where a picture stands in a request, such as `("controlnet_image", 0, "cn_img")`."""


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
        raise InvalidRequest([image_fault(place, sent, error)]) from error


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
        found = []
        for place, picture in coming.items():
            error = picture.error.get()
            if isinstance(error, NotAPicture):
                found.append(image_fault(place, places[place], error))
            elif error is not None:
                raise error
        return found

    if None in references.values():
        raise InvalidRequest(faults())
    try:
        yield with_references(sent, references)
    except InvalidRequest as refused:
        raise InvalidRequest([*faults(), *refused.faults]) from refused
    if found := faults():
        raise InvalidRequest(found)


def image_fault(place: Place, sent: str | Upload, why: Exception | str) -> Fault:
    """What is wrong with the picture at this place of a request."""
    return Fault("image_error", str(why), sent, loc=("body", *place))


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
            faults.append(image_fault(place, path, text))
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
            faults.append(image_fault(place, sent, error))
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
