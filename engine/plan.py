"""What a request comes to once its performance mode and its model are known: parameters, steps, LoRA, remarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.choices import NO_MODEL, PERFORMANCES, Performance
from engine.files import builtin_set
from engine.modes import FAST, Goals, goals_of
from engine.params import GenerateParams
from engine.prompt.lora_tags import NamedLora

FEW_STEP_SAMPLER = FEW_STEP_SCHEDULER = "lcm"
"""What the built-in model's own few-step LoRA is made for; it serves all fast modes."""

PATCHED_PART = 0.8
"""The part of the steps that an inpaint engine's patch is in force for, where no refiner takes over."""


@dataclass(frozen=True)
class Steps:
    """Sampling steps of one picture, and the step at which a refiner takes over."""

    count: int
    switch: int


@dataclass(frozen=True)
class Plan:
    """`params` are those in force; `lora` is the performance mode's own; `notes` are for the client."""

    params: GenerateParams
    goals: Goals
    lora: NamedLora | None
    notes: tuple[str, ...]
    builtin: bool = False

    @property
    def mode(self) -> Performance:
        """The performance mode."""
        return PERFORMANCES[self.params.performance_selection]

    def steps(self, *, upscale: bool = False) -> Steps:
        """The steps of a picture, or of an upscale pass, which has fewer.

        The switch follows from the mode's number of steps, whatever overwrites that; the built-in model, which no
        refiner follows, from its own, since its inpaint patch leaves grain where it stays to the end.
        """
        usual = self.mode.upscale_steps if upscale else self.mode.steps
        params = self.params
        count = params.overwrite_step if params.overwrite_step > 0 else usual
        whole = count if self.builtin else usual
        switch = params.overwrite_switch if params.overwrite_switch > 0 else round(whole * params.refiner_switch)
        return Steps(count, switch)

    def repainting(self) -> Plan:
        """The same for a picture that is repainted: its own prompt first, and a patched base that ends unpatched."""
        params, notes = self.params, self.notes
        if params.inpaint_additional_prompt:
            prompt = "\n".join(filter(None, (params.inpaint_additional_prompt, params.prompt)))
            params = replace(params, prompt=prompt)
        engine = self.inpaint_engine(params.inpaint_engine)
        if engine != NO_MODEL and params.refiner_model_name == NO_MODEL:
            params = replace(params, refiner_switch=PATCHED_PART)
        notes = (*notes, *self._inpaint_notes(params.inpaint_engine))
        return replace(self, params=replace(params, inpaint_engine=engine), notes=notes)

    def inpaint_engine(self, asked: str) -> str:
        """The inpaint engine in force for the one asked for; the built-in model has its own, or none."""
        return NO_MODEL if self.builtin and not builtin_set.inpaints() else asked

    def _inpaint_notes(self, asked: str) -> tuple[str, ...]:
        if asked == NO_MODEL or not self.builtin:
            return ()
        if not builtin_set.inpaints():
            return ("The built-in model repaints without an inpaint engine",)
        return (f"The built-in model repaints with an inpaint engine of its own, which stands in for {asked}",)

    def without_painting(self) -> Plan:
        """The same where the mask turns out to paint nothing."""
        note = "Nothing is inpainted: the mask paints nothing and no side is outpainted"
        return replace(self, goals=replace(self.goals, inpaint=False), notes=(*self.notes, note))

    @property
    def steps_in_all(self) -> int:
        """The sampling steps of all pictures and of what enhances them."""
        goals, images = self.goals, 1 if self.goals.enhance_given else self.params.image_number
        drawing = self.steps(upscale=goals.upscale).count * images if goals.draws else 0
        enhancing = self.steps().count * len(goals.enhance_steps) * images
        if goals.enhance_uov:
            method = self.params.enhance_uov_method
            enhancing += self.steps(upscale=method.startswith("Upscale")).count * images if method != FAST else 0
        return drawing + enhancing


def plan_for(params: GenerateParams, *, builtin: bool) -> Plan:
    """How to draw the request with the built-in model or a checkpoint."""
    mode = PERFORMANCES[params.performance_selection]
    notes: list[str] = []
    lora = None
    if params.refiner_model_name == params.base_model_name:
        params = replace(params, refiner_model_name=NO_MODEL)
    if mode.lora and builtin:
        own = builtin_set.FEW_STEP.name
        notes.append(
            f"{mode.name}: the built-in model draws its {mode.steps} steps with {FEW_STEP_SAMPLER} and {own}, "
            f"not with {mode.lora}"
        )
        mode = replace(mode, lora=own, lora_weight=1.0, sampler=FEW_STEP_SAMPLER, scheduler=FEW_STEP_SCHEDULER)
    if mode.lora:
        params, lora = distilled(params, mode), (mode.lora, mode.lora_weight)
    goals = goals_of(params)
    if builtin and any(prompt.cn_type == "FaceSwap" for prompt in goals.control):
        notes.append("FaceSwap: the built-in model has no face adapter; it reads the whole picture, as ImagePrompt")
    notes += [f"{member} is not used: the request's other pictures go before it" for member in goals.unused]
    return Plan(params, goals, lora, tuple(notes), builtin)


def distilled(params: GenerateParams, mode: Performance) -> GenerateParams:
    """The parameters under a mode whose LoRA fixes sampler and schedule and does without guidance and refiner."""
    assert mode.sampler and mode.scheduler
    return replace(
        params,
        sampler_name=mode.sampler,
        scheduler_name=mode.scheduler,
        refiner_model_name=NO_MODEL,
        refiner_switch=1.0,
        sharpness=0.0,
        guidance_scale=1.0,
        adaptive_cfg=1.0,
        adm_scaler_positive=1.0,
        adm_scaler_negative=1.0,
        adm_scaler_end=0.0,
    )
