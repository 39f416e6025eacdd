"""From a request's members to a task in the queue: the one way in, whatever API the request came by.

An API of another shape translates its requests into members of `SubmissionSchema`, submits them here, waits for the
end with `following.waiters` and writes its answers from the task's record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from fooocus_flask.access import callers
from fooocus_flask.errors import FooocusError
from fooocus_flask.pictures import sent_pictures, urls
from fooocus_flask.submission import request_notes
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tables import Task
from fooocus_flask.tasks import idempotency, queue
from fooocus_flask.tasks.new_task import ENDED_ONLY, NewTask, QueueOptions
from schemas.submission import QueueMembers

QUEUE_MEMBERS = frozenset(QueueMembers().fields)
"""Members that change no picture."""


@dataclass(frozen=True)
class Submission:
    """The task of a request; `replayed` where an earlier request with the same Idempotency-Key had begun it."""

    task: Task
    replayed: bool = False


@dataclass(frozen=True)
class Translation:
    """Of a request that came by an API of another shape: what its task's row keeps, and what has no counterpart here.

    `api` holds the API's `name` and what its answers will need; `notes` stand before the task's own. `task_id` is the
    id that the client wishes for: 32 hexadecimal digits.
    """

    api: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    task_id: str | None = None


NATIVE = Translation()
"""A request of our own shape."""


def submit(
    sent: Mapping[str, Any],
    answer: str | None = None,
    settled: Mapping[str, Any] | None = None,
    translation: Translation = NATIVE,
) -> Submission:
    """Queue what the request at hand asks for; `sent` are its members, as `SubmissionSchema` loads them.

    `answer` names the kind of answer, by which requests with the same Idempotency-Key are told apart as well;
    `settled` are members that this kind decides, whatever was sent. `translation` tells how another API's request
    became these members.

    Raises:
        InvalidRequest: something asked for is not there or cannot be; all such faults at once.
        FooocusError: the queue is full, the Idempotency-Key was used for another request, or a task has the id
            that was wished for.
    """
    key = idempotency.key()
    asked = idempotency.fingerprint(sent, answer) if key else ""
    if key and (task := idempotency.earlier(key, asked)):
        return Submission(task, replayed=True)
    members = {name: value for name, value in sent.items() if name not in QUEUE_MEMBERS}
    with sent_pictures.resolved(members | dict(settled or {})) as complete:
        new = prepare(complete)
    new = replace(new, notes=[*request_notes.current(), *translation.notes, *new.notes])
    return enqueue_once(new, queue_options(sent, key, asked, translation))


def enqueue_once(new: NewTask, options: QueueOptions) -> Submission:
    """Queue a task, unless the same request with its Idempotency-Key, come at once, was quicker.

    Raises:
        FooocusError: the queue is full, or a task has the id that was wished for.
    """
    try:
        return Submission(queue.enqueue(new, urls.webhook_base(), options))
    except IntegrityError:  # the same request came twice at once, or the same id
        key = options.idempotency_key
        if key and (task := idempotency.earlier(key, options.fingerprint)):
            return Submission(task, replayed=True)
        if options.task_id is None:
            raise
        text = f"A task has the id {options.task_id!r} already; send another, or none"
        raise FooocusError(text, status=409) from None


def queue_options(sent: Mapping[str, Any], key: str | None, asked: str, translation: Translation) -> QueueOptions:
    """How the task is queued: as the request says, and within the limits of its caller's key."""
    caller = callers.current() or callers.ANYONE
    events = tuple(sent.get("webhook_events", ENDED_ONLY))
    return QueueOptions(
        sent.get("priority", 0),
        events,
        key,
        asked,
        caller.name,
        caller.queued,
        api=translation.api,
        task_id=translation.task_id,
    )
