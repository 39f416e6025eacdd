"""The routes that draw: each request becomes a task, and its answer waits for the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from blueprints.sdapi import answers, options, translation
from blueprints.sdapi.group import blueprint
from engine.files.catalogue import Catalogue
from engine.images import reading
from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.pictures import inputs, sent_pictures
from fooocus_flask.submission.prepare import catalogue
from fooocus_flask.submission.submit import Submission, Translation, submit
from schemas.answers import DRAWN_HEADERS, TASK_REFUSALS
from schemas.fields import Upload
from schemas.other_apis.sdapi import (
    DrawnPicturesSchema,
    ExtraImageAnswerSchema,
    ExtraImageSchema,
    ImageToImageSchema,
    TextToImageSchema,
)
from schemas.submission import IDEMPOTENCY_KEY

Translate = Callable[[Mapping[str, Any], Mapping[str, Any], Catalogue], translation.TranslatedMembers]
REFUSALS = {**TASK_REFUSALS, "409": {"description": "Two requests at once named the same force_task_id."}}


@blueprint.post("/txt2img")
@blueprint.arguments(TextToImageSchema(style_names=style_names))
@blueprint.response(200, DrawnPicturesSchema, headers=DRAWN_HEADERS)
@blueprint.doc(responses=REFUSALS, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def txt2img(sent: dict[str, Any]) -> Response:
    """Draw pictures from a text."""
    return drawn("txt2img", sent, translation.text_to_image)


@blueprint.post("/img2img")
@blueprint.arguments(ImageToImageSchema(style_names=style_names))
@blueprint.response(200, DrawnPicturesSchema, headers=DRAWN_HEADERS)
@blueprint.doc(responses=REFUSALS, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def img2img(sent: dict[str, Any]) -> Response:
    """Draw pictures from another one, or the part of it that a mask paints."""
    return drawn("img2img", sent, translation.image_to_image)


@blueprint.post("/extra-single-image")
@blueprint.arguments(ExtraImageSchema)
@blueprint.response(200, ExtraImageAnswerSchema, headers=DRAWN_HEADERS)
@blueprint.doc(responses=REFUSALS, parameters=[IDEMPOTENCY_KEY])
@scopes.needs(DRAW)
def extra_single_image(sent: dict[str, Any]) -> Response:
    """Enlarge a picture."""
    picture = sent_pictures.given(sent["image"], "image")
    size = inputs.in_thread(reading.size, picture)
    models, own = catalogue(), options.stored()
    chosen = own | {"sd_model_checkpoint": options.model(own, models)}
    made = translation.extra_image(sent | {"image": Upload(picture)}, chosen, models, size)
    return answers.enlarged(submitted("extra-single-image", made))


def drawn(route: str, sent: dict[str, Any], translate: Translate) -> Response:
    """The answer of a route that draws."""
    models, own, overriding = catalogue(), options.stored(), sent.get("override_settings", {})
    model = options.model(own, models)
    made = translate(sent, own | {"sd_model_checkpoint": model}, models)
    made.notes += options.note_on(model, own | overriding)
    submission = submitted(route, made)
    if overriding and sent.get("override_settings_restore_afterwards") is False:
        options.store(options.resolved(overriding, models))
    return answers.drawn(submission, sent)


def submitted(route: str, made: translation.TranslatedMembers) -> Submission:
    """The task that was made of a request.

    Raises:
        InvalidRequest: something asked for is not there or cannot be, told at the members that were sent.
    """
    kept = Translation({"name": blueprint.name, "route": route}, tuple(made.notes), made.task_id)
    try:
        return submit(made.members, f"{blueprint.name}/{route}", made.settled, kept)
    except InvalidRequest as error:
        raise made.told_as_sent(error) from error
