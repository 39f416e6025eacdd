"""A pass: texts expanded and encoded, models loaded and patched, pictures sampled, decoded and saved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from engine.adapters.controlnet import Control
from engine.adapters.patched_models import Models
from engine.choices import EXPANSION_STYLE, NO_MODEL
from engine.images import codecs
from engine.images.metadata import Generation
from engine.interruption import Skipped
from engine.model_store import ModelStore
from engine.models.text_encoders import TextEncoders
from engine.params import GenerateParams
from engine.pipeline.canvas import Canvas, Finish, size_notes
from engine.pipeline.decoding import Undecoded
from engine.pipeline.draw import EncodedTexts, Renderer
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.memory import STEPPED_DOWN, Memory
from engine.pipeline.save import FinishedPicture, Saver
from engine.progress import Progress
from engine.prompt.styles import styles_in
from engine.prompt.texts import PictureTexts, picture_texts
from engine.prompt.wildcards import Wildcards
from engine.sampling.conditioning import Conditioning
from engine.sampling.guidance import unguided
from engine.sampling.sampling_run import Sampled

Result = TypeVar("Result")


@dataclass(frozen=True)
class PreparedPass:
    """What a pass draws with: its models, and each picture's texts, plain and encoded."""

    models: Models
    pictures: list[PictureTexts]
    texts: list[EncodedTexts]

    @property
    def last_seed(self) -> int:
        """The seed of the last picture."""
        return self.pictures[-1].seed


class Passes:
    """Prepares passes and draws them."""

    def __init__(self, store: ModelStore, renderer: Renderer, saver: Saver, memory: Memory) -> None:
        self.store, self.renderer, self.saver, self.memory = store, renderer, saver, memory
        self.catalogue = store.catalogue
        self.wildcards = Wildcards(self.catalogue.folders["wildcards"])

    def prepare(self, job: Job, params: GenerateParams, inpaint_engine: str = NO_MODEL) -> PreparedPass:
        """The pass for `params`, which are the job's except for the texts and the number of pictures.

        Raises:
            CheckpointError: a model file is missing or cannot be used.
            Stopped: a person stopped the task.
        """
        styles = styles_in(self.catalogue.folders["styles"])
        pictures = picture_texts(params, styles, self.wildcards, self.catalogue.loras())
        job.add_notes(*(note for picture in pictures for note in picture.notes))
        with job.timed("load"):
            models = job.models = self.store.models(job.plan, pictures[0].loras, inpaint_engine)
            self.memory.make_plan(job, models)
        job.add_notes(*models.notes)
        job.report_progress(Progress.PROMPTS, "Processing prompts ...")
        pictures, encoders = self._expand_prompts(job, pictures), models.checkpoint.text_encoders
        job.prompt_tokens = job.prompt_tokens or encoders.count_tokens(pictures[0].prompt)
        return PreparedPass(models, pictures, encode_texts(job, encoders, pictures))

    def draw(
        self,
        job: Job,
        prepared: PreparedPass,
        canvas: Canvas,
        drawn: dict[int, Future[codecs.Pixels] | None] | None = None,
        *,
        save: bool = True,
    ) -> list[Future[codecs.Pixels]]:
        """Draw all pictures of a pass and save them if `save`; each skipped one leaves a note.

        `drawn` has those of an earlier try, by place, and gets the others.
        """
        drawn = {} if drawn is None else drawn
        job.add_notes(*size_notes(canvas))
        self.memory.make_plan(job, prepared.models, canvas.sampled)
        self.memory.drop_guests()
        if job.params.black_out_nsfw:
            canvas = replace(canvas, finish=self._with_safety_checker(job, canvas))
        for index in range(len(prepared.pictures)):
            if index not in drawn:
                drawn[index] = self._draw_one(job, prepared, canvas, index, save=save)
        self._going_on(job, canvas, lambda: self._decode_all(job))
        return [picture for picture in drawn.values() if picture is not None]

    def _with_safety_checker(self, job: Job, canvas: Canvas) -> Finish:
        """How the canvas finishes a picture, after which one that is not safe for work is blackened."""
        with job.timed("load"):
            checker, finish = self._going_on(job, canvas, self.store.safety_checker), canvas.finish
        return lambda pixels: checker.censor([finish(pixels)])[0]

    def save_unsampled(self, job: Job, result: Unsampled) -> None:
        """Save pictures that nothing was sampled for."""
        pictures = result.pictures
        if job.params.black_out_nsfw:
            pictures = self.memory.going_on(job, lambda: self.store.safety_checker().censor(result.pictures))
        self.saver.save_unsampled(job, pictures, result.record)

    def generation(self, job: Job, prepared: PreparedPass, canvas: Canvas, number: int) -> Generation:
        """The metadata of how a picture was drawn."""
        models, picture = prepared.models, prepared.pictures[number]
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
            notes=tuple(note for note in job.notes if note != STEPPED_DOWN),  # which changes no picture
        )

    def _expand_prompts(self, job: Job, pictures: list[PictureTexts]) -> list[PictureTexts]:
        """The texts with the words that Fooocus V2 adds, where that is requested and its model is installed."""
        if not any(picture.expand for picture in pictures):
            return pictures
        with job.timed("load"):
            expansion = self.store.expansion()
        if expansion is None:
            job.add_notes("Prompt expansion (Fooocus V2) is off: its model is not installed")
            return [replace(picture, expand=False) for picture in pictures]
        percent = job.progress.next()
        with job.timed("text"):
            for number in range(1, len(pictures) + 1):
                job.report_progress(percent, f"Preparing Fooocus text #{number} ...")
            texts = [(picture.prompt_line, picture.seed) for picture in pictures]
            expanded = expansion.expand_all(texts, job.stop_if_asked)
        return [picture.expanded(text) for picture, text in zip(pictures, expanded, strict=True)]

    def _draw_one(
        self, job: Job, prepared: PreparedPass, canvas: Canvas, index: int, *, save: bool
    ) -> Future[codecs.Pixels] | None:
        """Sample one picture and have it decoded and saved; None for a skipped one, which leaves a note."""
        number, count = index + 1, len(prepared.pictures)
        picture = prepared.pictures[index]
        job.report_progress(job.progress.at(job.steps_done), f"Preparing task {number}/{count} ...")
        try:
            job.end_picture_if_asked()
            title = f"image {number}/{count}"
            sampled = self._going_on(job, canvas, lambda: self._sample(job, prepared, canvas, index, title))
            if job.interruption.take_skip():
                raise Skipped
        except Skipped:
            job.add_notes(f"Image {number} was skipped")
            return None
        pixels = self.renderer.decode(job, prepared.models, canvas, sampled)
        if save:
            job.report_progress(job.progress.at(job.steps_done), f"Saving image {number}/{count} to system ...")
            self.saver.save(job, FinishedPicture(pixels, picture.seed, self.generation(job, prepared, canvas, index)))
        return pixels

    def _sample(self, job: Job, prepared: PreparedPass, canvas: Canvas, index: int, title: str) -> Sampled:
        """The latent of a picture, once those before it that ran out of memory are decoded."""
        self._decode_again(job)
        seed, texts = prepared.pictures[index].seed, prepared.texts[index]
        return self.renderer.sample(job, prepared.models, canvas, texts, seed, title)

    def _decode_all(self, job: Job) -> None:
        """Wait until all pictures are decoded."""
        job.outbox.settle()
        self._decode_again(job)

    def _decode_again(self, job: Job) -> None:
        """Decode once more what ran out of memory, now that the plan is smaller.

        Raises:
            Undecoded: the plan in force is the one under which that happened.
        """
        while job.undecoded:
            if any(decoding.failed_under == self.memory.plan for decoding in job.undecoded):
                raise Undecoded
            self.renderer.attempt(job, job.undecoded.pop(0))
            job.outbox.settle()

    def _going_on(self, job: Job, canvas: Canvas, work: Callable[[], Result]) -> Result:
        """The result of `work`, begun again under a smaller plan where it runs out of memory.

        Control nets that were made where everything stays share the UNet's weights, which move under a smaller plan:
        the failure is then the task's, which goes on with nets that are made again.
        """
        if self.memory.plan.mode == "resident" and any(isinstance(part, Control) for part in canvas.attachments):
            return work()
        return self.memory.going_on(job, work)


def encode_texts(job: Job, encoders: TextEncoders, pictures: list[PictureTexts]) -> list[EncodedTexts]:
    """Each picture's positive and negative conditioning; all positive ones first. Equal texts share it."""
    count, known = len(pictures), dict[tuple[tuple[str, ...], int], Conditioning]()

    def encode(texts: list[str], top_k: int) -> Conditioning:
        key = (tuple(texts), top_k)
        if key not in known:
            known[key] = encoders.encode(texts, top_k, job.params.clip_skip, job.stop_if_asked)
        return known[key]

    with job.timed("text"):
        percent = job.progress.next()
        positive = []
        for number, picture in enumerate(pictures, 1):
            job.stop_if_asked()
            job.report_progress(percent, f"Encoding the prompt of image {number}/{count} ...")
            job.add_notes(*encoders.embedding_notes([*picture.positive, *picture.negative]))
            positive.append(encode(picture.positive, picture.positive_top_k))
        percent = job.progress.next()
        if unguided(job.params.guidance_scale):
            return [(conditioning, None) for conditioning in positive]
        texts: list[EncodedTexts] = []
        for number, picture in enumerate(pictures, 1):
            job.stop_if_asked()
            job.report_progress(percent, f"Encoding the negative prompt of image {number}/{count} ...")
            texts.append((positive[number - 1], encode(picture.negative, picture.negative_top_k)))
        return texts
