"""How a task answers the request that began it: with its picture, with its record, or with events as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify

from engine.images import codecs
from fooocus_flask.extension import application
from fooocus_flask.following import streams, waiters
from fooocus_flask.pictures import converting, formats, inputs, outputs, urls
from fooocus_flask.submission.submit import Submission
from fooocus_flask.tables import FAILED, Task
from fooocus_flask.tasks import failures, records
from schemas.answers import REPLAYED_HEADER
from schemas.tasks import TaskRecordSchema

RECORD = TaskRecordSchema()


def picture(task: Task, kind: str) -> Response:
    """The first picture itself, once the task has ended; nothing where it was stopped before."""
    task = waiters.wait(task.task_id)
    if not task.result:
        return failure(task, {}) if task.task_status == FAILED else Response(status=204)
    path = outputs.fetched(task.result[:1])[0]
    if codecs.MEDIA_TYPES[path.suffix[1:]] == kind:
        data = inputs.in_thread(path.read_bytes)
    else:
        data = converting.converted(codecs.convert, path, formats.FORMATS[kind])
    return Response(data, mimetype=kind)


def identify(response: Response, submission: Submission) -> Response:
    """The answer with the headers that name its task, and tell whether an earlier request had begun it."""
    response.headers["X-Task-Id"] = submission.task.task_id
    response.headers["X-Seed"] = submission.task.seed
    if submission.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def events(task: Task, left: Callable[[], object] | None = None) -> Response:
    """Progress as it comes, then the end; `left` is called if the client goes away before."""
    follower = streams.Follower(application(), task.task_id, urls.base(), left)
    return streams.StreamResponse(follower, headers=streams.HEADERS)


def pending_record(task: Task, *, replayed: bool) -> Response:
    """The record at once; that of a task begun by an earlier request is as it is now."""
    record = records.record if replayed else records.accepted
    return jsonify(RECORD.dump(record(task, urls.base())))


def final_record(task: Task) -> Response:
    """The record, once the task has ended."""
    task = waiters.wait(task.task_id)
    record = RECORD.dump(records.stored(task, urls.base()))
    record["progress"] = round(record["progress"] or 0)  # a whole number here, as known clients have it
    return failure(task, record) if task.task_status == FAILED else jsonify(record)


def failure(task: Task, record: dict[str, Any]) -> Response:
    """The answer of a task that failed: why, beside these members of its record."""
    response = jsonify(record | {"detail": task.error, "task_id": task.task_id})
    response.status_code = failures.status_of(task.failure)
    return response
