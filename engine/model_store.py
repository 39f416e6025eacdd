"""The models a task draws with: found by name, loaded once, kept while there is room, patched for the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from engine import required_files
from engine.adapters.inpaint_patch import InpaintPatch
from engine.adapters.interposer import Interposer
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.choices import NO_MODEL, VAE_OF_CHECKPOINT
from engine.detectors.safety_checker import SafetyChecker
from engine.file_set import FileSet
from engine.files.catalogue import Catalogue
from engine.files.identity import identity
from engine.gpu.fused import Kernels
from engine.heartbeat import Signs
from engine.images.metadata import AppliedLora, ModelFile
from engine.models.checkpoint import Checkpoint, load_checkpoint, load_vae
from engine.models.expansion import MODEL as EXPANSION_MODEL
from engine.models.expansion import Expansion
from engine.models.model_cache import Part, Residency
from engine.models.previews import NetworkPreviewer, Previewer, Sight, network_file
from engine.models.refiner import Refiner, load_refiner
from engine.models.vae import Vae
from engine.params import GenerateParams, NamedLora
from engine.plan import Plan, Steps
from engine.prompt.embeddings import Embeddings
from engine.prompt.lora_tags import all_loras
from engine.sampling.conditioning import Kind
from engine.sampling.latent_format import latent_format
from engine.sampling.sampling_run import Model, Route, route
from engine.sampling.step import Whose


@dataclass(frozen=True)
class PatchedCheckpoint:
    """A checkpoint and the patches on it."""

    checkpoint: Checkpoint
    patches: PatchedModel

    @property
    def size(self) -> int:
        """Bytes of its weights and of the originals kept beside them."""
        return self.checkpoint.size + self.patches.size


@dataclass(frozen=True)
class PatchedRefiner:
    """A refiner and the patches on it."""

    refiner: Refiner
    patches: PatchedModel

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
    sight: Callable[[Whose], Sight]
    """How to see latents under way."""
    refiner: Refiner | None = None
    refiner_file: ModelFile | None = None
    interposer: Callable[[Tensor], Tensor] | None = None
    inpaint_patches: tuple[InpaintPatch, ...] = ()
    """On the base while it repaints."""
    ends_unpatched: bool = False
    """Whether a base without a refiner draws its last steps without them."""
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
        """Of what kind the base or the refiner is."""
        return self.refiner.kind if self.refiner and whose == "refiner" else "sdxl"

    def vae_of(self, whose: Whose) -> Vae:
        """The VAE of the base's latents, or of a refiner's that has one of its own."""
        own = self.refiner.vae if self.refiner and whose == "refiner" else None
        return own or self.vae

    def route(self, params: GenerateParams, denoise: float, steps: Steps) -> Route:
        """Which way a run of so much denoising goes."""
        kind = self.refiner_model and self.refiner_model.kind
        return route(kind, params.refiner_swap_method, denoise, steps.count, steps.switch)  # type: ignore[arg-type]


class ModelStore:
    """Loads model files and keeps them while there is room."""

    def __init__(
        self,
        device: torch.device,
        catalogue: Catalogue,
        budget: int | None = None,
        forget: Callable[[], None] | None = None,
        signs: Signs | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        self.device, self.catalogue, self.kernels = device, catalogue, kernels
        self.residency = Residency(device, budget, forget, signs)

    def models(self, plan: Plan, found: Sequence[NamedLora] = (), inpaint_engine: str = NO_MODEL) -> Models:
        """A task's models, patched with its LoRAs, those `found` in its prompt, and the patch of an inpaint engine.

        Raises:
            CheckpointError: a file is missing or cannot be used.
        """
        self.residency.begin()
        params, files = plan.params, plan.files
        base = self._base(files.checkpoint)
        loras = self._loras(plan, found)
        patches = [Patch(lora.path, lora.weight) for lora in loras if lora.path]
        inpaint = _inpaint_patches(base, patches, files, inpaint_engine)
        notes = [*(inpaint[0].notes if inpaint else base.patches.apply(patches))]
        refiner, refiner_file, interposer = None, None, None
        if params.refiner_model_name != NO_MODEL:
            refiner_file = self._file("checkpoints", params.refiner_model_name)
            patched = self._refiner(refiner_file, base.checkpoint)
            refiner = patched.refiner
            notes += [f"On the refiner: {note}" for note in patched.patches.apply(patches)]
            if refiner.kind == "sd15":
                interposer = self.load_named("vae_approx", required_files.INTERPOSER, Interposer.load)
        return Models(
            base,
            ModelFile(files.checkpoint_name(params.base_model_name), path=files.checkpoint),
            self._vae(base, params.vae_name),
            params.vae_name,
            tuple(loras),
            cache(lambda whose: self._sight(base, refiner, whose, plan)),
            refiner,
            refiner_file,
            interposer,
            inpaint,
            plan.modes.inpaint,
            tuple(notes),
        )

    def safety_checker(self) -> SafetyChecker:
        """The network that recognises pictures that are not safe for work."""
        names = required_files.SAFETY_CHECKERS
        name = next((name for name in names if self.catalogue.find("safety_checker", name)), names[0])
        return self.load_named("safety_checker", name, SafetyChecker.load)

    def expansion(self) -> Expansion | None:
        """The model that expands prompts, or None where its files are missing."""
        folders = self.catalogue.folders["prompt_expansion"]
        folder = next((folder for folder in folders if not Expansion.missing(folder)), None)
        if folder is None:
            return None
        size = _bytes(folder / EXPANSION_MODEL)
        return self.residency.get(("expansion", str(folder)), lambda: Expansion.load(folder, self.device), size)

    def load_named(self, kind: str, name: str, load: Callable[[Path, torch.device], Part]) -> Part:
        """The model in the file of this kind and name, loaded as `load` does and kept while there is room.

        Raises:
            CheckpointError: the file is missing or cannot be used.
        """
        return self.load(self.catalogue.path(kind, name), load)

    def load(self, path: Path, load: Callable[[Path, torch.device], Part]) -> Part:
        """The model in this file, loaded by `load` and kept while there is room; a file has one way to be loaded.

        Raises:
            CheckpointError: the file cannot be used.
        """
        return self.residency.get(("file", identity(path)), partial(load, path, self.device), _bytes(path))

    def _base(self, path: Path) -> PatchedCheckpoint:
        def load() -> PatchedCheckpoint:
            checkpoint = load_checkpoint(path, self.device, self.kernels)
            checkpoint.text_encoders.embeddings = Embeddings(self.catalogue.folders["embeddings"])
            return PatchedCheckpoint(checkpoint, PatchedModel(checkpoint.unet, checkpoint.text_encoders))

        return self.residency.get(("base", identity(path)), load, _bytes(path))

    def _refiner(self, file: ModelFile, base: Checkpoint) -> PatchedRefiner:
        path, encoders = file.path, base.text_encoders
        assert path is not None

        def load() -> PatchedRefiner:
            refiner = load_refiner(path, self.device, encoders, self.kernels)
            # SDXL's LoRAs name text encoders too, which a refiner has no use for.
            named = encoders if refiner.kind == "sdxl" else None
            return PatchedRefiner(refiner, PatchedModel(refiner.unet, named, texts=False))

        key = ("refiner", identity(path), encoders.clip_l.width, encoders.clip_g.width)
        return self.residency.get(key, load, _bytes(path))

    def _vae(self, base: PatchedCheckpoint, name: str) -> Vae:
        if name == VAE_OF_CHECKPOINT:
            return base.checkpoint.vae
        path = self.catalogue.path("vae", name)
        return self.residency.get(
            ("vae", identity(path)), lambda: load_vae(path, self.device, self.kernels), _bytes(path)
        )

    def _loras(self, plan: Plan, found: Sequence[NamedLora]) -> list[AppliedLora]:
        """The LoRAs in force: the request's, those of its prompt, the performance mode's own."""
        named = all_loras([(lora.model_name, lora.weight) for lora in plan.params.loras if lora.enabled], found)
        loras = [
            AppliedLora(name, path=self.catalogue.path("loras", name), weight=weight)
            for name, weight in named
            if name != NO_MODEL
        ]
        if plan.lora:
            name, weight = plan.lora
            loras.append(AppliedLora(name, path=plan.files.performance_lora(name), weight=weight))
        return loras

    def _sight(self, base: PatchedCheckpoint, refiner: Refiner | None, whose: Whose, plan: Plan) -> Sight:
        """The previews' network for latents of the base or the refiner, else a map fitted to the VAE."""
        kind = refiner.kind if refiner and whose == "refiner" else "sdxl"
        form = latent_format(kind, plan.params.scheduler_name)
        network = plan.files.preview_network(network_file(form))
        if network is not None:
            return self.residency.get(("sight", identity(network)), lambda: NetworkPreviewer(network, self.device))
        file, vae = base.checkpoint.path, base.checkpoint.vae
        if refiner is not None and refiner.vae is not None and whose == "refiner":
            file, vae = refiner.path, refiner.vae
        return self.residency.get(("sight", identity(file), form), lambda: Previewer(vae, form))

    def _file(self, kind: str, name: str) -> ModelFile:
        return ModelFile(name, path=self.catalogue.path(kind, name))


def _inpaint_patches(
    base: PatchedCheckpoint, others: Sequence[Patch], files: FileSet, engine: str
) -> tuple[InpaintPatch, ...]:
    """The patch of an inpaint engine over the other patches, none for the engine `None`."""
    return () if engine == NO_MODEL else (InpaintPatch(base.patches, others, files.inpaint_patch(engine)),)


def _bytes(path: Path) -> int:
    """About what the file takes in memory."""
    return path.stat().st_size if path.is_file() else 0
