"""From a request of the predecessor to one of our own shape: names, places, and the defaults that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blueprints.legacy.tolerance import replace_unknown
from engine import choices
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files.folders import style_names
from schemas.faults import Fault
from schemas.generate import DEFAULTS, MOST_CONTROL_IMAGES, MOST_ENHANCE_STEPS, EnhanceStepSchema
from schemas.submission import SubmissionSchema

Place = tuple[str | int, ...]

RENAMED = {
    "save_meta": "save_metadata_to_images",
    "meta_scheme": "metadata_scheme",
    "save_extension": "output_format",
    "upscale_value": "upscale_multiple",
    "input_mask": "inpaint_mask_image_upload",
}
"""Members that mean the same under another name."""
SIDES = ("left", "top", "right", "bottom")
"""The order of our outpaint_distance."""
NEED_PICTURE = {"inpaint_mask_image_upload": "input_mask", "outpaint_selections": "outpaint_selections"}
"""Our members that mean nothing without a picture to redraw, and what they are called here."""
STEP_MEMBERS = tuple(EnhanceStepSchema().fields)
PROMPT_MEMBERS = ("cn_img", "cn_stop", "cn_weight", "cn_type")
SUBMISSION = SubmissionSchema(style_names=style_names)
NO_ADVANCED = "advanced_params is left out, and its defaults count: it is no JSON object"


@dataclass
class Translated:
    """A request of our own shape while it is made: its members, notes, and where the caller's own members stand."""

    members: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    places: dict[Place, Place] = field(default_factory=dict)

    def rename(self, old: str, new: str) -> None:
        """Give a member our name."""
        if old in self.members:
            self.members[new] = self.members.pop(old)
            self.places[(new,)] = (old,)

    def loaded(self) -> dict[str, Any]:
        """The members, complete, as `SubmissionSchema` loads them."""
        replace_unknown(self.members, self.notes)
        loaded: dict[str, Any] = SUBMISSION.load(self.members)
        return loaded

    def told(self, error: InvalidRequest) -> InvalidRequest:
        """The same faults at the places where the caller wrote what is wrong."""
        return InvalidRequest(Fault(f.type, f.msg, f.input, f.ctx, self._place(f.loc)) for f in error.faults)

    def _place(self, loc: Place) -> Place:
        start, rest = loc[:1], loc[1:]
        for length in range(len(rest), 0, -1):
            if rest[:length] in self.places:
                return (*start, *self.places[rest[:length]], *rest[length:])
        return loc


def common(sent: Mapping[str, Any], *, form: bool = False) -> Translated:
    """What all routes have in common; `form` for those whose requests are forms."""
    request = Translated(dict(sent))
    advanced = request.members.pop("advanced_params", {})
    if advanced is None:
        request.notes.append(NO_ADVANCED)
    _advanced(request, advanced or {})
    for old, new in RENAMED.items():
        request.rename(old, new)
    if form:
        request.members.setdefault("save_metadata_to_images", False)
    return request


def upscale(request: Translated) -> Translated:
    """A picture to upscale or vary; a factor that was not sent is 2."""
    members = request.members
    request.rename("input_image", "uov_input_image")
    members["uov_method"] = members.get("uov_method", "Upscale (2x)")
    members["upscale_multiple"] = members.get("upscale_multiple") or 2.0
    return request


def inpaint(request: Translated) -> Translated:
    """A picture to redraw in part, or to extend."""
    members = request.members
    request.rename("input_image", "inpaint_input_image")
    if not members.get("inpaint_input_image"):
        for name, old in NEED_PICTURE.items():
            if members.pop(name, None):
                request.notes.append(f"{old} is left out: there is no picture in input_image")
    members["inpaint_additional_prompt"] = members.get("inpaint_additional_prompt") or ""
    members["outpaint_distance"] = [members.pop(f"outpaint_distance_{side}", None) or 0 for side in SIDES]
    request.places |= {
        ("outpaint_distance", number): (f"outpaint_distance_{side}",) for number, side in enumerate(SIDES)
    }
    return request


def prompts(request: Translated, *, mixed_with: str | None = None) -> Translated:
    """Pictures that guide the drawing, packed to the front; mixed with the picture in `mixed_with` if it is there."""
    listed = request.members.pop("image_prompts", [])
    placed = [(("image_prompts", number), part) for number, part in enumerate(listed)]
    return _with_prompts(request, placed, mixed_with)


def numbered_prompts(request: Translated, *, mixed_with: str | None = None) -> Translated:
    """The same as a form has them: cn_img1, cn_stop1 and so on."""
    placed = []
    for number in range(1, MOST_CONTROL_IMAGES + 1):
        part = {
            name: request.members.pop(f"{name}{number}")
            for name in PROMPT_MEMBERS
            if f"{name}{number}" in request.members
        }
        placed.append(((f"cn_img{number}",), part))
    return _with_prompts(request, placed, mixed_with)


def enhance(request: Translated) -> Translated:
    """A picture to enhance, with the steps that are listed."""
    steps = request.members.pop("enhance_ctrlnets", [])
    if len(steps) > MOST_ENHANCE_STEPS:
        request.notes.append(f"enhance_ctrlnets has {len(steps)} steps, and the first {MOST_ENHANCE_STEPS} count")
    request.places[("enhance_ctrls",)] = ("enhance_ctrlnets",)
    return _with_steps(request, steps[:MOST_ENHANCE_STEPS])


def numbered_steps(request: Translated) -> Translated:
    """The same as a form has them: enhance_enabled_1 and so on."""
    steps = []
    for number in range(1, MOST_ENHANCE_STEPS + 1):
        names = {name: f"{name}_{number}" for name in STEP_MEMBERS}
        steps.append({name: request.members.pop(old) for name, old in names.items() if old in request.members})
        for name, old in names.items():
            request.places[("enhance_ctrls", number - 1, name)] = (old,)
        if steps[-1].get("enhance_enabled"):
            request.places.setdefault(("enhance_ctrls",), (names["enhance_mask_model"],))
    return _with_steps(request, steps)


def steps_of(members: Mapping[str, Any]) -> int:
    """How many steps a request with these members has."""
    own: int = members["overwrite_step"]
    return own if own > 0 else choices.PERFORMANCES[members["performance_selection"]].steps


def _advanced(request: Translated, advanced: Mapping[str, Any]) -> None:
    """The members of advanced_params at the top; the step of the refiner's turn from the part of the steps."""
    members = {"inpaint_respective_field": 1.0, **advanced}
    members.pop("inpaint_advanced_masking_checkbox", None)
    part = members.get("overwrite_switch", -1)
    if "overwrite_switch" in members:
        members["overwrite_switch"] = round(part * steps_of(DEFAULTS | request.members | members)) if part > 0 else -1
    request.members |= members
    request.places |= {(name,): ("advanced_params", name) for name in members}


def _with_prompts(
    request: Translated, placed: Iterable[tuple[Place, Mapping[str, Any]]], mixed_with: str | None
) -> Translated:
    there = [(place, part) for place, part in placed if part.get("cn_img")]
    if len(there) > MOST_CONTROL_IMAGES:
        request.notes.append(f"Of {len(there)} pictures in image_prompts the first {MOST_CONTROL_IMAGES} count")
    there = there[:MOST_CONTROL_IMAGES]
    # 0 and null stand for the values that suit the kind
    request.members["controlnet_image"] = [
        {**part, "cn_stop": part.get("cn_stop") or None, "cn_weight": part.get("cn_weight") or None}
        for _, part in there
    ]
    for number, (place, _) in enumerate(there):
        request.places[("controlnet_image", number)] = place
        if len(place) == 1:
            request.places[("controlnet_image", number, "cn_img")] = place
    request.places[("controlnet_image",)] = ("image_prompts",)
    if mixed_with and request.members.get(mixed_with):
        kind = "vary_upscale" if mixed_with == "uov_input_image" else "inpaint"
        request.members[f"mixing_image_prompt_and_{kind}"] = True
    return request


def _with_steps(request: Translated, steps: list[dict[str, Any]]) -> Translated:
    request.members["enhance_ctrls"] = steps
    request.members["enhance_checkbox"] = request.members["save_final_enhanced_image_only"] = True
    request.members.setdefault("enhance_uov_method", "Vary (Strong)")
    return request
