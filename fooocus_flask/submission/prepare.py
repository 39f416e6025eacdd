"""From what a client sent to what the engine draws: presets merged, models found, nothing left open."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import current_app

from engine import choices
from engine.file_set import FileSet
from engine.files.catalogue import Catalogue
from engine.files.file_sets import InstalledForFooocus, file_set
from engine.params import MAX_SEED, GenerateParams
from engine.prompt.texts import MOST_BYTES, most_bytes
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.extension import application
from fooocus_flask.model_files import addresses, presets
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.model_files.folders import model_catalogue, styles
from fooocus_flask.pictures import public_hosts
from fooocus_flask.submission.checkout_fit import check_checkout
from fooocus_flask.submission.draft import Draft
from fooocus_flask.submission.file_kinds import check_kinds
from fooocus_flask.submission.picture_members import check_pictures
from fooocus_flask.submission.required_files import check_files, find_checkpoint
from fooocus_flask.submission.result_sizes import check_sizes
from fooocus_flask.tasks.new_task import NewTask
from schemas.faults import Fault


def prepare(sent: Mapping[str, Any]) -> NewTask:
    """The task for the members that `GenerateSchema` loaded.

    Raises:
        InvalidRequest: something asked for is not there or cannot be; all such faults at once.
    """
    return checked(merged(sent))


def checked(draft: Draft) -> NewTask:
    """The task for parameters that are complete.

    Raises:
        InvalidRequest: something in them is not there or cannot be; all such faults at once.
    """
    models, sources = catalogue(), sources_of(draft.params.preset)
    checkpoint = find_checkpoint(draft, models, sources)
    fooocus = checkout.current()
    if fooocus:
        files: FileSet = InstalledForFooocus(models, Path(checkpoint or draft.params.base_model_name))
        check_checkout(draft, fooocus)
    else:
        files = file_set(models, checkpoint)
    check_fit(draft, files)
    check_files(draft, files, models, sources)
    check_kinds(draft, files, models)
    check_sampling(draft)
    check_texts(draft)
    check_pictures(draft)
    check_sizes(draft)
    check_webhook(draft)
    if draft.faults:
        raise InvalidRequest(draft.faults)
    return NewTask(draft.params, checkpoint, draft.notes, draft.downloads)


def catalogue() -> Catalogue:
    """The model files of this server, as they lie there now."""
    return model_catalogue(application())


def merged(sent: Mapping[str, Any]) -> Draft:
    """The request over the preset over the server's defaults, with what the server decides.

    A value equal to the server's default gives way to the preset's, whether it was sent or not.
    """
    standing = presets.global_defaults()
    values = standing | dict(sent)
    asked = frozenset(name for name in sent if values[name] != standing[name])
    try:
        chosen, notes = presets.values_and_notes(values["preset"])
    except presets.PresetError as error:
        raise no_preset(values["preset"], error) from error
    from_preset = frozenset(chosen) - asked
    values = settled(values | {name: chosen[name] for name in from_preset})
    return Draft(GenerateParams.from_dict(values), asked, from_preset, notes, frozenset(sent))


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with what the server decides: the seed, the size's spelling, members without effect."""
    config = current_app.config
    seed = values["image_seed"]
    return {
        **values,
        "image_seed": seed if seed >= 0 else secrets.randbelow(MAX_SEED + 1),
        "aspect_ratios_selection": values["aspect_ratios_selection"].replace("*", "×"),
        "webhook_url": values["webhook_url"] or "",
        "save_name": values["save_name"] or None,
        "save_metadata_to_images": values["save_metadata_to_images"] and not config.get("DISABLE_METADATA"),
        "input_image_checkbox": True,
        "inpaint_advanced_masking_checkbox": values["inpaint_mask_image_upload"] is not None,
    }


def sources_of(preset: str) -> addresses.Sources:
    """Where model files can be had for a request with this preset."""
    try:
        return addresses.sources_for(preset)
    except presets.PresetError as error:
        raise no_preset(preset, error) from error


def no_preset(preset: str, error: presets.PresetError) -> InvalidRequest:
    """The refusal of a preset that cannot be used."""
    return InvalidRequest([Fault("enum", str(error), preset, loc=("body", "preset"))])


def check_sampling(draft: Draft) -> None:
    """Refuse the one pair of sampler and schedule that cannot work together."""
    mode = choices.PERFORMANCES[draft.params.performance_selection]
    pair = (draft.params.sampler_name, draft.params.scheduler_name)
    if pair == ("tcd", "edm_playground_v2.5") and not mode.distilled:
        member = "scheduler_name" if "scheduler_name" in draft.asked else "sampler_name"
        text = "The sampler tcd needs a discrete schedule, which edm_playground_v2.5 is not; choose another of the two"
        draft.refuse("value_error", member, text)


def check_texts(draft: Draft) -> None:
    """Refuse texts that together are longer than a picture can use: every style has one, most repeat the prompt."""
    found = most_bytes(draft.params, styles())
    if found > MOST_BYTES:
        text = (
            f"Prompt and styles together have {found} bytes of text, and a picture is drawn from at most {MOST_BYTES}: "
            "choose fewer styles, or a shorter first line of the prompt, which most styles repeat"
        )
        draft.refuse("too_large", "style_selections", text, max_length=MOST_BYTES, actual_length=found)


def check_fit(draft: Draft, files: FileSet) -> None:
    """Refuse what the base model has no files for; a refiner that nobody insists on is left out."""
    refiner, readable = draft.params.refiner_model_name, files.control_kinds()
    others = [prompt.cn_type for prompt in draft.modes.control if prompt.cn_type not in readable]
    if others:
        text = (
            f"Control images of the kind {' and '.join(dict.fromkeys(others))} need a checkpoint in base_model_name: "
            f"the built-in model reads {' and '.join(readable) or 'none'}"
        )
        draft.refuse("value_error", "controlnet_image", text)
    if files.takes_sdxl_files or refiner in (choices.NO_MODEL, draft.params.base_model_name):
        return
    if "refiner_model_name" in draft.asked:
        text = "A refiner needs a checkpoint in base_model_name: none goes with the built-in model. Send None"
        draft.refuse("value_error", "refiner_model_name", text)
    else:
        note = f"The refiner {refiner} is left out: none goes with the built-in model"
        draft.leave_out(note, refiner_model_name=choices.NO_MODEL)


def check_webhook(draft: Draft) -> None:
    """Refuse a webhook that is never sent to, as far as its text tells; where a name leads is seen at delivery."""
    url, config = draft.params.webhook_url, current_app.config
    if not url or url == config.get("WEBHOOK_URL"):
        return
    try:
        public_hosts.check_text(url, allow_private=config.get("ALLOW_PRIVATE_ADDRESSES", False))
    except public_hosts.AddressRefused as error:
        text = f"No webhook is sent there: {error}. It takes an http:// or https:// URL of a public host"
        draft.refuse("value_error", "webhook_url", text)
