"""An ended task once more: a new one of the same parameters and seed, as far as what they name is still there."""

from __future__ import annotations

from dataclasses import replace

from marshmallow import ValidationError

from engine import choices
from engine.params import GenerateParams
from fooocus_flask.access import callers
from fooocus_flask.errors import FooocusError, InvalidRequest
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.pictures import sent_pictures
from fooocus_flask.submission.draft import Draft
from fooocus_flask.submission.prepare import checked, settled
from fooocus_flask.submission.submit import Submission, enqueue_once
from fooocus_flask.tables import Task
from fooocus_flask.tasks import idempotency
from fooocus_flask.tasks.new_task import ENDED_ONLY, NewTask, QueueOptions
from schemas.faults import Fault
from schemas.generate import DEFAULTS, GenerateSchema


def retry(task: Task) -> Submission:
    """Queue the task once more, for the caller of the request at hand.

    Raises:
        InvalidRequest: something that it was drawn with is gone; all such faults at once.
        FooocusError: it has not ended, the queue is full, or the Idempotency-Key was used for another request.
    """
    if not task.ended:
        raise FooocusError(f"The task is {task.task_status}; it can be retried once it has ended", status=409)
    key = idempotency.key()
    asked = idempotency.fingerprint({"retry": task.task_id}, None) if key else ""
    if key and (earlier := idempotency.earlier(key, asked)):
        return Submission(earlier, replayed=True)
    caller, events = callers.current() or callers.ANYONE, tuple(task.webhook_events or ENDED_ONLY)
    options = QueueOptions(task.priority, events, key, asked, caller.name, caller.queued)
    return enqueue_once(again(task), options)


def again(task: Task) -> NewTask:
    """The task as a new one, whose first note names the old one."""
    params = parameters(task)
    if faults := sent_pictures.missing(params.to_dict()):
        raise InvalidRequest(faults)
    members = frozenset(params.to_dict())  # all of them were settled on, and none gives way
    new = checked(Draft(params, asked=members))
    if new.checkpoint is None and task.checkpoint is not None:
        text = f"The checkpoint {params.base_model_name!r} is gone, and the built-in model draws another picture"
        raise InvalidRequest([Fault("value_error", text, params.base_model_name, loc=("body", "base_model_name"))])
    return replace(new, notes=[f"The task {task.task_id} once more", *new.notes])


def parameters(task: Task) -> GenerateParams:
    """What the task was drawn with; members that are newer than it have their defaults.

    Raises:
        InvalidRequest: some of it would be refused today, such as a style that is gone.
    """
    try:
        members = GenerateSchema(style_names=style_names).load(task.req_params)
    except ValidationError as error:
        raise InvalidRequest.from_messages(error.normalized_messages()) from error
    if task.checkpoint is None:  # where the model that was named has come since, the built-in one draws nevertheless
        members["base_model_name"] = choices.BUILTIN_CHECKPOINT
    return GenerateParams.from_dict(settled(DEFAULTS | members))
