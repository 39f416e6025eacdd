"""Stopping a task, skipping a picture, pausing the queue."""

from __future__ import annotations

from typing import Any

from flask import request
from marshmallow import ValidationError

from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.transfers import transfers
from fooocus_flask.runner.downloader import downloader
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission import unknown_names
from fooocus_flask.submission.parsing import FORM, Blueprint, json_body
from fooocus_flask.tables import Task
from fooocus_flask.tasks import history, queue
from schemas.control import ControlSchema, MessageSchema, QueueSchema
from schemas.submission import MULTIPART

blueprint = Blueprint("control", __name__, url_prefix="/v1/engine", description="Stopping and skipping.")

# The words are FooocusAPI's, misspelt as they are: clients compare with them.
DONE = {"stop": "task stoped", "skip": "task skiped"}
INVALID, NONE = "Invalid control action", "No task running"

LARGEST_BODY = 64 * 1024
"""Bytes of a body that has two words in it."""
BODY = {"content": {kind: {"schema": ControlSchema} for kind in ("application/json", FORM)}}


@blueprint.post("/control")
@blueprint.doc(
    requestBody=BODY,
    parameters=[
        {
            "in": "query",
            "name": name,
            "schema": {"type": "string"},
            "description": "As in the body, and goes before it.",
        }
        for name in ("action", "task_id")
    ],
)
@blueprint.response(200, MessageSchema)
@blueprint.alt_response(404, description="No task has that id.")
@scopes.needs(DRAW)
def control() -> dict[str, str]:
    """Stop the running task, or skip the picture being drawn; with a task_id, that task, which may still wait."""
    sent = arguments()
    if sent["action"] not in DONE:
        return {"message": INVALID}
    task = queue.find(sent["task_id"]) if sent["task_id"] else history.running_for_caller()
    if task is not None:
        scopes.require_own(task)
    if task is None or not act(sent["action"], task):
        return {"message": NONE}
    return {"message": DONE[sent["action"]]}


@blueprint.get("/queue")
@blueprint.response(200, QueueSchema)
def look_at_queue() -> dict[str, Any]:
    """Tell how many tasks wait, and whether the queue is paused."""
    return queue_state()


@blueprint.post("/queue/pause")
@blueprint.response(200, QueueSchema)
def pause_queue() -> dict[str, Any]:
    """Begin no further task, also after a restart; the one under way ends, and new ones are taken and wait."""
    queue.pause()
    return queue_state()


@blueprint.post("/queue/resume")
@blueprint.response(200, QueueSchema)
def resume_queue() -> dict[str, Any]:
    """Go on with the queue; model files are asked for again whose host could not be reached."""
    downloader.current().hosts.forget()
    queue.resume()
    return queue_state()


def queue_state() -> dict[str, Any]:
    """The queue as it is now."""
    task, under_way = history.running(), transfers.current()
    return {
        "paused": queue.paused(),
        "pending": queue.waiting(),
        "running": task and task.task_id,
        "downloads": [under_way.serialise(transfer.file) for transfer in under_way],
    }


def act(action: str, task: Task) -> bool:
    """Whether there was something to stop or skip."""
    if task.ended:
        return False
    now = runner.current()
    return now.stop(task) if action == "stop" else now.skip(task)


def arguments() -> dict[str, Any]:
    """What is asked for: each member by the query, or else by a form or JSON body."""
    query = request.args.to_dict()
    try:
        sent = body() | query
    except InvalidRequest:
        if "action" not in query:
            raise
        sent = query  # FooocusAPI looks at no body
    unknown_names.remark(unknown_names.unknown_in(ControlSchema(), sent))
    try:
        members: dict[str, Any] = ControlSchema().load(sent)
    except ValidationError as error:
        raise InvalidRequest.from_messages(error.normalized_messages(), "query") from error
    return members


def body() -> dict[str, Any]:
    """The members that a form or JSON body holds; none without one."""
    request.max_content_length = LARGEST_BODY
    if request.mimetype in (FORM, MULTIPART) and request.form:
        return request.form.to_dict()
    return json_body(request) if request.get_data() else {}
