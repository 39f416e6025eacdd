"""From what a client sent to what the engine draws: presets merged, models found, nothing left open."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import current_app

from engine import names
from engine.goals import goals_of
from engine.models.catalogue import Catalogue
from engine.params import MAX_SEED, GenerateParams
from fooocus_flask import folders, presets
from fooocus_flask.draft import Draft
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files import check_files, find_checkpoint
from schemas.faults import Fault
from schemas.generate import DEFAULTS

NOT_YET = (
    *("black_out_nsfw", "save_final_enhanced_image_only", "debugging_dino", "dino_erode_or_dilate"),
    *("debugging_enhance_masks_checkbox", "enhance_input_image", "enhance_checkbox", "enhance_uov_method"),
    *("enhance_uov_processing_order", "enhance_uov_prompt_type", "enhance_ctrls"),
)
"""Parameters whose effect is not built: a client may only send their default."""

LATER = "not available yet"


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it; `checkpoint` is a path, or None for the built-in model."""

    params: GenerateParams
    checkpoint: str | None
    notes: list[str]


def prepare(sent: Mapping[str, Any]) -> Prepared:
    """What to draw for the members that `GenerateSchema` loaded.

    Raises:
        InvalidRequest: something asked for is not there or not built; all such faults at once.
    """
    draft = merged(sent)
    models = catalogue()
    refuse_not_yet(draft)
    checkpoint = find_checkpoint(draft, models)
    check_files(draft, models, builtin=checkpoint is None)
    check_sampling(draft)
    check_guiding(draft, builtin=checkpoint is None)
    if draft.faults:
        raise InvalidRequest(draft.faults)
    settle(draft.values)
    return Prepared(GenerateParams.from_dict(draft.values), checkpoint, draft.notes)


def catalogue() -> Catalogue:
    """The model files of this server, as they lie there now."""
    return Catalogue(folders.current())


def merged(sent: Mapping[str, Any]) -> Draft:
    """The request over the preset over the server's defaults.

    A value equal to the server's default gives way to the preset's, whether it was sent or not (api.md section 8).
    """
    standing = presets.global_defaults()
    values = standing | dict(sent)
    asked = {name for name in sent if values[name] != standing[name]}
    try:
        chosen = presets.values(values["preset"])
    except presets.PresetError as error:
        raise InvalidRequest([Fault("enum", str(error), values["preset"], loc=("body", "preset"))]) from error
    from_preset = {name for name in chosen if name not in asked}
    return Draft(values | {name: chosen[name] for name in from_preset}, asked, from_preset)


def refuse_not_yet(draft: Draft) -> None:
    """Refuse what the client asked for and this version cannot do."""
    for name in NOT_YET:
        if name in draft.asked and draft.values[name] != DEFAULTS[name]:
            draft.refuse("not_available_yet", name, f"{name} is {LATER}: only its default can be sent")


def check_sampling(draft: Draft) -> None:
    """Refuse the one pair of sampler and schedule that cannot work together."""
    values = draft.values
    mode = names.PERFORMANCES[values["performance_selection"]]
    pair = (values["sampler_name"], values["scheduler_name"])
    if pair == ("tcd", "edm_playground_v2.5") and not mode.distilled:
        member = "scheduler_name" if "scheduler_name" in draft.asked else "sampler_name"
        text = "The sampler tcd needs a discrete schedule, which edm_playground_v2.5 is not; choose another of the two"
        draft.refuse("value_error", member, text)


def check_guiding(draft: Draft, *, builtin: bool) -> None:
    """Refuse control images where the built-in model draws, which no control net or image prompt is made for."""
    if builtin and goals_of(GenerateParams.from_dict(draft.values)).control:
        text = "Control images need a checkpoint in base_model_name: the built-in model has nothing that reads them"
        draft.refuse("value_error", "controlnet_image", text)


def settle(values: dict[str, Any]) -> None:
    """Put in place what the server decides: the seed, the size's spelling, the webhook, members without effect."""
    if values["image_seed"] < 0:
        values["image_seed"] = secrets.randbelow(MAX_SEED + 1)
    values["aspect_ratios_selection"] = values["aspect_ratios_selection"].replace("*", "×")
    values["webhook_url"] = values["webhook_url"] or current_app.config.get("WEBHOOK_URL") or ""
    values["save_name"] = values["save_name"] or None
    values["input_image_checkbox"] = True
    values["inpaint_advanced_masking_checkbox"] = values["inpaint_mask_image_upload"] is not None
    if current_app.config.get("DISABLE_METADATA"):
        values["save_metadata_to_images"] = False
