"""From what a client sent to what the engine draws: presets merged, models found, nothing left open."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import current_app

from engine import names
from engine.models.catalogue import Catalogue
from engine.params import MAX_SEED, GenerateParams
from fooocus_flask import presets
from fooocus_flask.errors import InvalidRequest
from schemas.faults import Fault
from schemas.generate import DEFAULTS

NOT_YET = (
    *("refiner_model_name", "refiner_switch", "refiner_swap_method", "vae_name"),
    *("uov_method", "uov_input_image", "outpaint_selections", "outpaint_distance"),
    *("inpaint_input_image", "inpaint_additional_prompt", "inpaint_mask_image_upload", "inpaint_erode_or_dilate"),
    *("controlnet_image", "mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"),
    *("upscale_multiple", "black_out_nsfw", "save_final_enhanced_image_only", "generate_image_grid"),
    *("overwrite_switch", "overwrite_vary_strength", "overwrite_upscale_strength"),
    *("debugging_cn_preprocessor", "skipping_cn_preprocessor", "canny_low_threshold", "canny_high_threshold"),
    *("controlnet_softness", "freeu_enabled", "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"),
    *("debugging_inpaint_preprocessor", "inpaint_disable_initial_latent", "inpaint_engine", "inpaint_strength"),
    *("inpaint_respective_field", "debugging_dino", "dino_erode_or_dilate", "debugging_enhance_masks_checkbox"),
    *("enhance_input_image", "enhance_checkbox", "enhance_uov_method", "enhance_uov_processing_order"),
    *("enhance_uov_prompt_type", "enhance_ctrls"),
)
"""Parameters whose effect is not built: a client may only send their default."""

LATER = "not available yet"


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it; `checkpoint` is a path, or None for the built-in model."""

    params: GenerateParams
    checkpoint: str | None
    notes: list[str]


@dataclass
class Draft:
    """A request on its way: its values, whose they are, and what came up."""

    values: dict[str, Any]
    asked: set[str]
    from_preset: set[str]
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def refuse(self, type: str, member: str, msg: str, **ctx: Any) -> None:
        """Note a fault; a value that a preset set is told at the preset."""
        place = "preset" if member in self.from_preset else member
        self.faults.append(Fault(type, msg, self.values[place], ctx, ("body", place)))


def prepare(sent: Mapping[str, Any]) -> Prepared:
    """What to draw for the members that `GenerateSchema` loaded.

    Raises:
        InvalidRequest: something asked for is not there or not built; all such faults at once.
    """
    draft = merged(sent)
    models = catalogue()
    refuse_not_yet(draft)
    checkpoint = find_checkpoint(draft, models)
    leave_out(draft, models, builtin=checkpoint is None)
    check_sampling(draft, builtin=checkpoint is None)
    if draft.faults:
        raise InvalidRequest(draft.faults)
    settle(draft.values)
    return Prepared(GenerateParams.from_dict(draft.values), checkpoint, draft.notes)


def catalogue() -> Catalogue:
    """The model files of this server, as they lie there now."""
    return Catalogue(Path(current_app.config["MODELS_PATH"]))


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


def find_checkpoint(draft: Draft, models: Catalogue) -> str | None:
    """The checkpoint's path; None for the built-in model, which stands in where there is no checkpoint at all."""
    name = draft.values["base_model_name"]
    if name == names.BUILTIN_CHECKPOINT:
        return None
    path = models.find_checkpoint(name)
    if path is not None:
        return str(path)
    there = [other for other in models.checkpoints() if other != names.BUILTIN_CHECKPOINT]
    if there:
        legal = ", ".join([*there, names.BUILTIN_CHECKPOINT])
        draft.refuse("enum", "base_model_name", f"There is no checkpoint {name!r}; there are {legal}", expected=legal)
    else:
        draft.notes.append(
            f"Drawn with the built-in model {names.BUILTIN_CHECKPOINT}: this server has no checkpoint, so not {name}"
        )
    return None


def leave_out(draft: Draft, models: Catalogue, *, builtin: bool) -> None:
    """Refuse model files that cannot be in force; those of the defaults are left out with a note.

    A preset's are refused too, unless the built-in model draws in place of the preset's own.
    """
    values = draft.values
    for lora in values["loras"]:
        name = lora["model_name"]
        if lora["enabled"] and name != names.NO_MODEL:
            legal = None if models.find_lora(name) else ", ".join(models.loras()) or "none on this server"
            lora["enabled"] = not left_out(draft, "loras", "LoRA", name, builtin, legal)
    for member, kind in (("refiner_model_name", "refiner"), ("vae_name", "VAE")):
        if member not in draft.asked and values[member] != DEFAULTS[member]:
            left_out(draft, member, kind, values[member], builtin)
            values[member] = DEFAULTS[member]


def left_out(draft: Draft, member: str, kind: str, name: str, builtin: bool, legal: str | None = None) -> bool:
    """Whether this model file can be left out with a note; otherwise it is refused.

    `legal` names those that are there, where this one is not.
    """
    if member in draft.asked or (member in draft.from_preset and not builtin):
        if legal:
            draft.refuse("enum", member, f"There is no {kind} {name!r}; there are: {legal}", expected=legal)
        else:
            draft.refuse("not_available_yet", member, f"The {kind} {name!r} cannot be used: {member} is {LATER}")
        return False
    reason = "it is not on this server" if legal else f"{kind}s are {LATER}"
    named_by = f"the preset {draft.values['preset']}" if member in draft.from_preset else "the defaults"
    draft.notes.append(f"The {kind} {name} of {named_by} is left out: {reason}")
    return True


def check_sampling(draft: Draft, *, builtin: bool) -> None:
    """Refuse modes that need a LoRA, and the one pair of sampler and schedule that cannot work together."""
    values = draft.values
    mode = names.PERFORMANCES[values["performance_selection"]]
    if mode.distilled and not builtin:
        text = f"{mode.name!r} needs the LoRA {mode.lora} ({mode.lora_url}), and LoRAs are {LATER}"
        slow = ", ".join(other.name for other in names.PERFORMANCES.values() if not other.distilled)
        draft.refuse("not_available_yet", "performance_selection", f"{text}; without it: {slow}", expected=slow)
    pair = (values["sampler_name"], values["scheduler_name"])
    if pair == ("tcd", "edm_playground_v2.5") and not mode.distilled:
        member = "scheduler_name" if "scheduler_name" in draft.asked else "sampler_name"
        text = "The sampler tcd needs a discrete schedule, which edm_playground_v2.5 is not; choose another of the two"
        draft.refuse("value_error", member, text)


def settle(values: dict[str, Any]) -> None:
    """Put in place what the server decides: the seed, the size's spelling, the webhook, members without effect."""
    if values["image_seed"] < 0:
        values["image_seed"] = secrets.randbelow(MAX_SEED + 1)
    values["aspect_ratios_selection"] = values["aspect_ratios_selection"].replace("*", "×")
    values["webhook_url"] = values["webhook_url"] or current_app.config.get("WEBHOOK_URL") or ""
    values["save_name"] = values["save_name"] or None
    values["input_image_checkbox"] = True
    values["invert_mask_checkbox"] = False
    values["inpaint_advanced_masking_checkbox"] = values["inpaint_mask_image_upload"] is not None
    if current_app.config.get("DISABLE_METADATA"):
        values["save_metadata_to_images"] = False
