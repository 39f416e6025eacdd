"""One request to its pictures: load, read the prompt, sample, decode, save."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from engine.drawing import Canvas, Studio, Texts, resampled, whole_latent_pixels
from engine.events import Draw, Ended
from engine.images import codecs
from engine.images.grid import grid
from engine.images.metadata import Generation
from engine.interruption import Interruption
from engine.job import Emit, Job, Skipped, Stopped
from engine.models.catalogue import BUILTIN
from engine.models.hashes import HashCache
from engine.models.text_encoders import TextEncoders
from engine.names import NO_MODEL
from engine.outbox import Outbox
from engine.params import GenerateParams
from engine.plan import Plan, plan_for
from engine.progress import Progress
from engine.prompt.styles import Styles
from engine.prompt.texts import PictureTexts, picture_texts
from engine.prompt.wildcards import Wildcards
from engine.sampling.attachments import Attachment
from engine.sampling.freeu import FreeU
from engine.sampling.guidance import unguided
from engine.saving import Finished, Saver
from engine.store import Models, Store, name_of

log = logging.getLogger(__name__)


class Pipeline:
    """Draws tasks one after another; what they are drawn with stays loaded."""

    def __init__(
        self,
        device: str | torch.device,
        wildcards: Path | None = None,
        builtin: Path = BUILTIN,
        hashes: HashCache | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.styles = Styles()
        self.wildcards = Wildcards([wildcards] if wildcards else [])
        self.store = Store(self.device, builtin)
        self.studio = Studio(self.device)
        self.saver = Saver(hashes)

    @torch.inference_mode()
    def draw(self, task: Draw, emit: Emit, interruption: Interruption | None = None) -> Ended:
        """Draw the task's pictures into its outputs; `emit` hears of everything but the end, from another thread.

        Raises:
            CheckpointError: a model file cannot be drawn with.
            OSError: a picture could not be written.
        """
        plan = plan_for(GenerateParams.from_dict(task.params), builtin=task.checkpoint is None)
        with Outbox(emit) as outbox:
            job = Job(task, plan, outbox, interruption or Interruption(), notes=[*task.notes, *plan.notes])
            try:
                self._draw(job)
                outcome = "finished"
            except Stopped:
                outcome = "stopped"
        log.info("task %s %s: %s", task.task_id, outcome, {name: round(s, 3) for name, s in job.seconds.items()})
        drawn_with = {"checkpoint": name_of(job), "builtin": task.checkpoint is None}
        return Ended(task.task_id, outcome, None, job.seconds, drawn_with, job.notes)

    def _draw(self, job: Job) -> None:
        job.tell(Progress.LOADING, "Loading models ...")
        with job.timed("load"):
            models = self.store.models(job)
        job.tell(Progress.PROMPTS, "Processing prompts ...")
        pictures = picture_texts(job.params, self.styles, self.wildcards)
        job.note(*left_out(job.plan, pictures))
        texts = encoded(job, models.checkpoint.text_encoders, pictures)
        canvas = Canvas(whole_latent_pixels(job.params.size), job.plan.steps(), attachments=attachments_of(job.params))
        job.note(*resampled(canvas.size, models.most_pixels))
        drawn = [
            self._draw_one(job, models, canvas, number, picture, conditioning)
            for number, (picture, conditioning) in enumerate(zip(pictures, texts, strict=True), 1)
        ]
        self._add_grid(job, models, canvas, pictures, [pixels for pixels in drawn if pixels is not None])

    def _draw_one(
        self, job: Job, models: Models, canvas: Canvas, number: int, picture: PictureTexts, texts: Texts
    ) -> codecs.Pixels | None:
        """Sample, decode and save one picture; a skipped one leaves a note."""
        count = job.params.image_number
        job.tell(job.progress.at(job.steps_done), f"Preparing task {number}/{count} ...")
        try:
            job.end_picture_if_asked()
            sampled = self.studio.sampled(job, models, canvas, texts, picture.seed, f"image {number}/{count}")
            pixels = self.studio.decoded(job, models, canvas, sampled)
            if job.interruption.take_skip():
                raise Skipped
        except Skipped:
            job.note(f"Image {number} was skipped")
            return None
        job.tell(job.progress.at(job.steps_done), f"Saving image {number}/{count} to system ...")
        self.saver.save(job, Finished(pixels, picture.seed, generation_of(job, models, canvas, picture)))
        return pixels

    def _add_grid(
        self, job: Job, models: Models, canvas: Canvas, pictures: list[PictureTexts], drawn: list[codecs.Pixels]
    ) -> None:
        """Save all pictures in one, if that is asked for and they are alike in size."""
        sheet = grid(drawn) if job.params.generate_image_grid else None
        if sheet is not None:
            generation = generation_of(job, models, canvas, pictures[0])
            self.saver.save(job, Finished(sheet, pictures[0].seed, generation))


def encoded(job: Job, encoders: TextEncoders, pictures: list[PictureTexts]) -> list[Texts]:
    """Each picture's positive and negative conditioning; all positive ones first."""
    count, clip_skip = len(pictures), job.params.clip_skip
    with job.timed("text"):
        percent = job.progress.next()
        positive = []
        for number, picture in enumerate(pictures, 1):
            job.stop_if_asked()
            job.tell(percent, f"Encoding the prompt of image {number}/{count} ...")
            positive.append(encoders.encode(picture.positive, picture.positive_top_k, clip_skip))
        percent = job.progress.next()
        if unguided(job.params.guidance_scale):
            return [(conditioning, None) for conditioning in positive]
        texts: list[Texts] = []
        for number, picture in enumerate(pictures, 1):
            job.stop_if_asked()
            job.tell(percent, f"Encoding the negative prompt of image {number}/{count} ...")
            negative = encoders.encode(picture.negative, picture.negative_top_k, clip_skip)
            texts.append((positive[number - 1], negative))
        return texts


def attachments_of(params: GenerateParams) -> tuple[Attachment, ...]:
    """What every picture of the request has on its UNet."""
    if not params.freeu_enabled:
        return ()
    return (FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2),)


def generation_of(job: Job, models: Models, canvas: Canvas, picture: PictureTexts) -> Generation:
    """How a picture was drawn, for its metadata."""
    return Generation(
        params=job.params,
        seed=picture.seed,
        steps=canvas.steps.count,
        size=canvas.size,
        prompt=picture.prompt,
        negative_prompt=picture.negative_prompt,
        positive_texts=tuple(picture.positive),
        negative_texts=tuple(picture.negative),
        styles=tuple(picture.styles),
        base_model=models.file,
        refiner_model=models.refiner,
        vae=models.vae,
        loras=models.loras,
        notes=tuple(job.notes),
    )


def left_out(plan: Plan, pictures: list[PictureTexts]) -> list[str]:
    """What the request and the texts of its pictures ask for and is not there.

    Raises:
        ValueError: it cannot be left out.
    """
    if plan.lora:
        raise ValueError(
            f"the performance {plan.mode.name} needs its LoRA {plan.lora[0]}, and LoRAs are not applied yet"
        )
    loras = [lora.model_name for lora in plan.params.loras if lora.enabled and lora.model_name != NO_MODEL]
    notes = [f"The LoRA {name} is left out: LoRAs cannot be applied yet" for name in loras]
    if any(picture.expand for picture in pictures):
        notes.append("Prompt expansion (Fooocus V2) is off: its model is not installed")
    if any("<lora:" in text for picture in pictures for text in picture.positive):
        notes.append("LoRA tags in the prompt are read as plain text: no LoRA can be applied yet")
    return notes
