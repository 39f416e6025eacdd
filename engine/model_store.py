"""The models a task draws with: found by name, loaded once, kept while there is room, patched for the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from engine import required_files
from engine.adapters.controlnet import ControlNet
from engine.adapters.controlnet_files import ControlFile
from engine.adapters.image_prompt import ImagePromptAdapter
from engine.adapters.inpaint_head import InpaintHead
from engine.adapters.inpaint_patch import InpaintPatch
from engine.adapters.interposer import Interposer
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.choices import BUILTIN_CHECKPOINT, NO_MODEL, VAE_OF_CHECKPOINT
from engine.detectors.clip_vision import ClipVision
from engine.detectors.faces import FaceDetector
from engine.detectors.safety_checker import SafetyChecker
from engine.detectors.tag_head import TagHead
from engine.errors import CheckpointError
from engine.files import builtin_set
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
from engine.models.upscaler import Upscaler
from engine.models.vae import Vae
from engine.params import GenerateParams
from engine.pipeline.job import Job
from engine.plan import Steps
from engine.prompt.embeddings import Embeddings
from engine.prompt.lora_tags import NamedLora, all_loras
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


class Store:
    """Loads what tasks name."""

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

    def models(self, job: Job, found: Sequence[NamedLora] = (), inpaint_engine: str = NO_MODEL) -> Models:
        """The task's models with its LoRAs, those `found` in the prompt among them, and an inpaint engine's patch.

        Raises:
            CheckpointError: a file is not there or cannot be drawn with.
        """
        self.residency.begin()
        params = job.params
        base = self._base(self.checkpoint_path(job))
        loras = self._loras(job, found)
        patches = [Patch(lora.path, lora.weight) for lora in loras if lora.path]
        inpaint = self._inpaint_patches(base, patches, inpaint_engine, builtin=job.plan.builtin)
        job.note(*(inpaint[0].notes if inpaint else base.patches.apply(patches)))
        refiner, refiner_file, interposer = None, None, None
        if params.refiner_model_name != NO_MODEL:
            refiner_file = self._file("checkpoints", params.refiner_model_name)
            patched = self._refiner(refiner_file, base.checkpoint)
            refiner = patched.refiner
            job.note(*(f"On the refiner: {note}" for note in patched.patches.apply(patches)))
            if refiner.kind == "sd15":
                interposer = self._interposer()
        return Models(
            base,
            ModelFile(name_of(job), path=self.checkpoint_path(job)),
            self._vae(base, params.vae_name),
            params.vae_name,
            tuple(loras),
            cache(lambda whose: self._sight(base, refiner, whose, params.scheduler_name)),
            refiner,
            refiner_file,
            interposer,
            inpaint,
            job.goals.inpaint,
        )

    def checkpoint_path(self, job: Job) -> Path:
        """The checkpoint's file."""
        return self.catalogue.builtin if job.task.checkpoint is None else Path(job.task.checkpoint)

    def upscaler(self, *, builtin: bool) -> Upscaler:
        """The upscaler; where the built-in model draws and there is no file, the built-in set's own."""
        path = self.catalogue.find("upscale_models", required_files.UPSCALER)
        if path is None and builtin:
            return self._shipped(builtin_set.UPSCALER, Upscaler.load)
        return self.kept("upscale_models", required_files.UPSCALER, Upscaler.load)

    def inpaint_head(self, *, builtin: bool) -> InpaintHead:
        """What tells a patched UNet what is to be repainted."""
        if builtin:
            return self._shipped(builtin_set.INPAINT_HEAD, InpaintHead.load)
        return self.kept("inpaint", required_files.INPAINT_HEAD, InpaintHead.load)

    def control_net(self, kind: str, models: Models, *, builtin: bool) -> ControlNet:
        """The control net of a kind of control image, for the base as it is patched now; the built-in one reads all."""
        if builtin:
            return self._shipped(builtin_set.CANNY, ControlFile.load).on(models.checkpoint.unet)
        return self.kept("controlnet", required_files.CONTROL_NETS[kind], ControlFile.load).on(models.checkpoint.unet)

    def image_prompt_adapter(self, kind: str, *, builtin: bool) -> ImagePromptAdapter:
        """What makes pictures of a kind of image prompt into tokens; the built-in model has one for all kinds."""
        negative = builtin_set.IMAGE_PROMPT_NEGATIVE
        if not builtin:
            negative = self._path("controlnet", required_files.IMAGE_PROMPT_NEGATIVE)

        def load(path: Path, device: torch.device) -> ImagePromptAdapter:
            return ImagePromptAdapter.load(path, negative, device)

        if builtin:
            return self._shipped(builtin_set.IMAGE_PROMPT, load)
        return self.kept("controlnet", required_files.IMAGE_PROMPTS[kind], load)

    def clip_vision(self, *, builtin: bool) -> ClipVision:
        """What sees the pictures of image prompts; the built-in set's adapter and tags know only its own."""
        if builtin:
            return self._shipped(builtin_set.IMAGE_ENCODER, ClipVision.load)
        return self.kept("clip_vision", required_files.CLIP_VISION, ClipVision.load)

    def tag_head(self) -> TagHead:
        """What names what the built-in set's image encoder sees."""
        return self._shipped(builtin_set.TAG_HEAD, TagHead.load)

    def safety_checker(self) -> SafetyChecker:
        """What tells pictures that are not safe for work."""
        names = required_files.SAFETY_CHECKERS
        name = next((name for name in names if self.catalogue.find("safety_checker", name)), names[0])
        return self.kept("safety_checker", name, SafetyChecker.load)

    def face_detector(self) -> FaceDetector:
        """What finds faces."""
        return self.kept("controlnet", required_files.FACE_DETECTOR, FaceDetector.load)

    def expansion(self) -> Expansion | None:
        """The model that expands prompts, or None where its files are not there."""
        folders = self.catalogue.folders["prompt_expansion"]
        folder = next((folder for folder in folders if not Expansion.missing(folder)), None)
        if folder is None:
            return None
        size = _bytes(folder / EXPANSION_MODEL)
        return self.residency.get(("expansion", str(folder)), lambda: Expansion.load(folder, self.device), size)

    def kept(self, kind: str, name: str, load: Callable[[Path, torch.device], Part]) -> Part:
        """What `load` makes of a file of this kind and name, kept while there is room.

        Raises:
            CheckpointError: the file is not there or cannot be used.
        """
        path = self._path(kind, name)
        return self.residency.get((kind, identity(path)), partial(load, path, self.device), _bytes(path))

    def _shipped(self, path: Path, load: Callable[[Path, torch.device], Part]) -> Part:
        """What `load` makes of a file of the built-in set."""
        return self.residency.get(("builtin", path), partial(load, path, self.device), _bytes(path))

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
        path = self._file("vae", name).path
        assert path is not None
        return self.residency.get(
            ("vae", identity(path)), lambda: load_vae(path, self.device, self.kernels), _bytes(path)
        )

    def _interposer(self) -> Interposer:
        return self.kept("vae_approx", required_files.INTERPOSER, Interposer.load)

    def _inpaint_patches(
        self, base: PatchedCheckpoint, others: Sequence[Patch], engine: str, *, builtin: bool
    ) -> tuple[InpaintPatch, ...]:
        """The patch of an inpaint engine over the others; the built-in model has one for every engine."""
        if engine == NO_MODEL:
            return ()
        path = builtin_set.INPAINT_PATCH if builtin else self._path("inpaint", required_files.INPAINT_PATCHES[engine])
        return (InpaintPatch(base.patches, others, path),)

    def _loras(self, job: Job, found: Sequence[NamedLora]) -> list[AppliedLora]:
        """The LoRAs in force: the request's, those of its prompt, the performance mode's own."""
        named = all_loras([(lora.model_name, lora.weight) for lora in job.params.loras if lora.enabled], found)
        files = [(self._file("loras", name), weight) for name, weight in named if name != NO_MODEL]
        if job.plan.lora:
            name, weight = job.plan.lora
            own = ModelFile(name, path=builtin_set.FEW_STEP) if job.plan.builtin else self._file("loras", name)
            files.append((own, weight))
        return [AppliedLora(file.name, path=file.path, weight=weight) for file, weight in files]

    def _sight(self, base: PatchedCheckpoint, refiner: Refiner | None, whose: Whose, scheduler: str) -> Sight:
        """The network of a file for latents of its kind, else a map fitted to the VAE."""
        kind = refiner.kind if refiner and whose == "refiner" else "sdxl"
        form = latent_format(kind, scheduler)
        network = self.catalogue.find("vae_approx", network_file(form))
        if network is not None and base.checkpoint.path != self.catalogue.builtin:
            return self.residency.get(("sight", identity(network)), lambda: NetworkPreviewer(network, self.device))
        file, vae = base.checkpoint.path, base.checkpoint.vae
        if refiner is not None and refiner.vae is not None and whose == "refiner":
            file, vae = refiner.path, refiner.vae
        return self.residency.get(("sight", identity(file), form), lambda: Previewer(vae, form))

    def _file(self, kind: str, name: str) -> ModelFile:
        return ModelFile(name, path=self._path(kind, name))

    def _path(self, kind: str, name: str) -> Path:
        path = self.catalogue.find(kind, name)
        if path is None:
            raise CheckpointError(
                f"{name} is not in the models folder {kind}; GET /v1/engines/all-models lists what is"
            )
        return path


def name_of(job: Job) -> str:
    """The checkpoint's name as requests spell it."""
    return BUILTIN_CHECKPOINT if job.task.checkpoint is None else job.params.base_model_name


def _bytes(path: Path) -> int:
    """About what the file takes in memory."""
    return path.stat().st_size if path.is_file() else 0
