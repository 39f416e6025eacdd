"""Upscale: pictures enlarged by a network tile by tile, until a person stops the task."""

from __future__ import annotations

from dataclasses import dataclass

from engine.images.codecs import Pixels
from engine.model_store import ModelStore
from engine.models.upscaler import Upscaler
from engine.pipeline.job import Job


@dataclass(frozen=True)
class Enlarger:
    """Enlarges pictures by whatever factor `upscaler` has."""

    job: Job
    upscaler: Upscaler

    @classmethod
    def load(cls, job: Job, store: ModelStore) -> Enlarger:
        """One with the upscaler of the job's files."""
        return cls(job, store.load(job.files.upscaler(), Upscaler.load))

    def __call__(self, picture: Pixels) -> Pixels:
        """The picture enlarged; raises Stopped between two tiles."""
        job, (height, width) = self.job, picture.shape[:2]
        job.report_progress(job.progress.at(job.steps_done), f"Upscaling image from {width} × {height} ...")
        return self.upscaler.upscale(picture, lambda _done, _of: job.stop_if_asked())
