"""The routes that draw: each request becomes a task, and its answer waits for the end or tells of it as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from flask import Response, request

from blueprints.openai_images import answers, translation
from blueprints.openai_images.events import ImageEvents
from blueprints.openai_images.group import blueprint
from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.errors import FooocusError, InvalidRequest
from fooocus_flask.extension import application
from fooocus_flask.following import responses, streams, waiters
from fooocus_flask.following.departures import Departure
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.submission.submit import Submission, Translation, submit
from fooocus_flask.tables import PENDING, STOPPED, Task
from fooocus_flask.tasks import queue
from schemas.answers import DRAWN_HEADERS
from schemas.other_apis import openai_images as shapes
from schemas.submission import IDEMPOTENCY_HEADER, IDEMPOTENCY_KEY

SETTLED = {"stream_output": False, "async_process": False}
"""How these routes answer is theirs to say."""
FAILURE = {"content": {"application/json": {"schema": shapes.ImagesFailureSchema}}}
REFUSALS = {
    "400": {"description": "Something in the request does not fit; `param` names the member.", **FAILURE},
    "401": {"description": "The key is missing or wrong.", **FAILURE},
    "403": {"description": "The key may not draw.", **FAILURE},
    "404": {"description": "There is no such model.", **FAILURE},
    "409": {"description": "The task was stopped.", **FAILURE},
    "413": {"description": "The body is larger than this server takes.", **FAILURE},
    "429": {
        "description": "The queue is full, or a limit is reached; `Retry-After` says when to come back.",
        **FAILURE,
    },
    "500": {"description": "The task failed.", **FAILURE},
    "502": {"description": "A model file could not be fetched.", **FAILURE},
    "503": {"description": "The server is stopping.", **FAILURE},
    "507": {"description": "There was too little memory, or room on the disk.", **FAILURE},
}
ANSWER = {
    "200": {
        "description": "The pictures; with `stream`, events.",
        "content": {
            "application/json": {"schema": shapes.ImagesSchema},
            "text/event-stream": {"schema": {"type": "string"}},
        },
        "headers": DRAWN_HEADERS,
    }
}


@blueprint.post("/images/generations")
@blueprint.arguments(shapes.GenerationsSchema(style_names=style_names))
@blueprint.doc(responses=ANSWER | REFUSALS, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def generations(sent: dict[str, Any]) -> Response:
    """Draw pictures of a text, as OpenAI's API does."""
    return drawn(sent, translation.generation)


@blueprint.post("/images/edits")
@blueprint.arguments(shapes.EditsSchema(style_names=style_names))
@blueprint.doc(
    requestBody={"content": shapes.form("image", "image[]", "mask")},
    responses=ANSWER | REFUSALS,
    parameters=[IDEMPOTENCY_KEY],
)
@scopes.needs(DRAW)
def edits(sent: dict[str, Any]) -> Response:
    """Change a picture by words, a part of it with a mask, as OpenAI's API does."""
    return drawn(sent, translation.edit)


@blueprint.post("/images/variations")
@blueprint.arguments(shapes.VariationsSchema(style_names=style_names))
@blueprint.doc(requestBody={"content": shapes.form("image")}, responses=ANSWER | REFUSALS, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def variations(sent: dict[str, Any]) -> Response:
    """Draw pictures like another one, as OpenAI's API did."""
    return drawn(sent, translation.variation)


def drawn(sent: dict[str, Any], translate: Callable[[Mapping[str, Any]], translation.ImagesRequest]) -> Response:
    """The answer of a request; a client that leaves before its task began takes it back."""
    as_urls, streamed = sent.get("response_format") == "url", bool(sent.get("stream"))
    made = translate(sent)
    submission = submitted(made, "url" if as_urls else "b64_json", streamed=streamed)
    task = submission.task
    # Who sent an Idempotency-Key can come back for the pictures, and may do so at once.
    left = None if IDEMPOTENCY_HEADER in request.headers else partial(take_back, task.task_id)
    if streamed:
        most = sent.get("partial_images", 0)
        events = ImageEvents(application(), task, most, request.environ, left)
        response: Response = streams.StreamResponse(events, headers=streams.HEADERS)
    else:
        response = answers.pictures(waited(task, left), as_urls=as_urls)
    return responses.identify(response, submission)


def submitted(made: translation.ImagesRequest, answer: str, *, streamed: bool) -> Submission:
    """The task of a request.

    Raises:
        InvalidRequest: something asked for is not there or cannot be, told at the members that were sent.
    """
    kept = Translation(made.api, tuple(made.notes))
    kind = f"openai/{made.api['route']}/{answer}{'/stream' if streamed else ''}"
    try:
        return submit(made.members, kind, SETTLED, kept)
    except InvalidRequest as error:
        raise made.as_sent(error) from error


def waited(task: Task, left: Callable[[], object] | None) -> Task:
    """The task, once it has ended.

    Raises:
        FooocusError: the server stops before; a task that has not begun is then taken back, for the client sees this
            and asks again.
    """
    if left is None:
        return waiters.wait(task.task_id)
    with closing(Departure(application(), request.environ, left)):
        try:
            return waiters.wait(task.task_id)
        except FooocusError:
            left()
            raise


def take_back(task_id: str) -> None:
    """End a task that has not begun."""
    queue.end(task_id, STOPPED, only=PENDING)
