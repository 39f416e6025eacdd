"""Enhance: finished pictures varied or upscaled, and what masks find in them inpainted, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from engine.choices import NO_MODEL
from engine.images.codecs import Mask, Pixels
from engine.images.masks import PAINTED, inpaint_mask
from engine.images.resize import rgb
from engine.images.variation import upscale_strength, vary_strength
from engine.interruption import Skipped
from engine.params import EnhanceStep, GenerateParams
from engine.pipeline.canvas import Canvas
from engine.pipeline.control import freeu
from engine.pipeline.img2img import upscale_canvas, vary_canvas
from engine.pipeline.init_image import GENERATOR_SEEDS, UPSCALED, enlarge
from engine.pipeline.inpaint import InpaintSettings, inpaint_area, inpaint_canvas, load_head
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.passes import Passes, PreparedPass
from engine.pipeline.upscale import Enlarger
from engine.vision.find_mask import MaskOptions, find_mask

BEFORE, AFTER = "Before First Enhancement", "After Last Enhancement"
ORIGINAL = "Original Prompts"
EMPTY = ",. \r\n"
"""The characters of a prompt that counts as empty."""

Prompts = tuple[str, str]
"""The positive and the negative prompt."""
PassAndCanvas = tuple[PreparedPass, Canvas]
"""All that a picture is drawn with and on."""


class Enhancer:
    """Enhances pictures one after another."""

    def __init__(self, passes: Passes) -> None:
        self.passes, self.store, self.memory = passes, passes.store, passes.memory

    def enhance(self, job: Job, pictures: Sequence[Pixels]) -> None:
        """Enhance all pictures of a job and save the picture of each step; what is skipped leaves a note.

        Raises:
            CheckpointError: a model file is missing or cannot be used.
            Stopped: a person stopped the task.
        """
        for number, picture in enumerate(pictures, 1):
            try:
                self._enhance(job, picture, number)
            except Skipped:
                job.add_notes(f"The enhancement of image {number} was skipped")

    def saves_only_last(self, job: Job) -> bool:
        """Whether only the last picture of each chain is saved."""
        return job.modes.enhance and job.params.save_final_enhanced_image_only

    def _enhance(self, job: Job, picture: Pixels, number: int) -> None:
        params, steps = job.params, job.modes.enhance_steps
        prompts = params.prompt, params.negative_prompt
        order = params.enhance_uov_processing_order if job.modes.enhance_uov else None
        if order == BEFORE:
            picture = self._vary_or_upscale(job, picture, prompts, save=not (self.saves_only_last(job) and steps))
        for place, step in enumerate(steps, 1):
            last = place == len(steps) and order != AFTER
            title = f"Enhancing image {number}, step {place}/{len(steps)} ..."
            job.report_progress(job.progress.at(job.steps_done), title)
            try:
                done = self._inpaint(job, picture, step, save=last or not self.saves_only_last(job))
            except Skipped:
                job.add_notes(f"Step {place} of the enhancement of image {number} was skipped")
                continue
            if done is None:
                job.add_notes(f"Step {place} of the enhancement found nothing in image {number}")
                continue
            picture = done
            if params.enhance_uov_prompt_type != ORIGINAL:
                prompts = step_prompts(params, step)
        if order == AFTER:
            self._vary_or_upscale(job, picture, prompts, save=True)

    def _vary_or_upscale(self, job: Job, picture: Pixels, prompts: Prompts, *, save: bool) -> Pixels:
        """The picture varied or upscaled as the request says."""
        method = job.params.enhance_uov_method
        if method.startswith("Vary"):
            return self._draw(job, lambda: self._vary(job, picture, prompts), save=save)
        larger = self.memory.going_on(job, lambda: enlarge(job, self.store, picture, method))
        if not larger.finished:
            return self._draw(job, lambda: self._upscale(job, larger.image, prompts), save=save)
        if save:
            self.passes.save_unsampled(job, Unsampled([larger.image], UPSCALED))
        return larger.image

    def _vary(self, job: Job, picture: Pixels, prompts: Prompts) -> PassAndCanvas:
        prepared, generator = self._prepare(job, prompts)
        strength = vary_strength(job.params.enhance_uov_method, job.params.overwrite_vary_strength)
        return prepared, vary_canvas(job, prepared.models, picture, job.plan.steps(), strength, generator)

    def _upscale(self, job: Job, larger: Pixels, prompts: Prompts) -> PassAndCanvas:
        prepared, generator = self._prepare(job, prompts)
        strength, steps = upscale_strength(job.params.overwrite_upscale_strength), job.plan.steps(upscale=True)
        return prepared, upscale_canvas(job, prepared.models, larger, steps, strength, generator)

    def _inpaint(self, job: Job, picture: Pixels, step: EnhanceStep, *, save: bool) -> Pixels | None:
        """The picture with what a step finds in it inpainted; None where it finds nothing."""
        mask = self._find_mask(job, picture, step)
        if mask is None:
            return None
        job.end_picture_if_asked()
        settings = InpaintSettings.of_step(step)
        if settings.strength == 0:
            return None
        prompts = step_prompts(job.params, step)
        return self._draw(job, lambda: self._repaint(job, picture, mask, settings, prompts), save=save)

    def _repaint(
        self, job: Job, picture: Pixels, mask: Mask, settings: InpaintSettings, prompts: Prompts
    ) -> PassAndCanvas:
        prepared, generator = self._prepare(job, prompts, job.files.inpaint_engine(settings.engine))
        models = prepared.models
        region = inpaint_area(picture, mask, settings, models.most_pixels, Enlarger.load(job, self.store))
        head = load_head(job, self.store, models)
        return prepared, inpaint_canvas(job, models, region, settings, job.plan.steps(), head, generator)

    def _find_mask(self, job: Job, picture: Pixels, step: EnhanceStep) -> Mask | None:
        """The mask of what a step finds, ready for inpainting; None where that is nothing."""
        options = mask_options(job.params, step)
        found = self.memory.going_on(job, lambda: find_mask(self.store, picture, options))
        height, width = picture.shape[:2]
        grow = int(step.enhance_inpaint_erode_or_dilate)
        mask = inpaint_mask(found.mask, width, height, grow=grow, invert=step.enhance_mask_invert)
        if job.params.debugging_enhance_masks_checkbox:
            self.passes.save_unsampled(job, Unsampled([rgb(mask)]))
        nothing = not found.boxes or not (found.applied or job.params.debugging_dino)
        if (step.enhance_mask_model == "sam" and nothing) or not bool((mask > PAINTED).any()):
            return None
        return mask

    def _prepare(self, job: Job, prompts: Prompts, engine: str = NO_MODEL) -> tuple[PreparedPass, torch.Generator]:
        """A pass for one picture with the request's first seed, and the generator of its VAE's noise."""
        params = replace(job.params, prompt=prompts[0], negative_prompt=prompts[1], image_number=1)
        prepared = self.passes.prepare(job, params, engine)
        return prepared, torch.Generator().manual_seed(prepared.last_seed % GENERATOR_SEEDS)

    def _draw(self, job: Job, prepare: Callable[[], PassAndCanvas], *, save: bool) -> Pixels:
        """The picture that is drawn after `prepare`, which is done again where there is too little memory for it."""
        prepared, canvas = self.memory.going_on(job, prepare)
        attachments = (*prepared.models.inpaint_patches, *canvas.attachments, *freeu(job.params))
        pictures = self.passes.draw(job, prepared, replace(canvas, attachments=attachments), save=save)
        if not pictures:
            raise Skipped
        return pictures[0].result()


def step_prompts(params: GenerateParams, step: EnhanceStep) -> Prompts:
    """A step's prompts; the request's own where they are empty."""
    positive, negative = step.enhance_prompt.strip(EMPTY), step.enhance_negative_prompt.strip(EMPTY)
    return (
        step.enhance_prompt if positive else params.prompt,
        step.enhance_negative_prompt if negative else params.negative_prompt,
    )


def mask_options(params: GenerateParams, step: EnhanceStep) -> MaskOptions:
    """What a step looks for in a picture, and with which model."""
    return MaskOptions(
        model=step.enhance_mask_model,
        cloth_category=step.enhance_mask_cloth_category,
        dino_prompt=step.enhance_mask_dino_prompt,
        sam_model=step.enhance_mask_sam_model,
        box_threshold=step.enhance_mask_box_threshold,
        max_detections=step.enhance_mask_sam_max_detections,
        dino_erode_or_dilate=params.dino_erode_or_dilate,
        dino_debug=params.debugging_dino,
    )
