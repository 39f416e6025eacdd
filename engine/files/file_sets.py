"""The sets of files that pictures are drawn with: those in the models folders, and those shipped. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import required_files
from engine.choices import BUILTIN_CHECKPOINT, CONTROL_TYPES, NO_MODEL, Performance
from engine.file_set import FileSet
from engine.files import builtin_set
from engine.files.catalogue import Catalogue
from engine.modes import Modes
from engine.params import GenerateParams
from engine.required_files import Need

FEW_STEP_SAMPLER = FEW_STEP_SCHEDULER = "lcm"
"""What the shipped few-step LoRA is trained for; it serves all fast modes."""


def file_set(catalogue: Catalogue, checkpoint: str | Path | None) -> FileSet:
    """The files for a checkpoint's path; those of the built-in model for None."""
    return Shipped(catalogue) if checkpoint is None else Installed(catalogue, Path(checkpoint))


@dataclass(frozen=True)
class Installed:
    """A checkpoint with the files of the models folders, which are made for SDXL."""

    catalogue: Catalogue
    checkpoint: Path

    takes_sdxl_files = True
    detects_faces = True

    def checkpoint_name(self, requested: str) -> str:
        """The name that the request gives."""
        return requested

    def control_kinds(self) -> Sequence[str]:
        """All kinds: for each there is a file to be had."""
        return CONTROL_TYPES

    def needs(self, params: GenerateParams) -> list[Need]:
        """The files that the request names, and those behind everything it does."""
        return required_files.needs(params)

    def performance(self, mode: Performance) -> Performance:
        """The mode as it is."""
        return mode

    def notes(self, mode: Performance, modes: Modes) -> list[str]:
        """Nothing: all is done as requested."""
        return []

    def inpaint_engine(self, requested: str) -> str:
        """The requested engine."""
        return requested

    def inpaint_notes(self, requested: str) -> list[str]:
        """Nothing: the requested engine is used."""
        return []

    def performance_lora(self, name: str) -> Path:
        """The LoRA of this name."""
        return self.catalogue.path("loras", name)

    def upscaler(self) -> Path:
        """Fooocus's upscaler."""
        return self.catalogue.path("upscale_models", required_files.UPSCALER)

    def inpaint_head(self) -> Path:
        """Fooocus's inpaint head."""
        return self.catalogue.path("inpaint", required_files.INPAINT_HEAD)

    def inpaint_patch(self, engine: str) -> Path:
        """The engine's own patch."""
        return self.catalogue.path("inpaint", required_files.INPAINT_PATCHES[engine])

    def control_net(self, kind: str) -> Path:
        """The kind's own control net."""
        return self.catalogue.path("controlnet", required_files.CONTROL_NETS[kind])

    def image_prompt_adapter(self, kind: str) -> tuple[Path, Path]:
        """The kind's own adapter, and the embedding of no picture that all kinds share."""
        negative = self.catalogue.path("controlnet", required_files.IMAGE_PROMPT_NEGATIVE)
        return self.catalogue.path("controlnet", required_files.IMAGE_PROMPTS[kind]), negative

    def clip_vision(self) -> Path:
        """CLIP's vision tower."""
        return self.catalogue.path("clip_vision", required_files.CLIP_VISION)

    def preview_network(self, name: str) -> Path | None:
        """The network of this name, if it is there."""
        return self.catalogue.find("vae_approx", name)


@dataclass(frozen=True)
class InstalledForFooocus(Installed):
    """The same for a Fooocus that draws, which loads some files whatever is drawn."""

    def needs(self, params: GenerateParams) -> list[Need]:
        """Those of `Installed`, and what Fooocus opens before its first step."""
        always = [Need(kind, name, "base_model_name") for kind, name in required_files.ALWAYS_IN_FOOOCUS]
        return [*super().needs(params), *always]


@dataclass(frozen=True)
class Shipped:
    """The built-in model with the files shipped beside it.

    They fit no other UNet, and no other's files fit it; only the upscaler, which sees pixels, is taken from the models
    folders where they have one.
    """

    catalogue: Catalogue

    takes_sdxl_files = False
    detects_faces = False

    @property
    def checkpoint(self) -> Path:
        """The built-in model."""
        assert self.catalogue.builtin is not None
        return self.catalogue.builtin

    def checkpoint_name(self, requested: str) -> str:
        """The built-in model's name, whatever the request names."""
        return BUILTIN_CHECKPOINT

    def control_kinds(self) -> Sequence[str]:
        """The kinds whose files are shipped."""
        return [kind for kind, paths in builtin_set.CONTROL.items() if builtin_set.there(*paths)]

    def needs(self, params: GenerateParams) -> list[Need]:
        """Only the files that the request names, and those that serve every model."""
        return required_files.needs_of_any_model(params)

    def performance(self, mode: Performance) -> Performance:
        """A fast mode with the shipped few-step LoRA."""
        if not mode.lora:
            return mode
        return replace(
            mode,
            lora=builtin_set.FEW_STEP.name,
            lora_weight=1.0,
            sampler=FEW_STEP_SAMPLER,
            scheduler=FEW_STEP_SCHEDULER,
        )

    def notes(self, mode: Performance, modes: Modes) -> list[str]:
        """What replaces a fast mode's LoRA and the face adapter."""
        notes = []
        if mode.lora:
            notes.append(
                f"{mode.name}: the built-in model draws its {mode.steps} steps with {FEW_STEP_SAMPLER} and "
                f"{builtin_set.FEW_STEP.name}, not with {mode.lora}"
            )
        if any(prompt.cn_type == "FaceSwap" for prompt in modes.control):
            notes.append("FaceSwap: the built-in model has no face adapter; it reads the whole picture, as ImagePrompt")
        return notes

    def inpaint_engine(self, requested: str) -> str:
        """The requested name, for the shipped engine replaces them all; `None` where it is not shipped."""
        return requested if self._inpaints else NO_MODEL

    def inpaint_notes(self, requested: str) -> list[str]:
        """What replaces the requested engine."""
        if requested == NO_MODEL:
            return []
        if not self._inpaints:
            return ["The built-in model repaints without an inpaint engine"]
        return [f"The built-in model repaints with an inpaint engine of its own, which stands in for {requested}"]

    @property
    def _inpaints(self) -> bool:
        return builtin_set.there(builtin_set.INPAINT_HEAD, builtin_set.INPAINT_PATCH)

    def performance_lora(self, name: str) -> Path:
        """The few-step LoRA, for all fast modes."""
        return builtin_set.FEW_STEP

    def upscaler(self) -> Path:
        """Fooocus's upscaler if it is installed, else the shipped one."""
        return self.catalogue.find("upscale_models", required_files.UPSCALER) or builtin_set.UPSCALER

    def inpaint_head(self) -> Path:
        """The shipped inpaint head."""
        return builtin_set.INPAINT_HEAD

    def inpaint_patch(self, engine: str) -> Path:
        """The shipped patch, for all engines."""
        return builtin_set.INPAINT_PATCH

    def control_net(self, kind: str) -> Path:
        """The shipped branch, which reads edges and structure alike."""
        return builtin_set.CANNY

    def image_prompt_adapter(self, kind: str) -> tuple[Path, Path]:
        """The shipped adapter, for all kinds."""
        return builtin_set.IMAGE_PROMPT, builtin_set.IMAGE_PROMPT_NEGATIVE

    def clip_vision(self) -> Path:
        """The shipped encoder, the only one that the shipped adapter knows."""
        return builtin_set.IMAGE_ENCODER

    def preview_network(self, name: str) -> Path | None:
        """None: the networks there are know SDXL's latents."""
        return None
