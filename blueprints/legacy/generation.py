"""Drawing, by the predecessor's routes: its first version's forms, its second version's JSON; both take both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response
from marshmallow import Schema

from blueprints.legacy import job_objects, translation
from blueprints.legacy.answers import draw
from blueprints.legacy.group import blueprint
from blueprints.legacy.openapi import FORMS, GENERATION
from fooocus_flask.access import scopes
from fooocus_flask.access.keys import DRAW
from schemas.other_apis import legacy

View = TypeVar("View", bound=Callable[..., Any])
Members = dict[str, Any]


def generation(path: str, schema: type[Schema]) -> Callable[[View], View]:
    """Make a view the one of this path, given the members that the schema loads."""

    def decorate(view: View) -> View:
        for step in (
            scopes.needs(DRAW),
            blueprint.doc(requestBody={"content": FORMS}, responses=GENERATION),
            blueprint.arguments(legacy.AcceptSchema, location="query"),
            blueprint.arguments(schema),
            blueprint.post(path),
        ):
            view = step(view)
        return view

    return decorate


@generation("/v1/generation/text-to-image", legacy.LegacyTextSchema)
def text_to_image(sent: Members, _: Members) -> Response:
    """Draw pictures from a text, without other pictures."""
    return draw(job_objects.TEXT, translation.common(sent))


@generation("/v2/generation/text-to-image-with-ip", legacy.LegacyTextAndPromptsSchema)
def text_to_image_with_prompts(sent: Members, _: Members) -> Response:
    """Draw pictures from a text, guided by pictures."""
    return draw(job_objects.TEXT, translation.prompts(translation.common(sent)))


@generation("/v1/generation/image-upscale-vary", legacy.LegacyUpscaleFormSchema)
def upscale_form(sent: Members, _: Members) -> Response:
    """Upscale or vary a picture that comes as a form."""
    return draw(job_objects.UPSCALE, translation.upscale(translation.common(sent, form=True)))


@generation("/v2/generation/image-upscale-vary", legacy.LegacyUpscaleSchema)
def upscale(sent: Members, _: Members) -> Response:
    """Upscale or vary a picture that comes as JSON."""
    asked = translation.upscale(translation.common(sent))
    return draw(job_objects.UPSCALE, translation.prompts(asked, mixed_with="uov_input_image"))


@generation("/v1/generation/image-inpaint-outpaint", legacy.LegacyInpaintFormSchema)
def inpaint_form(sent: Members, _: Members) -> Response:
    """Redraw a part of a picture, or extend it; the picture comes as a form."""
    return draw(job_objects.INPAINT, translation.inpaint(translation.common(sent, form=True)))


@generation("/v2/generation/image-inpaint-outpaint", legacy.LegacyInpaintSchema)
def inpaint(sent: Members, _: Members) -> Response:
    """Redraw a part of a picture, or extend it; the picture comes as JSON."""
    asked = translation.inpaint(translation.common(sent))
    return draw(job_objects.INPAINT, translation.prompts(asked, mixed_with="inpaint_input_image"))


@generation("/v1/generation/image-prompt", legacy.LegacyImagePromptsFormSchema)
def image_prompts_form(sent: Members, _: Members) -> Response:
    """Draw pictures guided by pictures that come as a form."""
    asked = translation.inpaint(translation.common(sent, form=True))
    return draw(job_objects.PROMPT, translation.numbered_prompts(asked, mixed_with="inpaint_input_image"))


@generation("/v2/generation/image-prompt", legacy.LegacyImagePromptsSchema)
def image_prompts(sent: Members, _: Members) -> Response:
    """Draw pictures guided by pictures that come as JSON."""
    asked = translation.inpaint(translation.common(sent))
    return draw(job_objects.PROMPT, translation.prompts(asked, mixed_with="inpaint_input_image"))


@generation("/v1/generation/image-enhance", legacy.LegacyEnhanceFormSchema)
def enhance_form(sent: Members, _: Members) -> Response:
    """Find parts of a picture and redraw them; the picture comes as a form."""
    return draw(job_objects.ENHANCE, translation.numbered_steps(translation.common(sent, form=True)))


@generation("/v2/generation/image-enhance", legacy.LegacyEnhanceSchema)
def enhance(sent: Members, _: Members) -> Response:
    """Find parts of a picture and redraw them; the picture comes as JSON."""
    return draw(job_objects.ENHANCE, translation.enhance(translation.common(sent)))
