"""Pictures enlarged by an upscaler, tile by tile, for as long as nobody ends the task."""

from __future__ import annotations

from dataclasses import dataclass

from engine.images.codecs import Pixels
from engine.models.upscaler import Upscaler
from engine.pipeline.job import Job


@dataclass(frozen=True)
class Enlarge:
    """Enlarges pictures by whatever factor `upscaler` has."""

    job: Job
    upscaler: Upscaler

    def __call__(self, picture: Pixels) -> Pixels:
        """The picture, larger; raises Stopped between two tiles."""
        height, width = picture.shape[:2]
        self.job.tell(self.job.progress.at(self.job.steps_done), f"Upscaling image from {width} × {height} ...")
        return self.upscaler.upscale(picture, lambda _done, _of: self.job.stop_if_asked())
