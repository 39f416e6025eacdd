"""What a request's pictures begin with: nothing, a picture to vary, to enlarge, or to repaint a part of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.images.codecs import Mask, Pixels
from engine.images.metadata import Row
from engine.images.resize import rgb
from engine.images.variation import Upscaled, upscale_strength, upscaled, vary_strength
from engine.model_store import Models, Store
from engine.pipeline.canvas import Canvas, blank
from engine.pipeline.img2img import redraw, vary
from engine.pipeline.inpaint import Wish, area, repaint, to_repaint
from engine.pipeline.inputs import Inputs
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.upscale import Enlarge

GENERATOR_SEEDS = 2**32


ENLARGED = (Row("Upscale (Fast)", "upscale_fast", "2x"),)
"""The record of a picture that was only enlarged; Fooocus's words, whatever the factor."""


@dataclass(frozen=True)
class Beginning:
    """The request's pictures as far as they are prepared without its models."""

    varied: Pixels | None = None
    enlarged: Pixels | None = None
    painting: tuple[Pixels, Mask] | None = None


def begin(job: Job, store: Store, inputs: Inputs) -> Beginning:
    """Read and enlarge what the request begins with; the job's plan learns whether anything is painted.

    Raises:
        FileNotFoundError: a picture is gone.
        Unsampled: nothing is left to draw.
        Stopped: a person asked for it.
    """
    params, goals = job.params, job.goals
    painting = _painting(job, inputs) if goals.inpaint else None
    if painting or not (goals.vary or goals.upscale):
        return Beginning(painting=painting)
    assert params.uov_input_image
    picture = inputs.picture(params.uov_input_image)
    if goals.vary:
        return Beginning(varied=picture)
    larger = enlarged(job, store, picture, params.uov_method)
    if larger.finished:
        raise Unsampled([larger.image], ENLARGED)
    return Beginning(enlarged=larger.image)


def _painting(job: Job, inputs: Inputs) -> tuple[Pixels, Mask] | None:
    painting = to_repaint(job.params, inputs)
    job.plan = job.plan.repainting() if painting else job.plan.without_painting()
    job.note(*job.plan.notes)
    if painting and job.params.inpaint_strength == 0:
        raise Unsampled([painting[0]])
    return painting


def enlarged(job: Job, store: Store, picture: Pixels, method: str) -> Upscaled:
    """The picture, as large as the method of the request makes it."""
    with job.timed("decode"):
        return upscaled(
            picture, method, job.params.upscale_multiple, Enlarge(job, store.upscaler(builtin=job.plan.builtin))
        )


def canvas_for(job: Job, store: Store, models: Models, beginning: Beginning, seed: int) -> Canvas:
    """The canvas of the request's pictures; `seed` is the last picture's, for the VAE's noise.

    Raises:
        Unsampled: the request only wants to see what is prepared.
    """
    params, steps = job.params, job.plan.steps(upscale=job.goals.upscale)
    generator = torch.Generator().manual_seed(seed % GENERATOR_SEEDS)
    if beginning.painting:
        wish = Wish.of_request(params)
        region = area(
            *beginning.painting, wish, models.most_pixels, Enlarge(job, store.upscaler(builtin=job.plan.builtin))
        )
        if params.debugging_inpaint_preprocessor:
            raise Unsampled([region.fill, rgb(region.crop_mask), region.crop])
        head = store.inpaint_head(builtin=job.plan.builtin) if models.inpaint_patches else None
        return repaint(job, models, region, wish, steps, head, generator)
    if beginning.varied is not None:
        strength = vary_strength(params.uov_method, params.overwrite_vary_strength)
        return vary(job, models, beginning.varied, steps, strength, generator)
    if beginning.enlarged is not None:
        strength = upscale_strength(params.overwrite_upscale_strength)
        return redraw(job, models, beginning.enlarged, steps, strength, generator)
    return blank(params.size, models.most_pixels, steps)
