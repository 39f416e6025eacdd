"""The model store: loads model files once, keeps them while there is room, patches them for a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import torch

from engine import required_files
from engine.adapters.inpaint_patch import InpaintPatch
from engine.adapters.interposer import Interposer
from engine.adapters.lora_merge import Patch
from engine.adapters.patched_models import Models, PatchedCheckpoint, PatchedRefiner
from engine.choices import NO_MODEL, VAE_OF_CHECKPOINT
from engine.detectors.safety_checker import SafetyChecker
from engine.files.catalogue import Catalogue
from engine.files.identity import identity
from engine.gpu.capabilities import Precision
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.residency import Residency
from engine.heartbeat import Heartbeat
from engine.images.metadata import AppliedLora, ModelFile
from engine.models.checkpoint import Checkpoint, load_checkpoint, load_vae
from engine.models.early_reading import EarlyReader
from engine.models.expansion import MODEL as EXPANSION_MODEL
from engine.models.expansion import Expansion
from engine.models.model_cache import ModelCache, Part, Sized
from engine.models.previews import LinearPreviewer, NetworkPreviewer, Previewer, network_file
from engine.models.refiner import Refiner, load_refiner
from engine.models.unet import split_attention
from engine.models.vae import Vae
from engine.params import NamedLora
from engine.plan import Plan
from engine.prompt.lora_tags import MAX_LORAS, all_loras, over_the_limit
from engine.sampling.latent_format import latent_format
from engine.sampling.step import Whose
from engine.sampling.unet import UNet


class ModelStore:
    """Loads model files and keeps them while there is room."""

    def __init__(
        self,
        device: torch.device,
        catalogue: Catalogue,
        budget: int | None = None,
        forget: Callable[[], None] | None = None,
        heartbeat: Heartbeat | None = None,
        kernels: Kernels | None = None,
        residency: Residency | None = None,
        precision: Precision | None = None,
        attention: str = "",
    ) -> None:
        self.device, self.catalogue, self.kernels = device, catalogue, kernels
        self.residency = residency or Residency(device)
        self.attention = attention
        self.precision = precision or Precision.for_device(device)
        self.cache = ModelCache(device, budget, forget, heartbeat)
        self.early_reader: EarlyReader | None = None
        """What reads a checkpoint before it is asked for, if anything does."""
        self.check: Callable[[], None] = lambda: None
        """Called again and again while a checkpoint is loaded; it may raise."""

    def models(self, plan: Plan, found: Sequence[NamedLora] = (), inpaint_engine: str = NO_MODEL) -> Models:
        """A task's models, patched with its LoRAs, those `found` in its prompt, and the patch of an inpaint engine.

        Raises:
            CheckpointError: a file is missing or cannot be used.
        """
        self.cache.begin()
        params, files = plan.params, plan.files
        base = self._base(files.checkpoint)
        loras, notes = self._loras(plan, found)
        patches = [Patch(lora.path, lora.weight) for lora in loras if lora.path]
        self.residency.make_room(base.patches.to_load(patches))
        inpaint: tuple[InpaintPatch, ...] = ()
        if inpaint_engine != NO_MODEL:
            path = files.inpaint_patch(inpaint_engine)
            self.residency.make_room(base.patches.to_load([Patch(path, 1.0, unet_only=True)]))
            inpaint = (InpaintPatch(base.patches, patches, path),)
        notes += inpaint[0].notes if inpaint else base.patches.apply(patches)
        refiner, refiner_file, interposer = None, None, None
        if params.refiner_model_name != NO_MODEL:
            path = self.catalogue.path("checkpoints", params.refiner_model_name)
            refiner_file = ModelFile(params.refiner_model_name, path=path)
            patched = self._refiner(path, base.checkpoint)
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
            cache(lambda whose: self._previewer(base, refiner, whose, plan)),
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
        return self.cache.get(("expansion", str(folder)), lambda: Expansion.load(folder, self.device), size)

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
        return self.cache.get(("file", identity(path)), partial(load, path, self.device), _bytes(path))

    def loaded(self, path: Path) -> Sized | None:
        """The model in this file, one that `load` loads, if it is here."""
        return self.cache.parts.get(("file", identity(path)))

    def _base(self, path: Path) -> PatchedCheckpoint:
        folders = self.catalogue.folders["embeddings"]

        def load() -> PatchedCheckpoint:
            """With a VAE or without: another file may bring it."""
            placed = self.device, self.kernels, self.residency, self.precision
            read = self.early_reader.take(path) if self.early_reader else None
            checkpoint = load_checkpoint(path, *placed, needs_vae=False, tensors=read, check=self.check)
            self._attend(checkpoint.unet)
            return PatchedCheckpoint.of(checkpoint, folders)

        return self.cache.get(("base", identity(path)), load, _bytes(path))

    def _attend(self, unet: UNet) -> None:
        """Have a UNet attend as it was asked for: split, half of an attention's heads at a time."""
        if self.attention == "split":
            split_attention(unet)

    def _refiner(self, path: Path, base: Checkpoint) -> PatchedRefiner:
        encoders = base.text_encoders

        def load() -> PatchedRefiner:
            refiner = load_refiner(path, self.device, encoders, self.kernels, self.residency, self.precision)
            self._attend(refiner.unet)
            return PatchedRefiner.of(refiner, encoders)

        key = ("refiner", identity(path), encoders.clip_l.width, encoders.clip_g.width)
        return self.cache.get(key, load, _bytes(path))

    def _vae(self, base: PatchedCheckpoint, name: str) -> Vae:
        if name == VAE_OF_CHECKPOINT:
            return base.checkpoint.vae
        path = self.catalogue.path("vae", name)
        load = partial(load_vae, path, self.device, self.kernels, self.precision)
        return self.cache.get(("vae", identity(path)), load, _bytes(path))

    def _loras(self, plan: Plan, found: Sequence[NamedLora]) -> tuple[list[AppliedLora], list[str]]:
        """The LoRAs in force: the request's, those of its prompt, the performance mode's own; notes on the others."""
        requested = [(lora.model_name, lora.weight) for lora in plan.params.loras if lora.enabled]
        notes = [
            f"The LoRA {name} of the prompt is left out: at most {MAX_LORAS} LoRAs act at a time"
            for name, _ in over_the_limit(requested, found)
        ]
        loras = [
            AppliedLora(name, path=self.catalogue.path("loras", name), weight=weight)
            for name, weight in all_loras(requested, found)
        ]
        if plan.lora:
            name, weight = plan.lora
            loras.append(AppliedLora(name, path=plan.files.performance_lora(name), weight=weight))
        return loras, notes

    def _previewer(self, base: PatchedCheckpoint, refiner: Refiner | None, whose: Whose, plan: Plan) -> Previewer:
        """The previews' network for latents of the base or the refiner, else a map fitted to the VAE."""
        kind = refiner.kind if refiner and whose == "refiner" else "sdxl"
        form = latent_format(kind, plan.params.scheduler_name)
        network = plan.files.preview_network(network_file(form))
        if network is not None:
            return self.cache.get(("previewer", identity(network)), lambda: NetworkPreviewer(network, self.device))
        file, vae = base.checkpoint.path, base.checkpoint.own_vae or self._vae(base, plan.params.vae_name)
        if refiner is not None and refiner.vae is not None and whose == "refiner":
            file, vae = refiner.path, refiner.vae
        return self.cache.get(("previewer", identity(file), form), lambda: LinearPreviewer(vae, form))


def _bytes(path: Path) -> int:
    """About what the file takes in memory."""
    return path.stat().st_size if path.is_file() else 0
