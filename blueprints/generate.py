"""Drawing: one request, four kinds of answer."""

from __future__ import annotations

from typing import Any

import gevent
from flask import Response, current_app, jsonify
from sqlalchemy.exc import IntegrityError

from engine.images import codecs
from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.errors import FooocusError
from fooocus_flask.following import streams, waiters
from fooocus_flask.pictures import formats, inputs, outputs, urls
from fooocus_flask.runner import downloader, runner
from fooocus_flask.submission import forms
from fooocus_flask.submission.parsing import Blueprint
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tables import FAILED, Task
from fooocus_flask.tasks import idempotency, life, records
from schemas.submission import SubmissionSchema
from schemas.tasks import IMAGE_MEMBERS, TaskRecordSchema

blueprint = Blueprint("generate", __name__, url_prefix="/v1/engine", description="Drawing.")

RECORD = TaskRecordSchema()
PICTURE = {"schema": {"type": "string", "format": "binary"}}
EVENT = {
    "type": "object",
    "description": "An event of the stream. The last one's message is Finished.",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "required": ["progress", "preview", "message", "images"],
                "properties": {
                    "progress": {"type": "integer", "minimum": 0, "maximum": 100, "description": "Percent done."},
                    "preview": {"type": ["string", "null"], "description": "A PNG as a data URL, if there is one."},
                    "message": {"type": "string", "description": "What is done now, for people."},
                    "images": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "URLs of the pictures; empty before the last event.",
                    },
                    "error": {"type": "string", "description": "Why the task failed; only in the last event."},
                },
            },
        }
    },
}
ANSWERS = {
    "200": {
        "description": (
            "A picture, if the best type in Accept is an image; events, with stream_output; a pending record at once, "
            "with async_process; otherwise the record of the drawn task."
        ),
        "content": {
            "application/json": {"schema": TaskRecordSchema},
            "text/event-stream": {"schema": EVENT},
            **dict.fromkeys(formats.FORMATS, PICTURE),
        },
        "headers": {
            "X-Task-Id": {"description": "Identifies the task.", "schema": {"type": "string"}},
            "X-Seed": {"description": "Seed of the first picture.", "schema": {"type": "string"}},
            idempotency.REPLAYED: {
                "description": "true, where an Idempotency-Key named a task that was there already.",
                "schema": {"type": "string"},
            },
        },
    },
    "204": {"description": "A picture was asked for, and the task was stopped before it was drawn."},
    "500": {"description": "The task failed: the record with a member detail, or only that member."},
    "502": {"description": "The same, because a model file could not be fetched."},
    "507": {
        "description": "The same, because there was too little memory; a smaller picture may do. Or because a model "
        "file did not fit on the disk."
    },
    "429": {
        "description": "The queue is full, or a limit of the key is reached; `Retry-After` says when to come back."
    },
    "503": {"description": "The server is stopping."},
}


FORM = {
    forms.FORM: {
        "schema": {
            "type": "object",
            "description": "Any member as a part of its name; pictures may be files. A list is sent as JSON, or as its "
            "name several times.",
            "properties": {
                forms.JSON_PART: {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "description": "Any number of members as a JSON object; other parts go before it.",
                },
                **{
                    name: {"type": "string", "format": "binary", "description": "The picture's file."}
                    for name in (*IMAGE_MEMBERS, "controlnet_image.0.cn_img")
                },
            },
            "additionalProperties": {"type": "string"},
        }
    }
}
"""The same request as a form."""
QUEUE_MEMBERS = ("priority", "webhook_events", "cancel_on_disconnect")
FAILURES = {"memory": 507, "missing": 422} | downloader.STATUSES
"""The statuses that tell why a task failed; all others are a 500."""


@blueprint.post("/generate/")
@blueprint.arguments(SubmissionSchema)
@blueprint.doc(requestBody={"content": FORM}, responses=ANSWERS, parameters=[idempotency.PARAMETER])
@scopes.needs(DRAW)
def generate(sent: dict[str, Any]) -> Response:
    """Draw pictures."""
    kind = formats.picture()
    task, replayed = submitted(sent, kind)
    if kind:
        response = as_picture(task, kind)
    elif task.req_params["stream_output"]:
        response = as_events(task, cancel=sent.get("cancel_on_disconnect", False))
    elif task.req_params["async_process"]:
        response = jsonify(
            RECORD.dump(records.record(task, urls.base()) if replayed else records.accepted(task, urls.base()))
        )
    else:
        response = when_drawn(task)
    response.headers["X-Task-Id"] = task.task_id
    response.headers["X-Seed"] = task.seed
    if replayed:
        response.headers[idempotency.REPLAYED] = "true"
    response.vary.add("Accept")
    return response


def submitted(sent: dict[str, Any], kind: str | None) -> tuple[Task, bool]:
    """The task for this request, and whether an earlier request with the same Idempotency-Key had begun it."""
    key, asked = idempotency.key(), idempotency.fingerprint(sent, kind)
    if key and (task := idempotency.earlier(key, asked)):
        return task, True
    members = {name: value for name, value in sent.items() if name not in QUEUE_MEMBERS}
    members = inputs.resolve(members | {"image_number": 1} if kind else members)
    prepared = prepare(members)
    events, caller = tuple(sent.get("webhook_events", life.ENDED_ONLY)), callers.current() or callers.ANYONE
    wishes = life.Wishes(sent.get("priority", 0), events, key, asked, caller.name, caller.queued)
    try:
        return life.submit(prepared, urls.base(), wishes), False
    except IntegrityError:  # the same request came twice at once
        task = idempotency.earlier(key, asked) if key else None
        if task is None:
            raise
        return task, True


def as_picture(task: Task, kind: str) -> Response:
    """The first picture itself."""
    task = waiters.wait(task.task_id)
    if not task.result:
        return failed(task, {}) if task.task_status == FAILED else Response(status=204)
    path = outputs.folder() / task.result[0]
    same = formats.MEDIA_TYPES[path.suffix[1:]] == kind
    work, arguments = (path.read_bytes, ()) if same else (codecs.convert, (path, formats.FORMATS[kind]))
    return Response(gevent.get_hub().threadpool.apply(work, arguments), mimetype=kind)


def as_events(task: Task, *, cancel: bool) -> Response:
    """Progress as it comes, then the end; the task is stopped with it, if so asked."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def left() -> None:
        with app.app_context():
            runner.current().stop(task)

    follower = streams.Follower(app, task.task_id, urls.base(), left if cancel else None)
    return streams.StreamResponse(follower, headers=streams.HEADERS)


def when_drawn(task: Task) -> Response:
    """The record, once the task has ended."""
    task = waiters.wait(task.task_id)
    told = RECORD.dump(records.stored(task, urls.base()))
    told["progress"] = round(told["progress"] or 0)  # a whole number here, as known clients have it
    return failed(task, told) if task.task_status == FAILED else jsonify(told)


def failed(task: Task, told: dict[str, Any]) -> Response:
    """A failure's answer, with whatever is told of the task."""
    response = jsonify(told | {"detail": task.error, "task_id": task.task_id})
    response.status_code = FAILURES.get(task.failure or "", FooocusError.status)
    return response
