"""Which tasks may be drawn as one batch: pictures of text alone, of one size and model, in the same steps."""

from __future__ import annotations

from engine.choices import NO_MODEL
from engine.modes import modes_of
from engine.params import GenerateParams
from fooocus_flask.tables import Task

OWN = frozenset(
    {
        *("prompt", "negative_prompt", "style_selections", "image_seed", "image_number", "disable_seed_increment"),
        *("output_format", "output_quality", "save_metadata_to_images", "metadata_scheme", "generate_image_grid"),
        *("save_name", "require_base64", "preset", "stream_output", "async_process", "webhook_url"),
        *("disable_preview", "disable_intermediate_results", "read_wildcards_in_order"),
    }
)
"""Members in which such tasks may differ: they change no shape and no step."""
MARKS = ("<lora", "__")
"""In a prompt they may bring LoRAs, which change the weights that the others are drawn with."""


def alike(one: Task, other: Task) -> bool:
    """Whether two tasks may be drawn as one batch; not where a row's parameters cannot be read."""
    if one.checkpoint != other.checkpoint:
        return False
    try:
        mine, others = one.params, other.params
    except (KeyError, TypeError, ValueError):  # of a version with other members
        return False
    return plain(mine) and plain(others) and _shared(mine) == _shared(others)


def plain(params: GenerateParams) -> bool:
    """Whether pictures are drawn of text alone, by one model that nothing is attached to."""
    modes, words = modes_of(params), f"{params.prompt}\n{params.negative_prompt}".casefold()
    more = modes.vary or modes.upscale or modes.inpaint or modes.enhance or modes.control
    attached = params.freeu_enabled or params.refiner_model_name != NO_MODEL or params.black_out_nsfw
    return modes.draws and not more and not attached and not any(mark in words for mark in MARKS)


def _shared(params: GenerateParams) -> dict[str, object]:
    return {name: value for name, value in params.to_dict().items() if name not in OWN}
