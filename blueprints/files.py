"""Picture files: results and inputs, in their own format or another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Response, current_app, redirect, request, send_file
from werkzeug.wsgi import FileWrapper

from engine.images import codecs, reading
from fooocus_flask.access import file_tokens
from fooocus_flask.errors import NotFound
from fooocus_flask.pictures import converting, formats, inputs, outputs, removals
from fooocus_flask.pictures.folder_storage import INPUTS, OUTPUTS
from fooocus_flask.pictures.storage import storage
from fooocus_flask.pictures.thumbnails import thumbnails
from fooocus_flask.submission.parsing import Blueprint
from schemas.files import ThumbnailQuerySchema

blueprint = Blueprint("files", __name__, description="Picture files.")

THUMBNAIL = "image/webp"
SENT_AT_ONCE = 256 * 1024
"""Bytes of a picture that are read and sent together: by werkzeug's 8 KiB, a large one takes hundreds of turns."""
FRESH = 3600
"""Seconds for which a thumbnail is shown without asking whether it is still the same."""
TOKEN = {
    "in": "query",
    "name": "token",
    "schema": {"type": "string"},
    "description": "Opens the file where keys are needed; the URLs in answers carry it.",
}
PICTURES = {
    "200": {
        "description": "The picture, converted if Accept prefers another image type.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in formats.FORMATS},
    },
    "302": {"description": "The picture is kept in a bucket, where it can be had by this signed URL for a while."},
    "206": {"description": "The part of it asked for."},
    "304": {"description": "The client has it already."},
    "416": {"description": "The part asked for lies beyond its end."},
}


@blueprint.get("/outputs/<date>/<file_name>")
@blueprint.arguments(ThumbnailQuerySchema, location="query")
@blueprint.doc(parameters=[TOKEN], responses=PICTURES)
def output(query: dict[str, Any], date: str, file_name: str) -> Response:
    """Get a result, or a small picture of it."""
    folder = current_app.config["OUTPUT_PATH"]
    if query["w"]:
        return small(folder, date, file_name, int(query["w"]))
    return picture(codecs.convert, folder, date, file_name)


@blueprint.get("/files/<date>/<file_name>")
@blueprint.doc(parameters=[TOKEN], responses=PICTURES)
def legacy_output(date: str, file_name: str) -> Response:
    """Get a result under the address that Fooocus-API gave it."""
    return picture(codecs.convert, current_app.config["OUTPUT_PATH"], date, file_name)


@blueprint.get("/inputs/<file_name>")
@blueprint.doc(parameters=[TOKEN], responses=PICTURES)
def input_picture(file_name: str) -> Response:
    """Get a picture that a client sent."""
    return picture(reading.convert, current_app.config["INPUT_PATH"], file_name)


def picture(convert: Callable[[Path, str], bytes], folder: str, *parts: str) -> Response:
    """The file's answer; `convert` makes another format of it.

    Raises:
        Forbidden: the token is missing, wrong or expired.
        NotFound: there is no such picture inside the folder.
    """
    if request.range and len(request.range.ranges) > 1:  # the whole answers them too
        request.environ.pop("HTTP_RANGE")
    if elsewhere := redirected(folder, *parts):
        return elsewhere
    path = checked(folder, *parts)
    own = reading.MEDIA_TYPES[path.suffix[1:]]
    wanted = formats.converted(own)
    response = as_it_is(path, folder, own) if wanted == own else converted(convert, path, wanted)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-cache"  # kept, and asked about: send_file's, whoever sends the file
    response.vary.add("Accept")
    return response


def redirected(folder: str, *parts: str) -> Response | None:
    """The way to the picture in the bucket, for whoever may load it; None where this server answers itself.

    It does so where another format is wanted, and to HEAD: a URL that is signed for GET is good for nothing else; and
    to pages that could not follow.
    """
    kept, own = storage.current(), reading.MEDIA_TYPES.get(Path(parts[-1]).suffix[1:])
    if not kept.remote or own is None or request.method != "GET" or stays_here() or formats.converted(own) != own:
        return None
    name = stored_path(folder, *parts)
    found = kept.link(name, own)
    if found is None:
        return None
    response = redirect(found[0])
    response.cache_control.private, response.cache_control.max_age = True, found[1]
    response.vary.update(("Accept", "Referer", "Sec-Fetch-Dest"))
    return response  # type: ignore[return-value]


def stays_here() -> bool:
    """Whether a page asks that may not follow to another host: our own, or a script that wants the bytes."""
    return request.headers.get("Sec-Fetch-Dest") == "empty" or (request.referrer or "").startswith(request.host_url)


def stored_path(folder: str, *parts: str) -> str:
    """What the storage calls this picture, for whoever may load it.

    Raises:
        Forbidden: the token is missing, wrong or expired.
        NotFound: it was deleted, though the bucket may have it still.
    """
    file_tokens.check(request.path.rstrip("/"), request.args.get("token"))
    path = "/".join((INPUTS if folder == current_app.config["INPUT_PATH"] else OUTPUTS, *parts))
    if removals.was_deleted(path):
        raise NotFound("There is no such picture")
    return path


def checked(folder: str, *parts: str) -> Path:
    """The picture's path, for whoever may load it.

    Raises:
        Forbidden: the token is missing, wrong or expired.
        NotFound: there is no such picture inside the folder.
        StorageFault: it may be in the bucket, which does not answer.
    """
    return had(stored_path(folder, *parts), folder, *parts)


def had(stored: str, folder: str, *parts: str) -> Path:
    """The path of the picture that the storage calls so, on this machine.

    Raises:
        NotFound: there is no such picture inside the folder.
        StorageFault: it may be in the bucket, which does not answer.
    """
    storage.current().fetch(stored)
    path = inputs.found(folder, *parts)
    if path is None:
        raise NotFound("There is no such picture")
    return path


def small(folder: str, date: str, file_name: str, width: int) -> Response:
    """The answer of a small picture of a result, which is not made where the client has it.

    One that was made is enough where the picture itself is in a bucket alone, which has no two of one name.
    """
    stored, made = stored_path(folder, date, file_name), thumbnails.current()
    path = inputs.found(folder, date, file_name)
    thumbnail = made.kept(f"{date}/{file_name}", width) if path is None and storage.current().remote else None
    there = path or thumbnail or had(stored, folder, date, file_name)
    response = Response(mimetype=THUMBNAIL)
    changed = int(there.stat().st_mtime)
    response.set_etag(f"{changed:x}-{width}")
    response.last_modified = changed  # type: ignore[assignment]
    response.cache_control.private, response.cache_control.max_age = True, FRESH
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.make_conditional(request)
    if response.status_code == 304:
        return response
    if thumbnail is None:
        thumbnail = made.have(there, there.relative_to(outputs.folder().resolve()).as_posix(), width)
    if prefix := current_app.config["X_ACCEL_PREFIX"]:
        response.headers["X-Accel-Redirect"] = quote(
            f"{prefix}/thumbnails/{thumbnail.relative_to(made.folder).as_posix()}"
        )
    else:
        response.set_data(inputs.in_thread(thumbnail.read_bytes))
    return response


def as_it_is(path: Path, folder: str, media_type: str) -> Response:
    """The file's answer, given by the proxy if one is trusted with that."""
    prefix = current_app.config["X_ACCEL_PREFIX"]
    if not prefix:
        whole = send_file(path, mimetype=media_type, conditional=True)
        if isinstance(whole.response, FileWrapper):
            whole.response.buffer_size = SENT_AT_ONCE
        return whole
    kind = "inputs" if folder == current_app.config["INPUT_PATH"] else "outputs"
    below = path.relative_to(Path(folder).resolve()).as_posix()
    return Response(mimetype=media_type, headers={"X-Accel-Redirect": quote(f"{prefix}/{kind}/{below}")})


def converted(convert: Callable[[Path, str], bytes], path: Path, wanted: str) -> Response:
    """The picture in another format; not made where the client has it."""
    file = path.stat()
    response = Response(mimetype=wanted)
    response.set_etag(f"{file.st_mtime_ns:x}-{file.st_size:x}-{formats.FORMATS[wanted]}")
    response.last_modified = int(file.st_mtime)  # type: ignore[assignment]
    response.make_conditional(request)
    if response.status_code == 304:
        return response
    data = converting.converted(convert, path, formats.FORMATS[wanted])
    response.set_data(data)
    return response.make_conditional(request, accept_ranges=True, complete_length=len(data))  # type: ignore[return-value]
