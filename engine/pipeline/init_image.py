"""The init image: the picture, if any, that a request varies, upscales or inpaints, and the canvas for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.adapters.patched_models import Models
from engine.images.codecs import Mask, Pixels
from engine.images.metadata import Row
from engine.images.resize import rgb
from engine.images.variation import Upscaled, upscale_strength, upscaled, vary_strength
from engine.model_store import ModelStore
from engine.pipeline.canvas import Canvas, blank_canvas
from engine.pipeline.img2img import upscale_canvas, vary_canvas
from engine.pipeline.inpaint import InpaintSettings, inpaint_area, inpaint_canvas, load_head, picture_and_mask
from engine.pipeline.inputs import InputPictures
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.upscale import Enlarger

GENERATOR_SEEDS = 2**32
"""A generator takes seeds below this."""

UPSCALED = (Row("Upscale (Fast)", "upscale_fast", "2x"),)
"""The metadata of a picture that was only enlarged, in Fooocus's words, whatever the factor."""


@dataclass(frozen=True)
class InitImage:
    """A request's init image, prepared as far as that takes none of its models; all None: there is none."""

    varied: Pixels | None = None
    enlarged: Pixels | None = None
    inpainted: tuple[Pixels, Mask] | None = None


def read_init_image(job: Job, store: ModelStore, inputs: InputPictures) -> InitImage:
    """Read and enlarge the request's init image, and adapt the job's plan to what its mask paints.

    Raises:
        FileNotFoundError: a picture is missing.
        Unsampled: nothing is left to sample.
        Stopped: a person stopped the task.
    """
    params, modes = job.params, job.modes
    inpainted = _picture_and_mask(job, inputs) if modes.inpaint else None
    if inpainted or not (modes.vary or modes.upscale):
        return InitImage(inpainted=inpainted)
    assert params.uov_input_image
    picture = inputs.picture(params.uov_input_image)
    if modes.vary:
        return InitImage(varied=picture)
    larger = enlarge(job, store, picture, params.uov_method)
    if larger.finished:
        raise Unsampled([larger.image], UPSCALED)
    return InitImage(enlarged=larger.image)


def _picture_and_mask(job: Job, inputs: InputPictures) -> tuple[Pixels, Mask] | None:
    inpainted = picture_and_mask(job.params, inputs)
    job.plan = job.plan.inpainting() if inpainted else job.plan.without_inpainting()
    job.add_notes(*job.plan.notes)
    if inpainted and job.params.inpaint_strength == 0:
        raise Unsampled([inpainted[0]])
    return inpainted


def enlarge(job: Job, store: ModelStore, picture: Pixels, method: str) -> Upscaled:
    """The picture enlarged as an upscale method says."""
    with job.timed("decode"):
        return upscaled(picture, method, job.params.upscale_multiple, Enlarger.load(job, store))


def init_canvas(job: Job, store: ModelStore, models: Models, init_image: InitImage, seed: int) -> Canvas:
    """The canvas of the request's pictures; `seed` is the last picture's, for the VAE's noise.

    Raises:
        Unsampled: the request asks only for the prepared area.
    """
    params, steps = job.params, job.plan.steps(upscale=job.modes.upscale)
    generator = torch.Generator().manual_seed(seed % GENERATOR_SEEDS)
    if init_image.inpainted:
        settings = InpaintSettings.of_request(params)
        region = inpaint_area(*init_image.inpainted, settings, models.most_pixels, Enlarger.load(job, store))
        if params.debugging_inpaint_preprocessor:
            raise Unsampled([region.fill, rgb(region.crop_mask), region.crop])
        return inpaint_canvas(job, models, region, settings, steps, load_head(job, store, models), generator)
    if init_image.varied is not None:
        strength = vary_strength(params.uov_method, params.overwrite_vary_strength)
        return vary_canvas(job, models, init_image.varied, steps, strength, generator)
    if init_image.enlarged is not None:
        strength = upscale_strength(params.overwrite_upscale_strength)
        return upscale_canvas(job, models, init_image.enlarged, steps, strength, generator)
    return blank_canvas(params.size, models.most_pixels, steps)
