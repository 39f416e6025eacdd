"""How far the caller's own task is, and ending it: a queue of others is nobody's business."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from blueprints.sdapi import answers
from blueprints.sdapi.group import blueprint
from engine.progress import sampling_step
from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.runner.runner import runner
from fooocus_flask.tables import Task
from fooocus_flask.tasks import estimates, history, live
from schemas.other_apis.sdapi import ProgressAnswerSchema, ProgressQuerySchema

EMPTY = {"type": "object", "description": "Nothing."}
IDLE = {
    "progress": 0.0,
    "eta_relative": 0.0,
    "state": {
        "skipped": False,
        "interrupted": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    },
    "current_image": None,
    "textinfo": None,
}


@blueprint.get("/progress")
@blueprint.arguments(ProgressQuerySchema, location="query")
@blueprint.response(200, ProgressAnswerSchema)
@scopes.needs(READ, DRAW)
def progress(query: dict[str, Any]) -> dict[str, Any]:
    """Tell how far the caller's running task is."""
    task = own_task()
    if task is None:
        return IDLE
    now = live.progress_of(task.task_id)
    step, steps = sampling_step(now.message)
    return {
        "progress": now.percent / 100,
        "eta_relative": float(estimates.place_of(task).seconds or 0),
        "state": {
            "skipped": False,
            "interrupted": task.stop_asked,
            "job": task.task_id,
            "job_count": task.params.image_number,
            "job_timestamp": answers.timestamp(task),
            "job_no": task.pictures_done,
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": None if query["skip_current_image"] else now.preview or None,
        "textinfo": now.message or None,
    }


@blueprint.post("/interrupt")
@blueprint.response(200, EMPTY)
@scopes.needs(DRAW)
def interrupt() -> Response:
    """Stop the caller's running task after its current step."""
    if task := own_task():
        runner.current().stop(task)
    return jsonify({})


@blueprint.post("/skip")
@blueprint.response(200, EMPTY)
@scopes.needs(DRAW)
def skip() -> Response:
    """Drop the picture that the caller's running task is drawing."""
    if task := own_task():
        runner.current().skip(task)
    return jsonify({})


def own_task() -> Task | None:
    """The running task that is the caller's, of several the one begun first."""
    caller = callers.current()
    if caller is None:
        return None
    return next((task for task in history.under_way() if caller.name in (None, task.key_name)), None)
