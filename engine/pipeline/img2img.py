"""Image to image: canvases for Vary and Upscale, whose sampling starts from a noised picture."""

from __future__ import annotations

import torch

from engine.adapters.patched_models import Models
from engine.images.codecs import Pixels
from engine.images.resize import resample
from engine.images.variation import varied
from engine.models.vae import DOWNSCALE
from engine.pipeline.canvas import Canvas
from engine.pipeline.job import Job
from engine.plan import Steps
from engine.sampling.native_size import sampled_size
from engine.sampling.sampling_run import starts_on


def vary_canvas(
    job: Job, models: Models, picture: Pixels, steps: Steps, strength: float, generator: torch.Generator
) -> Canvas:
    """A canvas for variations of the picture, denoised by `strength` (0 to 1); `generator` is a CPU's."""
    picture = varied(picture)
    height, width = (side // DOWNSCALE * DOWNSCALE for side in picture.shape[:2])
    sampled = sampled_size((width, height), models.most_pixels)
    if sampled != (width, height):
        picture = resample(picture, *sampled)
    vae = models.vae_of(starts_on(models.route(job.params, strength, steps)))
    with job.timed("decode"):
        latent = vae.encode(picture, generator)
    return Canvas((width, height), sampled, steps, latent, strength)


def upscale_canvas(
    job: Job, models: Models, enlarged: Pixels, steps: Steps, strength: float, generator: torch.Generator
) -> Canvas:
    """A canvas for an enlarged picture, denoised by `strength`, encoded and decoded in tiles.

    It is sampled at its own size, whatever the model was trained for: the picture keeps the composition.
    """
    vae = models.vae_of(starts_on(models.route(job.params, strength, steps)))
    with job.timed("decode"):
        latent = vae.encode_tiled(enlarged, generator, lambda _done, _of: job.stop_if_asked())
    size = latent.shape[-1] * DOWNSCALE, latent.shape[-2] * DOWNSCALE
    return Canvas(size, size, steps, latent, strength, tiled=True)
