"""What a request does besides text to image: which of its pictures are used, and for what. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.params import EnhanceStep, GenerateParams, ImagePrompt

DISABLED = "Disabled"
FAST = "Upscale (Fast 2x)"
OTHERS_FIRST = "the request's other pictures go before it"


@dataclass(frozen=True)
class Modes:
    """What is done with the pictures of a request; `unused` says of each member that nothing uses why not."""

    vary: bool = False
    upscale: bool = False
    fast: bool = False
    inpaint: bool = False
    control: tuple[ImagePrompt, ...] = ()
    enhance_given: bool = False
    enhance_steps: tuple[EnhanceStep, ...] = ()
    enhance_uov: bool = False
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def enhance(self) -> bool:
        """Whether pictures are enhanced."""
        return self.enhance_uov or bool(self.enhance_steps)

    @property
    def draws(self) -> bool:
        """Whether pictures are sampled before any is enhanced."""
        return not (self.enhance_given or self.fast)


def modes_of(params: GenerateParams) -> Modes:
    """The modes that a request's pictures and switches select.

    The first kind of picture given decides: one to enhance, control images, one to upscale or vary, one to inpaint.
    Control images are combined with the other kinds where the request mixes them.
    """
    control = tuple(prompt for prompt in params.controlnet_image if prompt.cn_img)
    tab = chosen_tab(params)
    mix_uov, mix_inpaint = params.mixing_image_prompt_and_vary_upscale, params.mixing_image_prompt_and_inpaint
    uov = bool(params.uov_input_image) and params.uov_method != DISABLED
    uov = uov and (tab == "uov" or (tab == "ip" and mix_uov))
    inpaint = bool(params.inpaint_input_image) and (tab == "inpaint" or (tab == "ip" and mix_inpaint))
    guided = tab == "ip" or mix_uov or mix_inpaint
    steps = tuple(step for step in params.enhance_ctrls if step.enhance_enabled) if params.enhance_checkbox else ()
    return Modes(
        vary=uov and params.uov_method.startswith("Vary"),
        upscale=uov and params.uov_method.startswith("Upscale"),
        fast=uov and params.uov_method == FAST,
        inpaint=inpaint,
        control=control if guided else (),
        enhance_given=tab == "enhance",
        enhance_steps=steps,
        enhance_uov=params.enhance_checkbox and params.enhance_uov_method != DISABLED,
        unused={
            **dict(_unused_pictures(params, uov=uov, inpaint=inpaint)),
            **({} if guided or not control else {"controlnet_image": OTHERS_FIRST}),
            **dict(_unused_enhancement(params)),
        },
    )


def most_pictures(params: GenerateParams) -> int:
    """The most pictures that a request may produce, those for debugging included."""
    modes = modes_of(params)
    images = 1 if modes.enhance_given or modes.fast else params.image_number
    passes = len(modes.enhance_steps) * (1 + params.debugging_enhance_masks_checkbox) + modes.enhance_uov
    looked_at = len(modes.control) * params.debugging_cn_preprocessor + 3 * params.debugging_inpaint_preprocessor
    return images * (1 + passes) + looked_at + params.generate_image_grid


def chosen_tab(params: GenerateParams) -> str:
    """The kind of the first picture given, as Fooocus calls its tabs; empty where there is none."""
    if params.enhance_input_image:
        return "enhance"
    if any(prompt.cn_img for prompt in params.controlnet_image):
        return "ip"
    if params.uov_input_image:
        return "uov"
    if params.inpaint_input_image:
        return "inpaint"
    return ""


def _unused_pictures(params: GenerateParams, *, uov: bool, inpaint: bool) -> Iterator[tuple[str, str]]:
    """Members about a picture to upscale, to vary or to inpaint that nothing uses, each with the reason."""
    if params.uov_input_image and not uov:
        disabled = params.uov_method == DISABLED
        yield "uov_input_image", f"uov_method is {DISABLED}" if disabled else OTHERS_FIRST
    elif params.uov_method != DISABLED and not uov:
        yield "uov_method", "uov_input_image has no picture"
    if params.inpaint_input_image and not inpaint:
        yield "inpaint_input_image", OTHERS_FIRST
    reason = OTHERS_FIRST if params.inpaint_input_image else "inpaint_input_image has no picture"
    for member in ("inpaint_mask_image_upload", "outpaint_selections"):
        if getattr(params, member) and not inpaint:
            yield member, reason


def _unused_enhancement(params: GenerateParams) -> Iterator[tuple[str, str]]:
    """Members about enhancement that nothing uses, each with the reason."""
    steps, method = any(step.enhance_enabled for step in params.enhance_ctrls), params.enhance_uov_method != DISABLED
    if params.enhance_checkbox and not (steps or method):
        yield (
            "enhance_checkbox",
            "enhance_uov_method is Disabled, and no step in enhance_ctrls has enhance_enabled true",
        )
    for member, asked in (("enhance_ctrls", steps), ("enhance_uov_method", method)):
        if asked and not params.enhance_checkbox:
            yield member, "enhance_checkbox is false"
