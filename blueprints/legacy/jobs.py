"""Jobs, by the predecessor's routes: looking at one, the queue, the history, stopping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify

from blueprints.legacy import history, job_objects
from blueprints.legacy.group import blueprint
from blueprints.legacy.openapi import FAULTS
from fooocus_flask.access import foreign_pages, scopes
from fooocus_flask.access.keys import ADMIN, DRAW, READ
from fooocus_flask.errors import FooocusError, InvalidRequest, TaskNotFound
from fooocus_flask.pictures import urls
from fooocus_flask.runner.runner import runner
from fooocus_flask.tables import Task
from fooocus_flask.tasks import history as tasks
from fooocus_flask.tasks import records
from schemas.faults import Fault
from schemas.other_apis.legacy import (
    JobHistoryQuerySchema,
    JobHistorySchema,
    JobQueueSchema,
    JobSchema,
    LegacyMessageSchema,
    QueryJobSchema,
)


@blueprint.post("/v1/generation/stop")
@blueprint.doc(responses={"200": {"description": "msg is success, whether anything ran or not."}})
@scopes.needs(DRAW)
def stop() -> Response:
    """Stop the running job; its finished pictures stay."""
    task = tasks.running_for_caller()
    if task is not None:
        scopes.require_own(task)
        runner.current().stop(task)
    return jsonify(msg="success")


@blueprint.get("/v1/generation/query-job")
@blueprint.arguments(QueryJobSchema, location="query")
@blueprint.doc(
    responses=FAULTS | {status: {"content": {"application/json": {"schema": JobSchema}}} for status in ("200", "404")}
)
@scopes.needs(READ, DRAW)
def query_job(query: dict[str, Any]) -> Response | tuple[Response, int]:
    """Look at one job."""
    try:
        task = job_objects.find(query["job_id"])
    except TaskNotFound:
        return jsonify(job_objects.NOT_FOUND), 404
    scopes.require_own(task, READ)
    return jsonify(job_objects.job(task, urls.base(), preview=query["require_step_preview"]))


@blueprint.get("/v1/generation/job-queue")
@blueprint.response(200, JobQueueSchema)
def job_queue() -> dict[str, Any]:
    """Tell how many jobs wait or run, and how many have ended."""
    newest = tasks.newest()
    return {
        "running_size": len(tasks.unfinished()),
        "finished_size": tasks.ended(0, 1).total,
        "last_job_id": newest and job_objects.job_id(newest),
    }


@blueprint.get("/v1/generation/job-history")
@blueprint.arguments(JobHistoryQuerySchema, location="query")
@blueprint.doc(
    responses={
        **FAULTS,
        "200": {
            "description": "The jobs, or what was deleted.",
            "content": {"application/json": {"schema": {"oneOf": [JobHistorySchema, LegacyMessageSchema]}}},
        },
        "409": {"description": "The job to be deleted waits or runs; stop it first."},
    }
)
def job_history(query: dict[str, Any]) -> Response:
    """List the jobs, or delete one that has ended."""
    if query["delete"]:
        scopes.require(ADMIN)
        foreign_pages.require_allowed()
        return delete(query["job_id"])
    if query["job_id"]:
        found = one(query["job_id"])
        waiting = [found] if found and not found.ended else []
        return jsonify(queue=[*map(history.moments, waiting)], history=shown([found] if found and found.ended else []))
    ended = tasks.ended(query["page"], query["page_size"]).tasks
    return jsonify(queue=[*map(history.moments, tasks.unfinished())], history=shown(ended))


def one(job_id: str) -> Task | None:
    """The job's task; None if there is none."""
    try:
        return job_objects.find(job_id)
    except TaskNotFound:
        return None


def shown(ended: Sequence[Task]) -> list[dict[str, Any]]:
    """The items of ended jobs; others get their turn in between, for a page may be long."""
    base = urls.base()
    return [history.item(task, base) for task in records.with_pauses(ended)]


def delete(job_id: str) -> Response:
    """Delete an ended job and its files.

    Raises:
        InvalidRequest: no job is named.
        FooocusError: it has not ended.
    """
    if not job_id:
        raise InvalidRequest([Fault("missing", "A deletion needs job_id", loc=("query", "job_id"))])
    task = one(job_id)
    if task is None:
        return jsonify(message="Not found")
    if not task.ended:
        raise FooocusError(f"The job is {job_objects.STAGES[task.task_status]}; stop it first", status=409)
    tasks.clear_one(task)
    return jsonify(message="Deleted")
