"""Members that belong to a picture: one without the other is refused, where the request has nothing else to go by.

Clients that keep all members of a form filled in send a picture beside `"uov_method": "Disabled"`, or a method beside
another picture. That is no mistake: the engine's plan notes what it does not use.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine import choices
from engine.modes import DISABLED
from engine.params import GenerateParams
from fooocus_flask.submission.draft import Draft

UOV = {"uov_input_image", "uov_method"}


def check_pictures(draft: Draft) -> None:
    """Refuse a picture that nothing would be done with, and what would be done with a picture where there is none.

    Of a task that is drawn once more nothing was sent, and it is taken as it was.
    """
    for member, text in incomplete(draft):
        draft.refuse("value_error", member, text)


def incomplete(draft: Draft) -> Iterator[tuple[str, str]]:
    """The members to which another is missing, and what would work."""
    params, modes = draft.params, draft.modes
    if modes.enhance_given and not modes.enhance:
        yield (
            "enhance_input_image",
            "enhance_input_image needs enhance_checkbox true, and an enhance_uov_method other than Disabled or a step "
            "in enhance_ctrls with enhance_enabled true",
        )
    if params.enhance_input_image or modes.control:
        return  # other pictures decide
    if not (params.uov_input_image or params.inpaint_input_image):
        yield from ((member, text) for member, text in _without_picture(params) if member in draft.sent)
    elif params.uov_method == DISABLED and draft.sent & UOV == {"uov_input_image"} and not params.inpaint_input_image:
        methods = ", ".join(word for word in choices.UPSCALE_OR_VARY_METHODS if word != DISABLED)
        text = f"uov_input_image needs uov_method: one of {methods}; or {DISABLED}, to draw without the picture"
        yield "uov_input_image", text


def _without_picture(params: GenerateParams) -> Iterator[tuple[str, str]]:
    """What was asked to be done with a picture, of which there is none."""
    for member, asked, picture, nothing in (
        ("uov_method", params.uov_method != DISABLED, "uov_input_image", DISABLED),
        ("inpaint_mask_image_upload", params.inpaint_mask_image_upload, "inpaint_input_image", "no mask"),
        ("outpaint_selections", params.outpaint_selections, "inpaint_input_image", "an empty list"),
    ):
        if asked:
            yield member, f"{member} needs a picture in {picture}; send {nothing} to draw from the prompt alone"
