"""What a request comes to once its performance mode and its model are known: steps, sampler, guidance, remarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.names import NO_MODEL, PERFORMANCES
from engine.params import GenerateParams
from engine.prompt.texts import PictureTexts

FEW_STEP_SAMPLER, FEW_STEP_SCHEDULER = "dpmpp_2m", "sgm_uniform"
"""What the built-in model draws the fast modes with, instead of a distillation: of 13 pairs the nearest to 30 steps.

(`uni_pc` comes as near; Karras levels leave visible noise at 4 steps.)
"""


@dataclass(frozen=True)
class Plan:
    """`params` are those in force; `steps` counts sampling steps of one picture; `notes` are for the client."""

    params: GenerateParams
    steps: int
    notes: list[str]


def plan_for(params: GenerateParams, *, builtin: bool) -> Plan:
    """How to draw the request with the built-in model or a checkpoint.

    Raises:
        ValueError: a fast mode on a checkpoint, which cannot do without its LoRA.
    """
    mode = PERFORMANCES[params.performance_selection]
    steps = params.overwrite_step if params.overwrite_step > 0 else mode.steps
    notes = []
    if mode.distilled and not builtin:
        raise ValueError(f"the performance {mode.name} needs its LoRA {mode.lora}, and LoRAs cannot be applied yet")
    if mode.distilled:
        params = replace(params, sampler_name=FEW_STEP_SAMPLER, scheduler_name=FEW_STEP_SCHEDULER)
        notes.append(
            f"{mode.name}: the built-in model draws {steps} steps of {FEW_STEP_SAMPLER} with the request's guidance, "
            f"without {mode.lora}"
        )
    for lora in params.loras:
        if lora.enabled and lora.model_name != NO_MODEL:
            notes.append(f"The LoRA {lora.model_name} is left out: LoRAs cannot be applied yet")
    return Plan(params, steps, notes)


def left_out(pictures: list[PictureTexts]) -> list[str]:
    """What the texts of the pictures ask for and is not there."""
    notes = []
    if any(picture.expand for picture in pictures):
        notes.append("Prompt expansion (Fooocus V2) is off: its model is not installed")
    if any("<lora:" in text for picture in pictures for text in picture.positive):
        notes.append("LoRA tags in the prompt are read as plain text: no LoRA can be applied yet")
    return notes


class Progress:
    """Percentages as Fooocus counts them: a few for the preparation, the rest in equal parts for all steps."""

    LOADING, PROMPTS, POSITIVE, PREPARED = 2, 3, 4, 5

    def __init__(self, steps: int, images: int) -> None:
        self.steps = steps
        self.share = (100 - self.PREPARED) / max(1, steps * images)

    def done(self, images: int) -> int:
        """After so many whole pictures."""
        return min(100, int(self.PREPARED + self.share * self.steps * images))

    def at(self, images: int, step: int) -> int:
        """After so many whole pictures, in the `step`-th step (from 1) of the next."""
        return min(100, int(self.done(images) + self.share * step))
