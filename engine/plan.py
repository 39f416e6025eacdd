"""How a request is carried out once its performance mode and its model are known: parameters, steps, LoRA, notes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.choices import NO_MODEL, PERFORMANCES, Performance
from engine.file_set import FileSet
from engine.modes import FAST, Modes, modes_of
from engine.params import GenerateParams, NamedLora

PATCHED_PART = 0.8
"""The part of the steps that an inpaint engine's patch is in force for, where no refiner takes over."""


@dataclass(frozen=True)
class Steps:
    """Sampling steps of one picture, and the step at which a refiner takes over."""

    count: int
    switch: int


@dataclass(frozen=True)
class Plan:
    """`params` are those in force; `lora` is the performance mode's own; `notes` are for the client.

    `files` is the set of files that the pictures are drawn with.
    """

    params: GenerateParams
    modes: Modes
    lora: NamedLora | None
    notes: tuple[str, ...]
    files: FileSet

    @property
    def performance(self) -> Performance:
        """The performance mode."""
        return PERFORMANCES[self.params.performance_selection]

    def steps(self, *, upscale: bool = False) -> Steps:
        """The steps of a picture, or of an upscale pass, which has fewer.

        The switch follows from the mode's number of steps, whatever overwrites that. Where no refiner fits it follows
        from the number in force: the built-in model's inpaint patch leaves grain where it stays to the end.
        """
        usual = self.performance.upscale_steps if upscale else self.performance.steps
        params = self.params
        count = params.overwrite_step if params.overwrite_step > 0 else usual
        whole = usual if self.files.takes_sdxl_files else count
        switch = params.overwrite_switch if params.overwrite_switch > 0 else round(whole * params.refiner_switch)
        return Steps(count, switch)

    def inpainting(self) -> Plan:
        """The plan with the inpaint prompt first, and with a patched base model that ends unpatched."""
        params = self.params
        if params.inpaint_additional_prompt:
            prompt = "\n".join(filter(None, (params.inpaint_additional_prompt, params.prompt)))
            params = replace(params, prompt=prompt)
        engine = self.files.inpaint_engine(params.inpaint_engine)
        if engine != NO_MODEL and params.refiner_model_name == NO_MODEL:
            params = replace(params, refiner_switch=PATCHED_PART)
        notes = (*self.notes, *self.files.inpaint_notes(params.inpaint_engine))
        return replace(self, params=replace(params, inpaint_engine=engine), notes=notes)

    def without_inpainting(self) -> Plan:
        """The plan for a mask that turns out to paint nothing."""
        note = "Nothing is inpainted: the mask paints nothing and no side is outpainted"
        return replace(self, modes=replace(self.modes, inpaint=False), notes=(*self.notes, note))

    @property
    def steps_in_all(self) -> int:
        """The sampling steps of all pictures and of their enhancement."""
        modes, images = self.modes, 1 if self.modes.enhance_given else self.params.image_number
        drawing = self.steps(upscale=modes.upscale).count * images if modes.draws else 0
        enhancing = self.steps().count * len(modes.enhance_steps) * images
        if modes.enhance_uov:
            method = self.params.enhance_uov_method
            enhancing += self.steps(upscale=method.startswith("Upscale")).count * images if method != FAST else 0
        return drawing + enhancing


def plan_for(params: GenerateParams, files: FileSet) -> Plan:
    """The plan for a request with the files of its base model."""
    requested = PERFORMANCES[params.performance_selection]
    mode, lora = files.performance(requested), None
    if params.refiner_model_name == params.base_model_name:
        params = replace(params, refiner_model_name=NO_MODEL)
    if mode.lora:
        params, lora = distilled(params, mode), (mode.lora, mode.lora_weight)
    modes = modes_of(params)
    unused = [f"{member} is not used: {reason}" for member, reason in modes.unused.items()]
    return Plan(params, modes, lora, (*files.notes(requested, modes), *unused), files)


def distilled(params: GenerateParams, mode: Performance) -> GenerateParams:
    """The parameters under a mode whose LoRA fixes sampler and scheduler and uses neither guidance nor refiner."""
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
