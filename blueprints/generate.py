"""Drawing: one request, four kinds of answer."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response

from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.following import responses
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.pictures import formats
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.parsing import Blueprint
from fooocus_flask.submission.submit import submit
from schemas import answers
from schemas.submission import FORM, IDEMPOTENCY_KEY, SubmissionSchema

blueprint = Blueprint("generate", __name__, url_prefix="/v1/engine", description="Drawing.")


@blueprint.post("/generate/")
@blueprint.arguments(SubmissionSchema(style_names=style_names))
@blueprint.doc(requestBody={"content": FORM}, responses=answers.GENERATE, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def generate(sent: dict[str, Any]) -> Response:
    """Draw pictures."""
    kind = formats.picture()
    submission = submit(sent, kind, {"image_number": 1} if kind else None)
    task = submission.task
    if kind:
        response = responses.picture(task, kind)
    elif task.params.stream_output:
        stop = partial(runner.current().stop, task)
        response = responses.events(task, stop if sent.get("cancel_on_disconnect") else None)
    elif task.params.async_process:
        response = responses.pending_record(task, replayed=submission.replayed)
    else:
        response = responses.final_record(task)
    response.vary.add("Accept")
    return responses.identify(response, submission)
