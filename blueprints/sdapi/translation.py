"""From a request of AUTOMATIC1111's clients to the members of our own, with notes on what has no counterpart."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from marshmallow import Schema

from blueprints.sdapi import names
from engine.files.catalogue import Catalogue
from engine.modes import FAST
from fooocus_flask.errors import InvalidRequest, TaskNotFound
from fooocus_flask.tasks import queue
from schemas.faults import Fault
from schemas.other_apis.sdapi import (
    MOST_FACTOR,
    MOST_PICTURES,
    ExtraImageSchema,
    ImageToImageSchema,
    OptionsSchema,
    TextToImageSchema,
)

SEEDS = 2**32
"""A seed that nobody names lies below it: JavaScript, in which many clients are written, rounds larger ones."""
SIDE, STEP = 1024, 8
FACTOR = 2.0
MOST_NAMED = 20
LONGEST_NAMED = 60
TASK_ID = re.compile(r"[0-9a-f]{32}")
CUSTOM = "Upscale (Custom)"
VARY = "Vary (Strong)"
STRENGTH = 0.75
NOISE_ALONE = (2, 3)
"""Values of inpainting_fill."""

SAME = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "overwrite_step",
    "cfg_scale": "guidance_scale",
    "refiner_switch_at": "refiner_switch",
}
"""Members that only have other names."""
SENT_AS = {
    **{native: member for member, native in SAME.items()},
    "base_model_name": "sd_model_checkpoint",
    "vae_name": "sd_vae",
    "refiner_model_name": "refiner_checkpoint",
    "style_selections": "styles",
    "uov_input_image": "init_images",
    "inpaint_input_image": "init_images",
    "inpaint_mask_image_upload": "mask",
    "upscale_multiple": "hr_scale",
    "enhance_uov_method": "hr_scale",
}
"""Where a fault of one of our members is told."""
EXTRA_SENT_AS = SENT_AS | {
    "uov_input_image": "image",
    "upscale_multiple": "upscaling_resize",
    "uov_method": "upscaling_resize",
}
SCRIPTS = {
    "controlnet": "for ControlNet send controlnet_image",
    "adetailer": "for ADetailer send enhance_checkbox and enhance_ctrls",
}
"""What does the same as an extension, in a request to POST /v1/engine/generate/."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("subseed", "seed_resize_from_h", "seed_resize_from_w"), (-1, 0)),
    **dict.fromkeys(("subseed_strength", "s_churn", "s_tmin", "s_min_uncond", "firstphase_width"), (0,)),
    **dict.fromkeys(("firstphase_height", "hr_second_pass_steps", "resize_mode", "distilled_cfg_scale"), (0,)),
    **dict.fromkeys(("restore_faces", "tiling", "disable_extra_networks"), (False,)),
    **dict.fromkeys(("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt"), ("",)),
    **dict.fromkeys(("hr_negative_prompt", "firstpass_image", "infotext", "latent_mask"), ("",)),
    **dict.fromkeys(("mask_blur", "mask_blur_x", "mask_blur_y"), (4,)),
    **dict.fromkeys(("script_args", "hr_additional_modules"), ([], ["Use same choices"])),
    **dict.fromkeys(("do_not_save_samples", "do_not_save_grid", "save_images"), (True, False)),
    **dict.fromkeys(("gfpgan_visibility", "codeformer_visibility", "codeformer_weight"), (0,)),
    **dict.fromkeys(("extras_upscaler_2_visibility", "upscaler_2"), (0, "None", "")),
    **dict.fromkeys(("show_extras_results", "upscaling_crop", "upscale_first"), (True, False)),
    "comments": ({},),
    "eta": (0, 1),
    "s_tmax": (0,),
    "s_noise": (1,),
    "image_cfg_scale": (0, 1.5),
    "initial_noise_multiplier": (1, 0),
    "inpaint_full_res_padding": (0, 32),
    "mask_round": (True,),
}
"""Members without a counterpart, and the values with which they ask for nothing: no note is made of those."""


@dataclass
class TranslatedMembers:
    """A request on its way: our `members`, those that are `settled` whatever is sent, notes and faults.

    `sent_as` tells where the faults of our members are told.
    """

    members: dict[str, Any] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    task_id: str | None = None
    sent_as: Mapping[str, str] = field(default_factory=lambda: SENT_AS)

    def refuse(self, member: str, text: str, value: Any, type: str = "value_error") -> None:
        """Record a fault of a member as it was sent."""
        self.faults.append(Fault(type, text, value, loc=("body", member)))

    def told_as_sent(self, error: InvalidRequest) -> InvalidRequest:
        """The faults of our members at the members that were sent."""
        return InvalidRequest(replace(fault, loc=self.place_of(fault.loc)) for fault in error.faults)

    def place_of(self, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """The place that was sent for the place of one of our members."""
        if len(loc) < 2:
            return loc
        where, member, *rest = loc
        told = self.sent_as.get(str(member), member)
        return (where, told, 0) if told == "init_images" else (where, told, *rest)


def text_to_image(sent: Mapping[str, Any], options: Mapping[str, Any], models: Catalogue) -> TranslatedMembers:
    """What `TextToImageSchema` loaded, as members of `SubmissionSchema`; `options` are the caller's.

    Raises:
        InvalidRequest: it asks for what is not there; all such faults at once.
    """
    made = shared(sent, options, models)
    size = {side: int(sent.get(side, SIDE)) for side in ("width", "height")}
    made.members |= {f"overwrite_{side}": pixels // STEP * STEP for side, pixels in size.items()}
    for side, pixels in size.items():
        if pixels % STEP:
            made.notes.append(f"{side} {pixels} is rounded down to {pixels // STEP * STEP}, a multiple of {STEP}")
    if sent.get("enable_hr"):
        enlarge(made, sent)
    return checked(made, sent, TextToImageSchema)


def image_to_image(sent: Mapping[str, Any], options: Mapping[str, Any], models: Catalogue) -> TranslatedMembers:
    """What `ImageToImageSchema` loaded, likewise.

    Raises:
        InvalidRequest: it asks for what is not there; all such faults at once.
    """
    made = shared(sent, options, models)
    strength = sent.get("denoising_strength", STRENGTH)
    (picture,) = sent["init_images"] or [None]
    if sent.get("mask"):
        made.members |= {
            "inpaint_input_image": picture,
            "inpaint_mask_image_upload": sent["mask"],
            "invert_mask_checkbox": bool(sent.get("inpainting_mask_invert")),
            "inpaint_strength": strength,
            "inpaint_disable_initial_latent": sent.get("inpainting_fill") in NOISE_ALONE,
        }
        if sent.get("inpaint_full_res") is False:
            made.members["inpaint_respective_field"] = 1.0
    else:
        made.members |= {"uov_input_image": picture, "uov_method": VARY, "overwrite_vary_strength": strength}
        check_strength(made, strength)
    if picture is None:
        made.refuse("init_images", "The list should have one picture: a URL, a data URL or base64", [], "missing")
    if "width" in sent or "height" in sent:
        made.notes.append("width and height do not count: the result has the picture's own shape")
    return checked(made, sent, ImageToImageSchema)


def extra_image(
    sent: Mapping[str, Any], options: Mapping[str, Any], models: Catalogue, size: tuple[int, int]
) -> TranslatedMembers:
    """What `ExtraImageSchema` loaded, likewise; `size` is the picture's.

    Raises:
        InvalidRequest: it asks for what is not there; all such faults at once.
    """
    factor = float(sent.get("upscaling_resize", FACTOR))
    if sent.get("resize_mode"):
        sides = [sent.get(f"upscaling_resize_{side}", 0) for side in ("w", "h")]
        factor = max(wanted / side for wanted, side in zip(sides, size, strict=True))
    fast = factor == FACTOR
    members = {"uov_input_image": sent["image"], "uov_method": FAST if fast else CUSTOM}
    made = TranslatedMembers(members, sent_as=EXTRA_SENT_AS)
    made.members |= {"style_selections": [], "image_number": 1, "metadata_scheme": "a1111"}
    made.members |= of_options(options, models)
    if not fast:
        made.members["upscale_multiple"] = factor
        made.notes.append(f"Enlarged {factor:g} times and drawn over once: only twice as large is enlarged alone")
    upscaler = sent.get("upscaler_1", names.UPSCALER)
    if upscaler == names.NO_UPSCALER:
        made.refuse("upscaler_1", f"None would give the picture back; send {names.UPSCALER}", upscaler)
    check_factor(made, "upscaling_resize", factor)
    note_upscaler(made, upscaler)
    return checked(made, sent, ExtraImageSchema)


def shared(sent: Mapping[str, Any], options: Mapping[str, Any], models: Catalogue) -> TranslatedMembers:
    """What both ways to draw have in common."""
    of_request = {"CLIP_stop_at_last_layers": sent["clip_skip"]} if "clip_skip" in sent else {}
    options = {**options, **of_request, **sent.get("override_settings", {})}
    made = TranslatedMembers({native: sent[member] for member, native in SAME.items() if member in sent})
    made.members |= {"style_selections": sent.get("styles", []), "metadata_scheme": "a1111"}
    made.members |= of_options(options, models)
    if name := sent.get("refiner_checkpoint"):
        made.members["refiner_model_name"] = names.checkpoint(name, models)
    members, faults = names.sampling(
        sent.get("sampler_name") or sent.get("sampler_index") or "", sent.get("scheduler") or ""
    )
    made.members |= members
    made.faults += faults
    number = sent.get("batch_size", 1) * sent.get("n_iter", 1)
    made.members["image_number"] = number
    if number > MOST_PICTURES:
        made.refuse("n_iter", f"batch_size times n_iter should be at most {MOST_PICTURES}, not {number}", number)
    seed = sent.get("seed", -1)
    made.members["image_seed"] = seed
    if seed < 0:
        made.settled["image_seed"] = secrets.randbelow(SEEDS)
    check_scripts(made, sent)
    wish_for_id(made, sent.get("force_task_id") or "")
    return made


def of_options(options: Mapping[str, Any], models: Catalogue) -> dict[str, Any]:
    """The members that the caller's options set."""
    found: dict[str, Any] = {}
    if name := options.get("sd_model_checkpoint"):
        found["base_model_name"] = names.checkpoint(name, models)
    if "sd_vae" in options:
        found["vae_name"] = names.vae(options["sd_vae"], models)
    if "CLIP_stop_at_last_layers" in options:
        found["clip_skip"] = options["CLIP_stop_at_last_layers"]
    if "samples_format" in options:
        found["output_format"] = options["samples_format"]
    return found


def enlarge(made: TranslatedMembers, sent: Mapping[str, Any]) -> None:
    """Have the pictures enlarged and drawn over."""
    factor = float(sent.get("hr_scale") or FACTOR)
    sides = ((sent.get("hr_resize_x"), "width"), (sent.get("hr_resize_y"), "height"))
    wished = [wanted / made.members[f"overwrite_{side}"] for wanted, side in sides if wanted]
    factor = max(wished, default=factor)
    made.members |= {
        "enhance_checkbox": True,
        "enhance_uov_method": CUSTOM,
        "upscale_multiple": factor,
        "save_final_enhanced_image_only": True,
    }
    if "denoising_strength" in sent:
        made.members["overwrite_upscale_strength"] = sent["denoising_strength"]
        check_strength(made, sent["denoising_strength"])
    check_factor(made, "hr_resize_x" if wished else "hr_scale", factor)
    note_upscaler(made, sent.get("hr_upscaler", names.UPSCALER))
    made.notes.append(
        f"enable_hr: each picture is enlarged {factor:g} times, to 1024×1024 at least, and drawn over once, in as many "
        "steps as the first time, or as the performance mode has for it"
    )


def check_strength(made: TranslatedMembers, strength: float) -> None:
    """Refuse to draw a picture over and change nothing."""
    if not strength:
        made.refuse("denoising_strength", "0 would draw nothing; send more than 0, up to 1", strength)


def check_factor(made: TranslatedMembers, member: str, factor: float) -> None:
    """Refuse what pictures cannot be enlarged by."""
    if not 1 <= factor <= MOST_FACTOR:
        text = f"A picture can be made 1 to {MOST_FACTOR} times as large, not {factor:g} times"
        made.refuse(member, text, factor)


def note_upscaler(made: TranslatedMembers, upscaler: str) -> None:
    """Say what enlarges where another upscaler was named."""
    if upscaler not in (names.UPSCALER, names.NO_UPSCALER, ""):
        made.notes.append(f"Enlarged by the upscaler {names.UPSCALER}: {upscaler[:LONGEST_NAMED]} is not here")


def check_scripts(made: TranslatedMembers, sent: Mapping[str, Any]) -> None:
    """Refuse scripts and extensions: without them the picture would be another one."""
    asked = [name for name, script in sent.get("alwayson_scripts", {}).items() if is_asked(script)]
    named = [("alwayson_scripts", asked), ("script_name", [name] if (name := sent.get("script_name")) else [])]
    for member, scripts in named:
        if not scripts:
            continue
        told = ", ".join(repr(name)[:LONGEST_NAMED] for name in scripts[:MOST_NAMED])
        ways = [way for word, way in SCRIPTS.items() if any(word in name.casefold() for name in scripts)]
        instead = "; ".join(ways or SCRIPTS.values())
        text = f"No extension is served here, so not {told}. POST /v1/engine/generate/ does the like: {instead}"
        made.refuse(member, text, scripts)


def is_asked(script: Any) -> bool:
    """Whether an extension has anything to do: it has arguments, and is not switched off by the only one."""
    arguments = script.get("args") if isinstance(script, Mapping) else script
    return bool(arguments) and arguments != [False]


def wish_for_id(made: TranslatedMembers, wished: str) -> None:
    """Take the id that the client wishes for, if no task has it."""
    if not wished:
        return
    if not TASK_ID.fullmatch(wished):
        made.notes.append("force_task_id is not used: a task's id has 32 hexadecimal digits in small letters")
        return
    try:
        queue.find(wished)
        made.notes.append("force_task_id is not used: a task has it already")
    except TaskNotFound:
        made.task_id = wished


def checked(made: TranslatedMembers, sent: Mapping[str, Any], schema: type[Schema]) -> TranslatedMembers:
    """The same, with a note on the members that the schema does not know.

    Raises:
        InvalidRequest: there are faults.
    """
    if made.faults:
        raise InvalidRequest(made.faults)
    left = left_out(sent, schema)
    left += [f"override_settings.{name}" for name in left_out(sent.get("override_settings", {}), OptionsSchema)]
    if left:
        told = ", ".join(repr(name)[:LONGEST_NAMED] for name in left[:MOST_NAMED])
        more = f" and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
        made.notes.append(f"Not applied, since nothing here does the same: {told}{more}")
    return made


def left_out(sent: Mapping[str, Any], schema: type[Schema]) -> list[str]:
    """The members that are left out, but those that ask for nothing; sorted, as they stand in pictures' metadata."""
    asked = sorted(name for name, value in sent.items() if value not in NEUTRAL.get(name, ()))
    enlarged = bool(sent.get("enable_hr"))
    known = schema().fields
    return [name for name in asked if name not in known and (enlarged or not name.startswith("hr_"))]
