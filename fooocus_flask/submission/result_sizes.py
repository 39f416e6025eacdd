"""How large a request's pictures become on their way: more pixels than this server makes are refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from flask import current_app

from engine.images import reading
from engine.images.outpaint import room
from engine.images.reading import UnreadablePicture
from engine.images.variation import upscale_factor
from engine.modes import Modes
from engine.params import GenerateParams
from fooocus_flask.pictures import inputs
from fooocus_flask.submission.draft import Draft

Size = tuple[int, int]
UPSCALED_AT_ONCE = 4
"""A picture may be enlarged that has this part of the most pixels: the upscaler makes it up to 16 times as large."""


def check_sizes(draft: Draft) -> None:
    """Refuse pictures that would become larger than MAX_PIXELS on their way, at the member that makes them so."""
    most = current_app.config["MAX_PIXELS"]
    if not most:
        return
    for member, (width, height), limit, advice in made(draft.params, draft.modes, sizes_of(draft.params), most):
        if width * height > limit:
            text = f"A picture of {width}×{height} pixels would be needed, and here it may have {limit}: {advice}"
            draft.refuse("too_large", member, text, max_pixels=limit, width=width, height=height)


def made(
    params: GenerateParams, modes: Modes, size_of: Callable[[str], Size | None], most: int
) -> Iterator[tuple[str, Size, int, str]]:
    """The pictures made on the way: the member that asks for each, its size, its limit, and what would work."""
    size: Size | None = size_of("enhance_input_image") if modes.enhance_given else params.size
    if modes.inpaint and params.outpaint_selections and (inner := size_of("inpaint_input_image")):
        added = room(*inner, params.outpaint_selections, params.outpaint_distance)
        size = inner[0] + added["left"] + added["right"], inner[1] + added["top"] + added["bottom"]
        yield "outpaint_distance", size, most, "send smaller distances, or a smaller picture"
    if modes.upscale and (given := size_of("uov_input_image")):
        size = enlarged(given, upscale_factor(params.uov_method, params.upscale_multiple))
        yield "uov_input_image", given, most // UPSCALED_AT_ONCE, "send a smaller picture to upscale"
        yield "upscale_multiple", size, most, "choose a smaller factor, or send a smaller picture"
    if modes.enhance_uov and params.enhance_uov_method.startswith("Upscale") and size:
        yield "enhance_uov_method", size, most // UPSCALED_AT_ONCE, "choose Disabled, or a smaller picture before it"
        size = enlarged(size, upscale_factor(params.enhance_uov_method, params.upscale_multiple))
        yield "enhance_uov_method", size, most, "choose a smaller factor, or a smaller picture before it"
    if params.generate_image_grid and modes.draws and size and params.image_number > 1:
        columns = math.ceil(math.sqrt(params.image_number))
        rows = math.ceil(params.image_number / columns)
        sheet = columns * size[0], rows * size[1]
        yield "generate_image_grid", sheet, most, "ask for fewer or smaller pictures, or for no grid"


def enlarged(size: Size, factor: float) -> Size:
    """The size with both sides so many times as long."""
    return math.ceil(size[0] * factor), math.ceil(size[1] * factor)


def sizes_of(params: GenerateParams) -> Callable[[str], Size | None]:
    """Tells the size of the picture that a member names; None where there is none."""

    def size_of(member: str) -> Size | None:
        reference = getattr(params, member)
        if not reference:
            return None
        try:
            return inputs.in_thread(reading.size, inputs.current().path(reference))
        except (OSError, UnreadablePicture):  # the engine will say so
            return None

    return size_of
