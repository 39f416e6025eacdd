"""One request to its pictures: load, read the prompt, sample, decode, save."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from engine.beginnings import begin, canvas_for
from engine.canvas import Canvas, resampled, unchanged
from engine.drawing import Studio, Texts
from engine.events import Draw, Ended
from engine.guiding import guided
from engine.images import codecs
from engine.images.grid import grid
from engine.images.metadata import Generation, Row
from engine.inputs import Inputs
from engine.interruption import Interruption
from engine.job import Emit, Job, Looked, Skipped, Stopped
from engine.models.catalogue import BUILTIN, Catalogue, Folders
from engine.models.hashes import HashCache
from engine.models.text_encoders import TextEncoders
from engine.names import EXPANSION_STYLE, NO_MODEL
from engine.outbox import Outbox
from engine.params import GenerateParams
from engine.plan import plan_for
from engine.progress import Progress
from engine.prompt.styles import styles_in
from engine.prompt.texts import PictureTexts, picture_texts
from engine.prompt.wildcards import Wildcards
from engine.sampling.guidance import unguided
from engine.saving import Finished, Saver
from engine.store import Models, Store, name_of

log = logging.getLogger(__name__)

ENLARGED = (Row("Upscale (Fast)", "upscale_fast", "2x"),)
"""The record of a picture that was only enlarged; Fooocus's words, whatever the factor."""


class Pipeline:
    """Draws tasks one after another; what they are drawn with stays loaded."""

    def __init__(
        self,
        device: str | torch.device,
        folders: Folders | None = None,
        builtin: Path = BUILTIN,
        hashes: HashCache | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.catalogue = Catalogue(folders or Folders({}), builtin)
        self.wildcards = Wildcards(self.catalogue.folders["wildcards"])
        self.studio = Studio(self.device)
        self.store = Store(self.device, self.catalogue, forget=self.studio.forget)
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
            except Looked as looked:
                self._save_as_is(job, looked.pictures)
                outcome = "finished"
            except Stopped:
                outcome = "stopped"
        log.info("task %s %s: %s", task.task_id, outcome, {name: round(s, 3) for name, s in job.seconds.items()})
        drawn_with = {"checkpoint": name_of(job), "builtin": task.checkpoint is None}
        return Ended(task.task_id, outcome, None, job.seconds, drawn_with, job.notes)

    def _draw(self, job: Job) -> None:
        job.tell(Progress.LOADING, "Loading models ...")
        inputs = Inputs(job.task.inputs)
        beginning = begin(job, self.store, inputs)
        if beginning.enlarged is not None and beginning.enlarged.finished:
            self._save_as_is(job, [beginning.enlarged.image], ENLARGED)
            return
        styles = styles_in(self.catalogue.folders["styles"])
        pictures = picture_texts(job.params, styles, self.wildcards, self.catalogue.loras())
        with job.timed("load"):
            engine = job.params.inpaint_engine if beginning.painting else NO_MODEL
            models = self.store.models(job, pictures[0].loras, engine)
        job.tell(Progress.PROMPTS, "Processing prompts ...")
        pictures = self._expanded(job, pictures)
        texts = encoded(job, models.checkpoint.text_encoders, pictures)
        canvas = canvas_for(job, self.store, models, beginning, pictures[-1].seed)
        canvas = guided(job, self.store, models, inputs, canvas)
        job.note(*resampled(canvas))
        drawn = [
            self._draw_one(job, models, canvas, number, picture, conditioning)
            for number, (picture, conditioning) in enumerate(zip(pictures, texts, strict=True), 1)
        ]
        self._add_grid(job, models, canvas, pictures, [picture for picture in drawn if picture is not None])

    def _save_as_is(self, job: Job, pictures: Sequence[codecs.Pixels], record: Sequence[Row] = ()) -> None:
        """Save pictures that nothing was sampled for."""
        for pixels in pictures:
            self.saver.save(
                job, Finished(job.outbox.do(partial(unchanged, pixels)), job.params.image_seed, record=record)
            )

    def _expanded(self, job: Job, pictures: list[PictureTexts]) -> list[PictureTexts]:
        """The pictures' texts with the words that Fooocus V2 adds, where it is asked for and its model is there."""
        if not any(picture.expand for picture in pictures):
            return pictures
        with job.timed("load"):
            expansion = self.store.expansion()
        if expansion is None:
            job.note("Prompt expansion (Fooocus V2) is off: its model is not installed")
            return [replace(picture, expand=False) for picture in pictures]
        percent, told = job.progress.next(), []
        with job.timed("text"):
            for number, picture in enumerate(pictures, 1):
                job.stop_if_asked()
                job.tell(percent, f"Preparing Fooocus text #{number} ...")
                told.append(picture.expanded(expansion.expand(picture.prompt_line, picture.seed)))
        return told

    def _draw_one(
        self, job: Job, models: Models, canvas: Canvas, number: int, picture: PictureTexts, texts: Texts
    ) -> Future[codecs.Pixels] | None:
        """Sample one picture, and have it decoded and saved; a skipped one leaves a note."""
        count = job.params.image_number
        job.tell(job.progress.at(job.steps_done), f"Preparing task {number}/{count} ...")
        try:
            job.end_picture_if_asked()
            sampled = self.studio.sampled(job, models, canvas, texts, picture.seed, f"image {number}/{count}")
            if job.interruption.take_skip():
                raise Skipped
        except Skipped:
            job.note(f"Image {number} was skipped")
            return None
        job.tell(job.progress.at(job.steps_done), f"Saving image {number}/{count} to system ...")
        pixels = self.studio.decoded(job, models, canvas, sampled)
        self.saver.save(job, Finished(pixels, picture.seed, generation_of(job, models, canvas, picture)))
        return pixels

    def _add_grid(
        self, job: Job, models: Models, canvas: Canvas, pictures: list[PictureTexts], drawn: list[Future[codecs.Pixels]]
    ) -> None:
        """Save all pictures in one, if that is asked for and there are several."""
        if job.params.generate_image_grid and len(drawn) > 1:
            sheet = job.outbox.do(lambda: grid([picture.result() for picture in drawn]))
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
            job.note(*encoders.embedding_notes([*picture.positive, *picture.negative]))
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
        styles=((EXPANSION_STYLE,) if picture.expand else ()) + tuple(picture.styles),
        prompt_expansion=picture.expansion,
        base_model=models.file,
        refiner_model=models.refiner_file,
        vae=models.vae_name,
        loras=models.loras,
        notes=tuple(job.notes),
    )
