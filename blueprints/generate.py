"""Drawing: one request, four kinds of answer."""

from __future__ import annotations

from typing import Any

import gevent
from flask import Response, current_app, jsonify

from engine.images import codecs
from fooocus_flask import accept, outputs, records, streams, tasks, urls, waiters
from fooocus_flask.arguments import Blueprint
from fooocus_flask.errors import FooocusError
from fooocus_flask.prepare import prepare
from fooocus_flask.tables import FAILED, Task
from schemas.generate import GenerateSchema
from schemas.tasks import TaskRecordSchema

blueprint = Blueprint("generate", __name__, url_prefix="/v1/engine", description="Drawing.")

RECORD = TaskRecordSchema()
PICTURE = {"schema": {"type": "string", "format": "binary"}}
ANSWERS = {
    "200": {
        "description": (
            "A picture, if the best type in Accept is an image; events, with stream_output; a pending record at once, "
            "with async_process; otherwise the record of the drawn task."
        ),
        "content": {
            "application/json": {"schema": TaskRecordSchema},
            "text/event-stream": {"schema": {"type": "string"}},
            **dict.fromkeys(accept.FORMATS, PICTURE),
        },
        "headers": {
            "X-Task-Id": {"description": "Identifies the task.", "schema": {"type": "string"}},
            "X-Seed": {"description": "Seed of the first picture.", "schema": {"type": "string"}},
        },
    },
    "204": {"description": "A picture was asked for, and the task was stopped before it was drawn."},
    "500": {"description": "The task failed: the record with a member detail, or only that member."},
    "429": {"description": "The queue is full; `Retry-After` says when to come back."},
    "503": {"description": "The server is stopping."},
}


@blueprint.post("/generate/")
@blueprint.arguments(GenerateSchema)
@blueprint.doc(responses=ANSWERS)
def generate(sent: dict[str, Any]) -> Response:
    """Draw pictures."""
    kind = accept.picture()
    prepared = prepare(sent | {"image_number": 1} if kind else sent)
    task = tasks.submit(prepared, urls.base())
    if kind:
        response = as_picture(task, kind)
    elif prepared.params.stream_output:
        response = as_events(task)
    elif prepared.params.async_process:
        response = jsonify(RECORD.dump(records.accepted(task)))
    else:
        response = when_drawn(task)
    response.headers["X-Task-Id"] = task.task_id
    response.headers["X-Seed"] = task.seed
    response.vary.add("Accept")
    return response


def as_picture(task: Task, kind: str) -> Response:
    """The first picture itself."""
    task = waiters.wait(task.task_id)
    if not task.result:
        return failed(task, {}) if task.task_status == FAILED else Response(status=204)
    path = outputs.folder() / task.result[0]
    same = accept.MEDIA_TYPES[path.suffix[1:]] == kind
    work, arguments = (path.read_bytes, ()) if same else (codecs.convert, (path, accept.FORMATS[kind]))
    return Response(gevent.get_hub().threadpool.apply(work, arguments), mimetype=kind)


def as_events(task: Task) -> Response:
    """Progress as it comes, then the end."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    return streams.StreamResponse(streams.Follower(app, task.task_id, urls.base()), headers=streams.HEADERS)


def when_drawn(task: Task) -> Response:
    """The record, once the task has ended."""
    task = waiters.wait(task.task_id)
    told = RECORD.dump(records.stored(task, urls.base()))
    told["progress"] = round(told["progress"] or 0)  # a whole number here, as known clients have it
    return failed(task, told) if task.task_status == FAILED else jsonify(told)


def failed(task: Task, told: dict[str, Any]) -> Response:
    """A failure's answer, with whatever is told of the task."""
    response = jsonify(told | {"detail": task.error, "task_id": task.task_id})
    response.status_code = FooocusError.status
    return response
