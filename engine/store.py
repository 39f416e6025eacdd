"""The models a task draws with: found by name, loaded once, kept while there is room."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.images.metadata import AppliedLora, ModelFile
from engine.job import Job
from engine.models.checkpoint import Checkpoint, load_checkpoint
from engine.models.vae import Vae
from engine.names import BUILTIN_CHECKPOINT, VAE_OF_CHECKPOINT
from engine.sampling.previews import Previewer, Sight
from engine.sampling.request import Model
from engine.sampling.step import Whose


@dataclass(frozen=True)
class Models:
    """What one task draws with; `vae` and `loras` are told in its metadata."""

    checkpoint: Checkpoint
    file: ModelFile
    sight: Sight
    refiner: ModelFile | None = None
    refiner_model: Model | None = None
    interposer: Callable[[Tensor], Tensor] | None = None
    vae: str = VAE_OF_CHECKPOINT
    loras: tuple[AppliedLora, ...] = ()

    @property
    def base_model(self) -> Model:
        """The base as the sampling needs it."""
        return Model(self.checkpoint.unet, "sdxl", self.checkpoint.prediction)

    @property
    def most_pixels(self) -> int | None:
        """The largest area the base was trained for, if it is known."""
        return self.checkpoint.most_pixels

    def vae_of(self, whose: Whose) -> Vae:
        """The VAE of the base's latents, or of a refiner's that has one of its own."""
        return self.checkpoint.vae


class Store:
    """Loads what tasks name."""

    def __init__(self, device: torch.device, builtin: Path) -> None:
        self.device, self.builtin = device, builtin
        self._loaded: tuple[tuple[str, int, int], Checkpoint, Sight] | None = None

    def models(self, job: Job) -> Models:
        """The task's models, in memory.

        Raises:
            CheckpointError: a file cannot be drawn with.
        """
        path = self.path(job)
        if self._loaded is None or self._loaded[0] != identity(path):
            self._loaded = None
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            checkpoint = load_checkpoint(path, self.device)
            self._loaded = identity(path), checkpoint, Previewer(checkpoint.vae)
        _, checkpoint, sight = self._loaded
        return Models(checkpoint, ModelFile(name_of(job), path=path), sight)

    def path(self, job: Job) -> Path:
        """The checkpoint's file."""
        return self.builtin if job.task.checkpoint is None else Path(job.task.checkpoint)


def name_of(job: Job) -> str:
    """The checkpoint's name as requests spell it."""
    return BUILTIN_CHECKPOINT if job.task.checkpoint is None else job.params.base_model_name


def identity(path: Path) -> tuple[str, int, int]:
    """Which file, in which state; a missing one is for the loader to tell."""
    if not path.is_file():
        return str(path), 0, 0
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
