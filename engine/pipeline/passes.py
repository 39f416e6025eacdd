"""A pass: a request's texts read and encoded, its models ready, its pictures sampled, decoded and saved."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace

from engine.choices import EXPANSION_STYLE, NO_MODEL
from engine.images import codecs
from engine.images.metadata import Generation
from engine.interruption import Skipped
from engine.model_store import Models, Store
from engine.models.text_encoders import TextEncoders
from engine.params import GenerateParams
from engine.pipeline.canvas import Canvas, Finish, resampled
from engine.pipeline.draw import Studio, Texts
from engine.pipeline.job import Job, Unsampled
from engine.pipeline.save import Finished, Saver
from engine.progress import Progress
from engine.prompt.styles import styles_in
from engine.prompt.texts import PictureTexts, picture_texts
from engine.prompt.wildcards import Wildcards
from engine.sampling.guidance import unguided


@dataclass(frozen=True)
class Ready:
    """What a pass draws with: its models, and each picture's texts, read and encoded."""

    models: Models
    pictures: list[PictureTexts]
    texts: list[Texts]

    @property
    def last_seed(self) -> int:
        """The seed of the last picture."""
        return self.pictures[-1].seed


class Passes:
    """Makes passes ready and draws them."""

    def __init__(self, store: Store, studio: Studio, saver: Saver) -> None:
        self.store, self.studio, self.saver = store, studio, saver
        self.catalogue = store.catalogue
        self.wildcards = Wildcards(self.catalogue.folders["wildcards"])

    def ready(self, job: Job, params: GenerateParams, inpaint_engine: str = NO_MODEL) -> Ready:
        """Load and patch what draws `params`, which are the job's but for the texts and the number of pictures.

        Raises:
            CheckpointError: a model file cannot be drawn with.
            Stopped: a person asked for it.
        """
        styles = styles_in(self.catalogue.folders["styles"])
        pictures = picture_texts(params, styles, self.wildcards, self.catalogue.loras())
        with job.timed("load"):
            models = self.store.models(job, pictures[0].loras, inpaint_engine)
        job.tell(Progress.PROMPTS, "Processing prompts ...")
        pictures = self._expanded(job, pictures)
        return Ready(models, pictures, encoded(job, models.checkpoint.text_encoders, pictures))

    def draw(self, job: Job, ready: Ready, canvas: Canvas, *, save: bool = True) -> list[Future[codecs.Pixels]]:
        """Draw all pictures of a pass, save them if wanted; those skipped leave notes."""
        job.note(*resampled(canvas))
        if job.params.black_out_nsfw:
            canvas = replace(canvas, finish=self._censoring(job, canvas.finish))
        numbers = range(len(ready.pictures))
        drawn = [self._draw_one(job, ready, canvas, number, save=save) for number in numbers]
        return [picture for picture in drawn if picture is not None]

    def _censoring(self, job: Job, finish: Finish) -> Finish:
        """What finishes a picture, and blackens one that is not safe for work."""
        with job.timed("load"):
            checker = self.store.safety_checker()
        return lambda pixels: checker.censor([finish(pixels)])[0]

    def save_unsampled(self, job: Job, result: Unsampled) -> None:
        """Save pictures that nothing was sampled for."""
        pictures = result.pictures
        if job.params.black_out_nsfw:
            pictures = self.store.safety_checker().censor(pictures)
        self.saver.save_as_they_are(job, pictures, result.record)

    def generation_of(self, job: Job, ready: Ready, canvas: Canvas, number: int) -> Generation:
        """How a picture was drawn, for its metadata."""
        models, picture = ready.models, ready.pictures[number]
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
        self, job: Job, ready: Ready, canvas: Canvas, index: int, *, save: bool
    ) -> Future[codecs.Pixels] | None:
        """Sample one picture, and have it decoded and saved; a skipped one leaves a note."""
        number, count = index + 1, len(ready.pictures)
        picture = ready.pictures[index]
        job.tell(job.progress.at(job.steps_done), f"Preparing task {number}/{count} ...")
        try:
            job.end_picture_if_asked()
            title = f"image {number}/{count}"
            sampled = self.studio.sampled(job, ready.models, canvas, ready.texts[index], picture.seed, title)
            if job.interruption.take_skip():
                raise Skipped
        except Skipped:
            job.note(f"Image {number} was skipped")
            return None
        pixels = self.studio.decoded(job, ready.models, canvas, sampled)
        if save:
            job.tell(job.progress.at(job.steps_done), f"Saving image {number}/{count} to system ...")
            self.saver.save(job, Finished(pixels, picture.seed, self.generation_of(job, ready, canvas, index)))
        return pixels


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
