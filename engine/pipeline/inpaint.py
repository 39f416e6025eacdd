"""Inpaint and Outpaint: canvases for a part of a picture, which is drawn and pasted back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.adapters.inpaint_head import InpaintFeature, InpaintHead
from engine.adapters.inpaint_latents import inpaint_latents
from engine.adapters.patched_models import Models
from engine.images.codecs import Mask, Pixels
from engine.images.inpaint import InpaintRegion, inpaint_region
from engine.images.masks import PAINTED, inpaint_mask
from engine.images.outpaint import outpainted
from engine.model_store import ModelStore
from engine.models.vae import DOWNSCALE
from engine.params import EnhanceStep, GenerateParams
from engine.pipeline.canvas import Canvas
from engine.pipeline.inputs import InputPictures
from engine.pipeline.job import Job
from engine.plan import Steps
from engine.sampling.attachments import Attachment
from engine.sampling.latent_format import latent_format
from engine.sampling.latent_mask import Blend
from engine.sampling.native_size import sampled_size
from engine.sampling.sampling_run import starts_on


@dataclass(frozen=True)
class InpaintSettings:
    """How an area is inpainted.

    `strength` (0 to 1) is the denoising; `field` (0 to 1) how much of the picture around the area is sampled with it;
    `engine` the inpaint engine or `None`; with `empty` sampling starts from noise alone, not from the filled area.
    """

    strength: float
    field: float
    engine: str
    empty: bool

    @classmethod
    def of_request(cls, params: GenerateParams) -> InpaintSettings:
        """The settings for a request's picture."""
        return cls(
            params.inpaint_strength,
            params.inpaint_respective_field,
            params.inpaint_engine,
            params.inpaint_disable_initial_latent,
        )

    @classmethod
    def of_step(cls, step: EnhanceStep) -> InpaintSettings:
        """The settings of an enhancement step."""
        return cls(
            step.enhance_inpaint_strength,
            step.enhance_inpaint_respective_field,
            step.enhance_inpaint_engine,
            step.enhance_inpaint_disable_initial_latent,
        )


def picture_and_mask(params: GenerateParams, inputs: InputPictures) -> tuple[Pixels, Mask] | None:
    """The request's picture, extended where it is outpainted, and its mask; None if the mask paints nothing."""
    assert params.inpaint_input_image
    picture = inputs.picture(params.inpaint_input_image)
    height, width = picture.shape[:2]
    given = inputs.mask(params.inpaint_mask_image_upload) if params.inpaint_mask_image_upload else None
    mask = inpaint_mask(given, width, height, grow=params.inpaint_erode_or_dilate, invert=params.invert_mask_checkbox)
    if params.outpaint_selections:
        return outpainted(picture, mask, params.outpaint_selections, params.outpaint_distance)
    return (picture, mask) if bool((mask > PAINTED).any()) else None


def inpaint_area(
    picture: Pixels, mask: Mask, settings: InpaintSettings, most_pixels: int | None, enlarge: Callable[[Pixels], Pixels]
) -> InpaintRegion:
    """The area to inpaint, at no more than the pixels that a model was trained for.

    Raises:
        EmptyMask: the mask is 0 everywhere.
    """
    region = inpaint_region(picture, mask, field=settings.field, strength=settings.strength, upscale=enlarge)
    height, width = region.crop_mask.shape
    sampled = sampled_size((width, height), most_pixels)
    return region if sampled == (width, height) else region.resized(*sampled)


def load_head(job: Job, store: ModelStore, models: Models) -> InpaintHead | None:
    """The inpaint head that the models' inpaint patch needs; None without a patch."""
    return store.load(job.files.inpaint_head(), InpaintHead.load) if models.inpaint_patches else None


def inpaint_canvas(
    job: Job,
    models: Models,
    region: InpaintRegion,
    settings: InpaintSettings,
    steps: Steps,
    head: InpaintHead | None,
    generator: torch.Generator,
) -> Canvas:
    """A canvas for the area; it pastes what is drawn into the whole picture. `generator` is a CPU's."""
    route = models.route(job.params, settings.strength, steps)
    whose = starts_on(route)
    vae, swap_vae = models.vae_of(whose), models.refiner.vae if models.refiner and route == "vae" else None
    with job.timed("decode"):
        latents = inpaint_latents(region, vae, generator, swap_vae, with_grey=head is not None)
    size = latents.fill.shape[-1] * DOWNSCALE, latents.fill.shape[-2] * DOWNSCALE
    attachments: tuple[Attachment, ...] = ()
    if head is not None:
        assert latents.grey is not None
        grey = latent_format(models.kind_of(whose), job.params.scheduler_name).to_model(latents.grey)
        attachments = (InpaintFeature(head.feature(latents.mask, grey)),)
    start = torch.zeros_like(latents.fill) if settings.empty else latents.fill
    blend = Blend(latents.fill, latents.mask, latents.swap)
    return Canvas(size, size, steps, start, settings.strength, blend, attachments, finish=region.paste)
