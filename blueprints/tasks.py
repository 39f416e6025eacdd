"""Tasks: listing, looking at one, deleting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import Any

from flask import Response, jsonify, request

from fooocus_flask.access import foreign_pages, scopes
from fooocus_flask.access.keys import ADMIN, DRAW, READ
from fooocus_flask.errors import FooocusError
from fooocus_flask.following import responses, task_events, webhooks
from fooocus_flask.pictures import urls
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.parsing import Blueprint
from fooocus_flask.submission.retry import retry
from fooocus_flask.tables import RUNNING, Task
from fooocus_flask.tasks import estimates, history, queue, records
from schemas import answers
from schemas.submission import IDEMPOTENCY_KEY, PrioritySchema
from schemas.tasks import (
    BriefTaskSchema,
    BriefTasksSchema,
    DeletedSchema,
    DeliverySchema,
    TaskEventsQuerySchema,
    TaskRecordSchema,
    TasksQuerySchema,
    TasksSchema,
)

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks", description="Tasks, waiting, running and ended.")

RECORD, BRIEF = TaskRecordSchema(), BriefTaskSchema()
PAGING = {
    "X-Total-Count": {
        "description": "Tasks in the list paged through; absent where `after` was given.",
        "schema": {"type": "integer"},
    },
    "X-Next-Cursor": {
        "description": "With query=history or query=pending: the `after` of the next page; absent on the last one.",
        "schema": {"type": "string"},
    },
}


@blueprint.get("")
@blueprint.arguments(TasksQuerySchema, location="query")
@blueprint.doc(
    responses={
        "200": {
            "description": "The lists asked for, or what was deleted.",
            "content": {"application/json": {"schema": {"anyOf": [TasksSchema, BriefTasksSchema, DeletedSchema]}}},
            "headers": PAGING,
        }
    }
)
def tasks_list(query: dict[str, Any]) -> Response:
    """List tasks; with action=delete, delete the ended ones of a range."""
    if query["action"]:
        scopes.require(ADMIN)
        foreign_pages.require_allowed()
        return deleted(history.clear(query["start_at"], query["end_at"]))
    found, headers = lists(query)
    response = jsonify(found)
    response.headers.update(headers)
    return response


@blueprint.delete("")
@blueprint.arguments(TasksQuerySchema(only=("start_at", "end_at")), location="query")
@blueprint.response(200, DeletedSchema)
def delete_tasks(query: dict[str, Any]) -> Response:
    """Delete the ended tasks of a range, and their pictures."""
    if query["start_at"] is None:
        raise FooocusError("A deletion needs start_at", status=422)
    return deleted(history.clear(query["start_at"], query["end_at"]))


@blueprint.get("/events")
@blueprint.arguments(TaskEventsQuerySchema, location="query")
@blueprint.doc(responses=answers.TASK_EVENTS, parameters=[answers.LAST_EVENT_ID])
@scopes.needs(READ, DRAW)
def follow_tasks(query: dict[str, Any]) -> Response:
    """Follow all tasks that the key may look at, as server-sent events."""
    last_id = request.headers.get(answers.LAST_EVENT_HEADER) or query["last_event_id"]
    return task_events.answer(last_id, previews=query["previews"])


@blueprint.get("/<task_id>")
@blueprint.response(200, TaskRecordSchema)
@scopes.needs(READ, DRAW)
def one_task(task_id: str) -> dict[str, Any]:
    """Look at one task."""
    return records.record(found(task_id, READ), urls.base())


@blueprint.post("/<task_id>/cancel")
@blueprint.response(200, TaskRecordSchema)
@scopes.needs(DRAW)
def cancel_task(task_id: str) -> dict[str, Any]:
    """Stop this task, whether it waits or runs; one that has ended stays as it is."""
    runner.current().stop(found(task_id, ADMIN))
    return records.record(queue.find(task_id), urls.base())


@blueprint.post("/<task_id>/retry")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY], responses=answers.RETRY)
@scopes.needs(DRAW)
def retry_task(task_id: str) -> Response:
    """Queue an ended task once more: a new task of the same parameters and seed."""
    submission = retry(found(task_id, READ))
    response = responses.pending_record(submission.task, replayed=submission.replayed)
    if submission.replayed:
        response.headers[answers.REPLAYED_HEADER] = "true"
    return response


@blueprint.get("/<task_id>/deliveries")
@blueprint.response(200, DeliverySchema(many=True))
@scopes.needs(READ, DRAW)
def task_deliveries(task_id: str) -> list[dict[str, Any]]:
    """List the webhooks of a task: what was sent, what came of it, what is still owed."""
    return webhooks.deliveries(found(task_id, READ))


@blueprint.post("/<task_id>/deliveries/<row:delivery>/replay")
@blueprint.response(200, DeliverySchema)
@scopes.needs(DRAW)
def replay_delivery(task_id: str, delivery: int) -> dict[str, Any]:
    """Send a webhook once more, under the same id; should it fail, it is tried again as a new one is."""
    return webhooks.replay(found(task_id, ADMIN), delivery)


@blueprint.delete("/<task_id>")
@blueprint.response(200, DeletedSchema)
@blueprint.alt_response(409, description="The task waits or runs; stop it first.")
def delete_task(task_id: str) -> Response:
    """Delete an ended task and its pictures."""
    task = queue.find(task_id)
    if not task.ended:
        raise FooocusError(f"The task is {task.task_status}; stop it first", status=409)
    return deleted(history.clear_one(task))


@blueprint.post("/<task_id>/priority")
@blueprint.arguments(PrioritySchema)
@blueprint.response(200, TaskRecordSchema)
@blueprint.alt_response(409, description="The task waits no longer.")
@scopes.needs(DRAW)
def prioritise_task(sent: dict[str, Any], task_id: str) -> dict[str, Any]:
    """Move a waiting task forwards or backwards in the queue."""
    task = found(task_id, ADMIN)
    if not queue.prioritise(task_id, sent["priority"]):
        raise FooocusError(f"The task is {task.task_status}; only one that waits has a place in the queue", status=409)
    return records.record(queue.find(task_id), urls.base())


def found(task_id: str, scope: str) -> Task:
    """The task, for whoever submitted it or has this scope.

    Raises:
        TaskNotFound: there is none.
        Forbidden: the caller is neither.
    """
    task = queue.find(task_id)
    scopes.require_own(task, scope)
    return task


def lists(query: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The three lists, those not asked for empty, and the headers about the one paged through (of all: the history)."""
    asked, page = query["query"], (query["page"], query["page_size"])
    show = partial(shown, base=urls.base(), brief=query["brief"])
    wanted = history.Filter(query["start_at"], query["end_at"], query["status"], query["prompt"])
    found: dict[str, Any] = {"history": [], "current": [], "pending": []}
    paged = history.Page([], 0)
    if asked in ("all", "pending"):
        paged = history.pending(*page, replace(wanted, start=None, end=None), query["after"])
        gaps = bool(wanted.words)  # between those on the page others may wait
        places = [*map(estimates.place_of, paged.tasks)] if gaps else estimates.places_of(paged.tasks)
        found["pending"] = show(paged.tasks, places)
    if asked in ("all", "current") and (rows := history.under_way(wanted)):
        found["current"] = show(rows, [*map(estimates.place_of, rows)])
        paged = history.Page(rows, len(rows))
    if asked in ("all", "history"):
        paged = history.ended(*page, wanted, query["after"])
        found["history"] = show(paged.tasks)
    following = paged.next if asked != "all" else None
    headers = {"X-Total-Count": paged.total, "X-Next-Cursor": following}
    return found, {name: str(value) for name, value in headers.items() if value is not None}


def shown(
    rows: Sequence[Task], places: Sequence[estimates.Place] = (), *, base: str, brief: bool
) -> list[dict[str, Any]]:
    """The records as they leave; others get their turn in between, for a page may be long."""
    dumped = []
    for task, place in zip(records.with_pauses(rows), chain(places, repeat(estimates.NOWHERE)), strict=False):
        if brief:
            dumped.append(BRIEF.dump(records.brief(task, base, place)))
        elif task.task_status == RUNNING:
            dumped.append(RECORD.dump(records.running(task, base, place)))
        else:
            dumped.append(RECORD.dump(records.stored(task, base, place)))
    return dumped


def deleted(counts: tuple[int, int]) -> Response:
    """What a deletion did."""
    return jsonify(DeletedSchema().dump({"deleted": counts[0], "files": counts[1]}))
