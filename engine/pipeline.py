"""One request to its pictures: load, read the prompt, sample, decode, save."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from engine.events import Draw, Ended, Progressed
from engine.images import codecs
from engine.images.grid import grid
from engine.images.metadata import Generation, ModelFile
from engine.interruption import Interruption
from engine.job import Emit, Job, Skipped, Stopped
from engine.models.catalogue import BUILTIN
from engine.models.checkpoint import Checkpoint, load_checkpoint
from engine.models.hashes import HashCache
from engine.models.text_encoders import Conditioning
from engine.names import BUILTIN_CHECKPOINT, NO_MODEL
from engine.outbox import Outbox
from engine.params import GenerateParams
from engine.plan import Plan, plan_for
from engine.progress import Progress
from engine.prompt.styles import Styles
from engine.prompt.texts import PictureTexts, picture_texts
from engine.prompt.wildcards import Wildcards
from engine.sampling.denoiser import Denoiser, Guidance
from engine.sampling.guidance import unguided
from engine.sampling.model_sampling import model_sampling
from engine.sampling.native import enlarged, sampled_size
from engine.sampling.noise import noise_for, start_state, starting_noise
from engine.sampling.previews import Previewer
from engine.sampling.samplers import SAMPLERS
from engine.sampling.schedules import brownian_range, sigmas_for
from engine.sampling.step import Run, Step
from engine.saving import Finished, Saver

log = logging.getLogger(__name__)

LATENT_PIXELS = 8


@dataclass
class Loaded:
    """The checkpoint in memory, and the file it came from as it was then."""

    checkpoint: Checkpoint
    file: tuple[str, int, int]

    @cached_property
    def previewer(self) -> Previewer:
        """How to see this checkpoint's latents."""
        return Previewer(self.checkpoint.vae)


class Pipeline:
    """Draws tasks one after another; the last checkpoint stays loaded."""

    def __init__(
        self,
        device: str | torch.device,
        wildcards: Path | None = None,
        builtin: Path = BUILTIN,
        hashes: HashCache | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.builtin = builtin
        self.styles = Styles()
        self.wildcards = Wildcards([wildcards] if wildcards else [])
        self.saver = Saver(hashes)
        self._loaded: Loaded | None = None

    @torch.inference_mode()
    def draw(self, task: Draw, emit: Emit, interruption: Interruption | None = None) -> Ended:
        """Draw the task's pictures into its outputs; `emit` hears of everything but the end, from another thread.

        Raises:
            CheckpointError: the checkpoint cannot be drawn with.
            OSError: a picture could not be written.
        """
        plan = plan_for(GenerateParams.from_dict(task.params), builtin=task.checkpoint is None)
        with Outbox(emit) as outbox:
            job = Job(task, plan, outbox, interruption or Interruption(), notes=[*task.notes, *plan.notes])
            outcome = self._outcome(job)
        log.info("task %s %s: %s", task.task_id, outcome, {name: round(s, 3) for name, s in job.seconds.items()})
        drawn_with = {"checkpoint": self._name(job), "builtin": task.checkpoint is None}
        return Ended(task.task_id, outcome, None, job.seconds, drawn_with, job.notes)

    def _outcome(self, job: Job) -> str:
        try:
            loaded = self._load(job)
            pictures = picture_texts(job.params, self.styles, self.wildcards)
            job.note(*left_out(job.plan, pictures), *resampled(job.params, loaded.checkpoint))
            conditionings = self._encoded(job, loaded.checkpoint, pictures)
            drawn = []
            for index, (picture, conditioning) in enumerate(zip(pictures, conditionings, strict=True)):
                pixels = self._draw_one(job, loaded, index, picture, conditioning)
                if pixels is not None:
                    drawn.append(pixels)
            self._add_grid(job, drawn, pictures)
        except Stopped:
            return "stopped"
        return "finished"

    def _load(self, job: Job) -> Loaded:
        """The task's checkpoint, in memory."""
        job.tell(Progress.LOADING, "Loading models ...")
        path = self._path(job)
        with job.timed("load"):
            if self._loaded is None or self._loaded.file != _identity(path):
                self._loaded = None
                gc.collect()
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._loaded = Loaded(load_checkpoint(path, self.device), _identity(path))
        return self._loaded

    def _encoded(
        self, job: Job, checkpoint: Checkpoint, pictures: list[PictureTexts]
    ) -> list[tuple[Conditioning, Conditioning | None]]:
        """Each picture's positive and negative conditioning; no negative one where guidance does not use it."""
        count, clip_skip = len(pictures), job.params.clip_skip
        job.tell(Progress.PROMPTS, "Processing prompts ...")
        positive: list[Conditioning] = []
        negative: list[Conditioning | None] = []
        with job.timed("text"):
            for number, picture in enumerate(pictures, 1):
                job.stop_if_asked()
                job.tell(
                    job.progress.next() if number == 1 else job.progress.prepared,
                    f"Encoding the prompt of image {number}/{count} ...",
                )
                positive.append(checkpoint.text_encoders.encode(picture.positive, picture.positive_top_k, clip_skip))
            for number, picture in enumerate(pictures, 1):
                job.stop_if_asked()
                if unguided(job.params.guidance_scale):
                    negative.append(None)
                    continue
                job.tell(
                    job.progress.next() if number == 1 else job.progress.prepared,
                    f"Encoding the negative prompt of image {number}/{count} ...",
                )
                negative.append(checkpoint.text_encoders.encode(picture.negative, picture.negative_top_k, clip_skip))
        return list(zip(positive, negative, strict=True))

    def _draw_one(
        self,
        job: Job,
        loaded: Loaded,
        index: int,
        picture: PictureTexts,
        conditioning: tuple[Conditioning, Conditioning | None],
    ) -> codecs.Pixels | None:
        """Sample, decode and save one picture; a skipped one leaves a note."""
        number, count = index + 1, job.params.image_number
        job.tell(job.progress.at(job.steps_done), f"Preparing task {number}/{count} ...")
        try:
            job.end_picture_if_asked()
            with job.timed("sampling"):
                latent = self._sampled(job, loaded, index, picture.seed, conditioning)
                if not bool(latent.isfinite().all()):  # also waits for a GPU, so that the stages' times are true
                    raise ArithmeticError("sampling ended in values that are no numbers; try another sampler or model")
            with job.timed("decode"):
                pixels = loaded.checkpoint.vae.decode(latent)[0]
            if job.interruption.take_skip():
                raise Skipped
        except Skipped:
            job.note(f"Image {number} was skipped")
            return None
        job.steps_done += job.plan.steps().count
        job.tell(job.progress.at(job.steps_done), f"Saving image {number}/{count} to system ...")
        self.saver.save(job, Finished(pixels, picture.seed, self._generation(job, picture)))
        return pixels

    def _add_grid(self, job: Job, drawn: list[codecs.Pixels], pictures: list[PictureTexts]) -> None:
        """Save all pictures in one, if that is asked for and they are alike in size."""
        sheet = grid(drawn) if job.params.generate_image_grid else None
        if sheet is not None:
            self.saver.save(job, Finished(sheet, pictures[0].seed, self._generation(job, pictures[0])))

    def _sampled(
        self,
        job: Job,
        loaded: Loaded,
        index: int,
        seed: int,
        conditioning: tuple[Conditioning, Conditioning | None],
    ) -> Tensor:
        """The clean latent `[1, channels, h, w]` of one picture, in the UNet's scale."""
        params, checkpoint = job.params, loaded.checkpoint
        sampler, scheduler, steps = params.sampler_name, params.scheduler_name, job.plan.steps().count
        width, height = sampled_size(generation_size(params), checkpoint.most_pixels)
        shape = (1, checkpoint.latent_channels, height // LATENT_PIXELS, width // LATENT_PIXELS)
        sampling = model_sampling(checkpoint.prediction, scheduler)
        sigmas = sigmas_for(sampling, scheduler, sampler, steps)
        empty = torch.zeros(shape, device=self.device)
        x = start_state(starting_noise(seed, shape).to(self.device), empty, sigmas, sampling)
        noise = noise_for(sampler, x, seed, *brownian_range(sampling, scheduler, sampler, steps))
        denoise = Denoiser(checkpoint.unet, sampling, guidance_of(params), *conditioning, (width, height))
        latent = driven(
            SAMPLERS[sampler](denoise, x, sigmas, noise, sampling), lambda step: self._stepped(job, loaded, index, step)
        )
        return at_full_size(latent, params)

    def _stepped(self, job: Job, loaded: Loaded, index: int, step: Step) -> None:
        """At every sampling step: end if asked, then tell how far it is and what is to be seen."""
        job.end_picture_if_asked()
        steps = job.plan.steps().count
        number = min(step.index + 1, steps)
        percent = job.progress.at(job.steps_done + number)
        message = f"Sampling step {number}/{steps}, image {index + 1}/{job.params.image_number} ..."
        if job.params.disable_preview or job.outbox.busy:
            job.tell(percent, message)
            return
        seen = loaded.previewer.pixels(at_full_size(step.denoised, job.params))
        task_id = job.task.task_id
        job.outbox.send(lambda: Progressed(task_id, percent, message, codecs.encode_small_png(seen.cpu().numpy())))

    def _generation(self, job: Job, picture: PictureTexts) -> Generation:
        """How the picture was drawn, for its metadata."""
        return Generation(
            params=job.params,
            seed=picture.seed,
            steps=job.plan.steps().count,
            size=generation_size(job.params),
            prompt=picture.prompt,
            negative_prompt=picture.negative_prompt,
            positive_texts=tuple(picture.positive),
            negative_texts=tuple(picture.negative),
            styles=tuple(picture.styles),
            base_model=ModelFile(self._name(job), path=self._path(job)),
            notes=tuple(job.notes),
        )

    def _path(self, job: Job) -> Path:
        """The checkpoint's file."""
        return self.builtin if job.task.checkpoint is None else Path(job.task.checkpoint)

    def _name(self, job: Job) -> str:
        """The checkpoint's name as requests spell it."""
        return BUILTIN_CHECKPOINT if job.task.checkpoint is None else job.params.base_model_name


def generation_size(params: GenerateParams) -> tuple[int, int]:
    """Width and height of what is drawn: whole latent pixels."""
    width, height = params.size
    return width // LATENT_PIXELS * LATENT_PIXELS, height // LATENT_PIXELS * LATENT_PIXELS


def at_full_size(latent: Tensor, params: GenerateParams) -> Tensor:
    """A latent enlarged, if it was sampled smaller than the picture."""
    width, height = generation_size(params)
    return enlarged(latent, height // LATENT_PIXELS, width // LATENT_PIXELS)


def resampled(params: GenerateParams, checkpoint: Checkpoint) -> list[str]:
    """What to tell of a size the checkpoint was not trained for."""
    asked = generation_size(params)
    sampled = sampled_size(asked, checkpoint.most_pixels)
    if sampled == asked:
        return []
    (width, height), (full_width, full_height) = sampled, asked
    return [
        f"Sampled at {width}×{height}, which this model was trained for, and enlarged to {full_width}×{full_height}"
    ]


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


def guidance_of(params: GenerateParams) -> Guidance:
    """How strongly the prompt counts in a request."""
    return Guidance(
        params.guidance_scale,
        params.adaptive_cfg,
        params.sharpness,
        params.adm_scaler_positive,
        params.adm_scaler_negative,
        params.adm_scaler_end,
    )


def driven(run: Run, on_step: Callable[[Step], None]) -> Tensor:
    """The last state of a sampler's run; `on_step` hears of every step."""
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            return end.value
        on_step(step)


def _identity(path: Path) -> tuple[str, int, int]:
    """Which file, in which state; a missing one is for the loader to tell."""
    if not path.is_file():
        return str(path), 0, 0
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
