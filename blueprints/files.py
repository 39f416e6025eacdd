"""Picture files: results and inputs, in their own format or another."""

from __future__ import annotations

from pathlib import Path

import gevent
from flask import Response, current_app, request, send_file
from werkzeug.security import safe_join

from engine.images import codecs
from fooocus_flask import accept, auth
from fooocus_flask.arguments import Blueprint
from fooocus_flask.errors import Forbidden, NotFound

blueprint = Blueprint("files", __name__, description="Picture files.")

TOKEN = {
    "in": "query",
    "name": "token",
    "schema": {"type": "string"},
    "description": "Opens the file where a key is configured; the URLs in answers carry it.",
}
PICTURES = {
    "200": {
        "description": "The picture, converted if Accept prefers another image type.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in accept.FORMATS},
    },
    "206": {"description": "The part of it asked for."},
    "304": {"description": "The client has it already."},
}


@blueprint.get("/outputs/<date>/<file_name>")
@blueprint.doc(parameters=[TOKEN], responses=PICTURES)
def output(date: str, file_name: str) -> Response:
    """Get a result."""
    return picture(current_app.config["OUTPUT_PATH"], date, file_name)


@blueprint.get("/inputs/<file_name>")
@blueprint.doc(parameters=[TOKEN], responses=PICTURES)
def input_picture(file_name: str) -> Response:
    """Get a picture that a client sent."""
    return picture(current_app.config["INPUT_PATH"], file_name)


def picture(folder: str, *parts: str) -> Response:
    """The file's answer.

    Raises:
        Forbidden: the token is missing or wrong.
        NotFound: there is no such picture inside the folder.
    """
    if not auth.check(request.path.rstrip("/"), request.args.get("token")):
        raise Forbidden
    path = found(folder, *parts)
    own = accept.MEDIA_TYPES[path.suffix[1:]]
    wanted = accept.converted(own)
    response = send_file(path, mimetype=own, conditional=True) if wanted == own else converted(path, wanted)
    response.vary.add("Accept")
    return response


def found(folder: str, *parts: str) -> Path:
    """The picture's path, certainly inside the folder."""
    joined = safe_join(folder, *parts)
    path = Path(joined).resolve() if joined else None
    inside = path is not None and path.is_relative_to(Path(folder).resolve())
    if path is None or not inside or path.suffix[1:] not in accept.MEDIA_TYPES or not path.is_file():
        raise NotFound("There is no such picture")
    return path


def converted(path: Path, wanted: str) -> Response:
    """The picture in another format; not made where the client has it."""
    file = path.stat()
    response = Response(mimetype=wanted)
    response.set_etag(f"{file.st_mtime_ns:x}-{file.st_size:x}-{accept.FORMATS[wanted]}")
    response.last_modified = int(file.st_mtime)  # type: ignore[assignment]
    response.make_conditional(request)
    if response.status_code == 304:
        return response
    data = gevent.get_hub().threadpool.apply(codecs.convert, (path, accept.FORMATS[wanted]))
    response.set_data(data)
    return response.make_conditional(request, accept_ranges=True, complete_length=len(data))  # type: ignore[return-value]
