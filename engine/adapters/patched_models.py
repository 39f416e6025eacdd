"""The models of one task, with its patches on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from engine.adapters.inpaint_patch import InpaintPatch
from engine.adapters.lora_merge import PatchedModel
from engine.images.metadata import AppliedLora, ModelFile
from engine.models.checkpoint import Checkpoint
from engine.models.previews import Previewer
from engine.models.refiner import Refiner
from engine.models.text_encoders import TextEncoders
from engine.models.vae import Vae
from engine.params import GenerateParams
from engine.plan import Steps
from engine.prompt.embeddings import Embeddings
from engine.sampling.conditioning import Kind
from engine.sampling.sampling_run import Model, Route, route
from engine.sampling.step import Whose


@dataclass(frozen=True)
class PatchedCheckpoint:
    """A checkpoint and the patches on it."""

    checkpoint: Checkpoint
    patches: PatchedModel

    @classmethod
    def of(cls, checkpoint: Checkpoint, embeddings: Sequence[Path]) -> PatchedCheckpoint:
        """The checkpoint without patches; its texts find embeddings in these folders."""
        checkpoint.text_encoders.embeddings = Embeddings(embeddings)
        return cls(checkpoint, PatchedModel(checkpoint.unet, checkpoint.text_encoders))

    @property
    def size(self) -> int:
        """Bytes of its weights and of the originals kept beside them."""
        return self.checkpoint.size + self.patches.size


@dataclass(frozen=True)
class PatchedRefiner:
    """A refiner and the patches on it."""

    refiner: Refiner
    patches: PatchedModel

    @classmethod
    def of(cls, refiner: Refiner, encoders: TextEncoders) -> PatchedRefiner:
        """The refiner without patches, for a base model with these text encoders.

        SDXL's LoRAs name text encoders too, which a refiner has no use for.
        """
        named = encoders if refiner.kind == "sdxl" else None
        return cls(refiner, PatchedModel(refiner.unet, named, texts=False))

    @property
    def size(self) -> int:
        """Bytes of its weights and of the originals kept beside them."""
        return self.refiner.size + self.patches.size


@dataclass(frozen=True)
class Models:
    """What one task draws with, patched; `file`, `refiner_file`, `vae_name` and `loras` are for its metadata."""

    base: PatchedCheckpoint
    file: ModelFile
    vae: Vae
    vae_name: str
    loras: tuple[AppliedLora, ...]
    previewer: Callable[[Whose], Previewer]
    """What makes a preview of latents under way."""
    refiner: Refiner | None = None
    refiner_file: ModelFile | None = None
    interposer: Callable[[Tensor], Tensor] | None = None
    inpaint_patches: tuple[InpaintPatch, ...] = ()
    """Those on the base while it inpaints."""
    ends_unpatched: bool = False
    """Whether a base without a refiner samples its last steps without them."""
    notes: tuple[str, ...] = ()
    """Remarks for the client on patches that were left out in part."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The base's parts."""
        return self.base.checkpoint

    @property
    def base_model(self) -> Model:
        """The base as the sampling needs it."""
        return Model(self.checkpoint.unet, "sdxl", self.checkpoint.prediction)

    @property
    def refiner_model(self) -> Model | None:
        """The refiner as the sampling needs it; it may be the base, without its patches for inpainting."""
        if self.refiner is None:
            return self.base_model if self.inpaint_patches and self.ends_unpatched else None
        norm = self.checkpoint.text_encoders.final_norm_l if self.refiner.kind == "sd15" else None
        return Model(self.refiner.unet, self.refiner.kind, self.refiner.prediction, norm)

    @property
    def most_pixels(self) -> int | None:
        """The largest area the base was trained for, if it is known."""
        return self.checkpoint.most_pixels

    def kind_of(self, whose: Whose) -> Kind:
        """The kind of the base or of the refiner."""
        return self.refiner.kind if self.refiner and whose == "refiner" else "sdxl"

    def vae_of(self, whose: Whose) -> Vae:
        """The VAE of the base's latents, or of a refiner's that has one of its own."""
        own = self.refiner.vae if self.refiner and whose == "refiner" else None
        return own or self.vae

    def route(self, params: GenerateParams, denoise: float, steps: Steps) -> Route:
        """The route of latents through base and refiner in a run with this denoising."""
        kind = self.refiner_model and self.refiner_model.kind
        return route(kind, params.refiner_swap_method, denoise, steps.count, steps.switch)  # type: ignore[arg-type]
