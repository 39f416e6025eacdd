"""Enhance: finished pictures varied or enlarged once more, and what is found in them drawn anew, step by step."""

from __future__ import annotations

from collections.abc import Sequence
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
from engine.pipeline.img2img import redraw, vary
from engine.pipeline.init_image import ENLARGED, GENERATOR_SEEDS, enlarged
from engine.pipeline.inpaint import Wish, area, repaint
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.passes import Passes, Ready
from engine.pipeline.upscale import Enlarge
from engine.vision.find_mask import MaskOptions, mask_of

BEFORE, AFTER = "Before First Enhancement", "After Last Enhancement"
ORIGINAL = "Original Prompts"
EMPTY = ",. \r\n"
"""Of nothing else a prompt that stands for the request's own."""

Prompts = tuple[str, str]
"""The positive and the negative prompt."""


class Enhancer:
    """Enhances pictures one after another."""

    def __init__(self, passes: Passes) -> None:
        self.passes, self.store = passes, passes.store

    def enhance(self, job: Job, pictures: Sequence[Pixels]) -> None:
        """Enhance all pictures of a job and save what comes of each step; what is skipped leaves a note.

        Raises:
            CheckpointError: a model file is not there or cannot be used.
            Stopped: a person asked for it.
        """
        for number, picture in enumerate(pictures, 1):
            try:
                self._enhance(job, picture, number)
            except Skipped:
                job.note(f"The enhancement of image {number} was skipped")

    def only_last(self, job: Job) -> bool:
        """Whether nothing but the last picture of each chain is saved."""
        return job.goals.enhance and job.params.save_final_enhanced_image_only

    def _enhance(self, job: Job, picture: Pixels, number: int) -> None:
        params, steps = job.params, job.goals.enhance_steps
        prompts = params.prompt, params.negative_prompt
        order = params.enhance_uov_processing_order if job.goals.enhance_uov else None
        if order == BEFORE:
            picture = self._redrawn(job, picture, prompts, save=not (self.only_last(job) and steps))
        for place, step in enumerate(steps, 1):
            last = place == len(steps) and order != AFTER
            title = f"Enhancing image {number}, step {place}/{len(steps)} ..."
            job.tell(job.progress.at(job.steps_done), title)
            try:
                done = self._repainted(job, picture, step, save=last or not self.only_last(job))
            except Skipped:
                job.note(f"Step {place} of the enhancement of image {number} was skipped")
                continue
            if done is None:
                job.note(f"Step {place} of the enhancement found nothing in image {number}")
                continue
            picture = done
            if params.enhance_uov_prompt_type != ORIGINAL:
                prompts = prompts_of(params, step)
        if order == AFTER:
            self._redrawn(job, picture, prompts, save=True)

    def _redrawn(self, job: Job, picture: Pixels, prompts: Prompts, *, save: bool) -> Pixels:
        """The picture varied or enlarged as the request says."""
        params, method = job.params, job.params.enhance_uov_method
        if method.startswith("Vary"):
            ready, generator = self._ready(job, prompts)
            strength = vary_strength(method, params.overwrite_vary_strength)
            canvas = vary(job, ready.models, picture, job.plan.steps(), strength, generator)
            return self._drawn(job, ready, canvas, save=save)
        larger = enlarged(job, self.store, picture, method)
        if larger.finished:
            if save:
                self.passes.save_unsampled(job, Unsampled([larger.image], ENLARGED))
            return larger.image
        ready, generator = self._ready(job, prompts)
        strength = upscale_strength(params.overwrite_upscale_strength)
        canvas = redraw(job, ready.models, larger.image, job.plan.steps(upscale=True), strength, generator)
        return self._drawn(job, ready, canvas, save=save)

    def _repainted(self, job: Job, picture: Pixels, step: EnhanceStep, *, save: bool) -> Pixels | None:
        """The picture with what a step finds in it drawn anew; None where it finds nothing."""
        mask = self._mask(job, picture, step)
        if mask is None:
            return None
        job.end_picture_if_asked()
        wish = Wish.of_step(step)
        if wish.strength == 0:
            return None
        engine = job.plan.inpaint_engine(wish.engine)
        ready, generator = self._ready(job, prompts_of(job.params, step), engine)
        region = area(
            picture, mask, wish, ready.models.most_pixels, Enlarge(job, self.store.upscaler(builtin=job.plan.builtin))
        )
        head = self.store.inpaint_head(builtin=job.plan.builtin) if ready.models.inpaint_patches else None
        canvas = repaint(job, ready.models, region, wish, job.plan.steps(), head, generator)
        return self._drawn(job, ready, canvas, save=save)

    def _mask(self, job: Job, picture: Pixels, step: EnhanceStep) -> Mask | None:
        """What a step finds, ready to be drawn anew; None where that is nothing."""
        found = mask_of(self.store, picture, options_of(job.params, step))
        height, width = picture.shape[:2]
        grow = int(step.enhance_inpaint_erode_or_dilate)
        mask = inpaint_mask(found.mask, width, height, grow=grow, invert=step.enhance_mask_invert)
        if job.params.debugging_enhance_masks_checkbox:
            self.passes.save_unsampled(job, Unsampled([rgb(mask)]))
        nothing = not found.boxes or not (found.applied or job.params.debugging_dino)
        if (step.enhance_mask_model == "sam" and nothing) or not bool((mask > PAINTED).any()):
            return None
        return mask

    def _ready(self, job: Job, prompts: Prompts, engine: str = NO_MODEL) -> tuple[Ready, torch.Generator]:
        """A pass for one picture of the request's first seed, and the generator of its VAE's noise."""
        params = replace(job.params, prompt=prompts[0], negative_prompt=prompts[1], image_number=1)
        ready = self.passes.ready(job, params, engine)
        return ready, torch.Generator().manual_seed(ready.last_seed % GENERATOR_SEEDS)

    def _drawn(self, job: Job, ready: Ready, canvas: Canvas, *, save: bool) -> Pixels:
        attachments = (*ready.models.inpaint_patches, *canvas.attachments, *freeu(job.params))
        pictures = self.passes.draw(job, ready, replace(canvas, attachments=attachments), save=save)
        if not pictures:
            raise Skipped
        return pictures[0].result()


def prompts_of(params: GenerateParams, step: EnhanceStep) -> Prompts:
    """A step's prompts; the request's own where they are empty."""
    positive, negative = step.enhance_prompt.strip(EMPTY), step.enhance_negative_prompt.strip(EMPTY)
    return (
        step.enhance_prompt if positive else params.prompt,
        step.enhance_negative_prompt if negative else params.negative_prompt,
    )


def options_of(params: GenerateParams, step: EnhanceStep) -> MaskOptions:
    """What a step looks for in a picture."""
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
