"""What a generation request is answered with: a picture, a job, or the list of pictures."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from blueprints.legacy import job_objects
from blueprints.legacy.translation import Translated
from fooocus_flask.errors import InvalidRequest, KeyQueueFull, QueueFull
from fooocus_flask.following import responses, waiters
from fooocus_flask.pictures import urls
from fooocus_flask.submission.submit import Translation, submit
from fooocus_flask.tables import FAILED, Task

PNG = "image/png"
QUEUE_IS_FULL = "QUEUE_IS_FULL"


def draw(job_type: str, asked: Translated) -> Response:
    """The answer to a request for such a job; each of the three kinds has its own way to say that the queue is full.

    Raises:
        InvalidRequest: something asked for is not there or cannot be.
    """
    kind = wanted(asked)
    try:
        sent = asked.loaded()
        kept = job_objects.kept(job_type, require_base64=sent.get("require_base64", False))
        translation = Translation(kept, tuple(asked.notes))
        task = submit(sent, f"legacy {kind}", {"image_number": 1} if kind == "binary" else None, translation).task
    except InvalidRequest as error:
        raise asked.told(error) from error
    except (QueueFull, KeyQueueFull) as error:
        return refusal(kind, job_type, error.headers)
    response: Response = ANSWERS[kind](task)
    response.headers["X-Task-Id"], response.headers["X-Seed"] = task.task_id, task.seed
    response.vary.add("Accept")
    return response


def wanted(asked: Translated) -> str:
    """The kind of answer: `binary`, `async` or `sync`."""
    if (request.args.get("accept") or request.headers.get("Accept", "")) == PNG:
        return "binary"
    return "async" if asked.members.get("async_process") else "sync"


def refusal(kind: str, job_type: str, headers: dict[str, str]) -> Response:
    """That the queue is full."""
    if kind == "binary":
        response = Response(QUEUE_IS_FULL, 409, mimetype="text/plain")
    elif kind == "async":
        response = jsonify(job_objects.full(job_type))
    else:
        response = jsonify([job_objects.no_picture(QUEUE_IS_FULL)])
    response.headers.update(headers)
    return response


def picture(task: Task) -> Response:
    """The picture itself as PNG, whatever it is kept as; nothing where there is none."""
    task = waiters.wait(task.task_id)
    if not task.result:
        return Response(status=500 if task.task_status == FAILED else 204)
    return responses.picture(task, PNG)


def job(task: Task) -> Response:
    """The job as it is now."""
    return jsonify(job_objects.job(task, urls.base()))


def pictures(task: Task) -> Response:
    """The pictures, once the task has ended."""
    return jsonify(job_objects.pictures(waiters.wait(task.task_id), urls.base()))


ANSWERS: dict[str, Any] = {"binary": picture, "async": job, "sync": pictures}
