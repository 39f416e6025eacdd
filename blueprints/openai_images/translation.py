"""From their members to ours: what each stands for, what is kept for the answer, and what is noted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blueprints.openai_images import masks, models, sizes
from engine import choices
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.model_files import presets
from fooocus_flask.model_files.folders import style_names
from fooocus_flask.submission.prepare import catalogue, merged
from schemas.faults import Fault
from schemas.submission import SubmissionSchema

NATIVE = frozenset(SubmissionSchema().fields)
ALIASES = {
    "n": "image_number",
    "seed": "image_seed",
    "num_inference_steps": "overwrite_step",
    "steps": "overwrite_step",
    "step": "overwrite_step",
    "cfg_scale": "guidance_scale",
    "width": "overwrite_width",
    "height": "overwrite_height",
    "lora": "loras",
    "output_compression": "output_quality",
}
"""Members that are ours under another name."""
DECIDED = {"base_model_name": "model"}
"""Members of theirs that set ours right where neither was sent."""
BEST = frozenset({"high", "hd", "xhigh", "max"})
USUAL = frozenset({"auto", "medium", "standard"})
TOLD_QUALITY = {"hd": "high", "Quality": "high", "Speed": "medium"} | dict.fromkeys(USUAL, "medium")
FASTEST = ("Lightning", "Extreme Speed")
"""Fast modes, the first whose LoRA is here counts."""
FEW_STEPS = 15


@dataclass
class ImagesRequest:
    """A request as ours: its members, what the answer needs, notes, and from which of their members each came."""

    sent: Mapping[str, Any]
    members: dict[str, Any]
    api: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, origin: str, **members: Any) -> None:
        """Set members that follow from one of theirs, except those that were sent themselves."""
        for name, value in members.items():
            if name not in self.members:
                self.members[name] = value
                self.origins[name] = origin

    def as_sent(self, error: InvalidRequest) -> InvalidRequest:
        """The same faults, told at the members that were sent."""
        return InvalidRequest(self._moved(error.faults))

    def _moved(self, faults: Iterable[Fault]) -> Iterable[Fault]:
        for fault in faults:
            first, *rest = fault.loc[1:] or ("",)
            decided = {} if first in self.sent else DECIDED
            origin = (decided | self.origins).get(str(first), first)
            yield Fault(fault.type, fault.msg, fault.input, fault.ctx, (*fault.loc[:1], origin, *rest))


def generation(sent: Mapping[str, Any]) -> ImagesRequest:
    """A request for pictures of a text."""
    made = common(sent, "generations")
    add_size(made)
    add_style(made)
    if sent.get("moderation") == "low" and presets.global_defaults()["black_out_nsfw"]:
        made.notes.append("moderation low has no effect: this server blackens what is not safe for work")
    return made


def edit(sent: Mapping[str, Any]) -> ImagesRequest:
    """A request to change a picture: a part of it with a mask, else all of it."""
    made = common(sent, "edits")
    first, *others = sent["image"]
    if sent.get("mask") is not None:
        mask, notes = masks.ours(sent["mask"])
        made.put("mask", inpaint_mask_image_upload=mask)
        made.put("image", inpaint_input_image=first)
        made.notes += notes
    else:
        method = "Vary (Subtle)" if sent.get("input_fidelity") == "high" else "Vary (Strong)"
        made.put("image", uov_input_image=first, uov_method=method)
        made.notes.append(f"An edit without a mask is drawn as {method} of the picture, with the prompt")
    if others:
        made.put("image", controlnet_image=[guiding(picture) for picture in others])
        made.put("image", mixing_image_prompt_and_inpaint=True, mixing_image_prompt_and_vary_upscale=True)
    note_size(made)
    return made


def variation(sent: Mapping[str, Any]) -> ImagesRequest:
    """A request for pictures like another one."""
    made = common(sent, "variations")
    made.put("image", uov_input_image=sent["image"], uov_method="Vary (Subtle)")
    note_size(made)
    return made


def common(sent: Mapping[str, Any], route: str) -> ImagesRequest:
    """What holds for all routes.

    Raises:
        ImagesError: there is no such model.
    """
    quality = sent.get("quality", "auto")
    kept = {
        "name": "openai",
        "route": route,
        "quality": TOLD_QUALITY.get(quality, quality if quality in BEST else "low"),
        "safety_identifier": sent.get("safety_identifier") or sent.get("user"),
        "user": sent.get("user"),
    }
    members = {name: value for name, value in sent.items() if name in NATIVE}
    made = ImagesRequest(sent, members, {name: value for name, value in kept.items() if value})
    for theirs, ours in ALIASES.items():
        if theirs in sent:
            made.put(theirs, **{ours: sent[theirs]})
    found, notes = models.resolved(sent.get("model"))
    made.put("model", **found)
    made.notes += notes
    add_quality(made, quality)
    return made


def add_quality(made: ImagesRequest, quality: str) -> None:
    """The mode that their word for quality stands for."""
    if quality in BEST:
        made.put("quality", performance_selection="Quality")
    elif quality in choices.PERFORMANCES:
        made.put("quality", performance_selection=quality)
    elif quality == "low":
        here, builtin = catalogue(), checkpoint_of(made) is None
        loras = {mode: choices.PERFORMANCES[mode].lora for mode in FASTEST}
        fast = [mode for mode, lora in loras.items() if builtin or (lora and here.find("loras", lora))]
        if fast:
            made.put("quality", performance_selection=fast[0])
        else:
            made.put("quality", performance_selection="Speed", overwrite_step=FEW_STEPS)


def add_size(made: ImagesRequest) -> None:
    """The size to draw at, and the one to shrink to where they differ."""
    asked = made.sent.get("size")
    if asked is None or {"overwrite_width", "overwrite_height"} & made.members.keys():
        return
    drawn = sizes.drawn_size(asked, checkpoint_of(made))
    made.put("size", overwrite_width=drawn[0], overwrite_height=drawn[1])
    if drawn == asked:
        return
    if made.sent.get("response_format") == "url":
        how = "the URL leads to the picture as it was drawn"
    else:
        made.api["shrunk_to"], how = list(asked), "the answer has it shrunk to the size asked for"
    made.notes.append(f"SDXL draws no good pictures of {sizes.spelt(asked)}: drawn at {sizes.spelt(drawn)}; {how}")


def note_size(made: ImagesRequest) -> None:
    """Say that a picture that is changed keeps its own size."""
    if made.sent.get("size"):
        made.notes.append("size has no effect on this route: the picture's own size decides")


def add_style(made: ImagesRequest) -> None:
    """The styles that their word, or ours, stands for."""
    named = made.sent.get("style") or ["vivid"]
    if named == ["natural"]:
        usual = merged(made.members).params.style_selections
        made.put("style", style_selections=[name for name in usual if name != choices.EXPANSION_STYLE])
    elif named != ["vivid"]:
        made.put("style", style_selections=checked_styles(named))


def checked_styles(named: list[str]) -> list[str]:
    """The styles of these names.

    Raises:
        InvalidRequest: there is none of a name.
    """
    known = style_names()
    for name in named:
        if name not in known:
            few = ", ".join(known[:5])
            text = (
                f"There is no style {name!r}; send natural, vivid, or names that GET /v1/engines/styles lists: {few} …"
            )
            raise InvalidRequest([Fault("enum", text, name, loc=("body", "style"))])
    return named


def checkpoint_of(made: ImagesRequest) -> Any:
    """The path of the checkpoint that will draw; None for the built-in model, or one that is not here."""
    name = merged(made.members).params.base_model_name
    return None if name == choices.BUILTIN_CHECKPOINT else catalogue().find("checkpoints", name)


def guiding(picture: Any) -> dict[str, Any]:
    """A picture that lends its look."""
    return {"cn_img": picture, "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": "ImagePrompt"}
