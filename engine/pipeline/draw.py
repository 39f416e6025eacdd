"""Draws one picture: samples its latent from its canvas, with a callback at each step, and decodes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine.adapters.patched_models import Models
from engine.gpu.capabilities import Features
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.launch_ahead import LaunchAhead
from engine.gpu.residency import Residency
from engine.gpu.side_stream import Fetched, SideStream
from engine.images import codecs
from engine.memory_plan import Mode
from engine.messages import Progressed
from engine.models.vae import Vae
from engine.params import GenerateParams
from engine.pipeline.canvas import Canvas
from engine.pipeline.decoding import Decoding, Undecoded
from engine.pipeline.job import Job
from engine.progress import sampling_message
from engine.sampling.conditioning import Conditioning
from engine.sampling.denoiser import Guidance
from engine.sampling.graphs import Graphs
from engine.sampling.sample import sample
from engine.sampling.sampling_run import Sampled, SamplingRun
from engine.sampling.step import Step

EncodedTexts = tuple[Conditioning, Conditioning | None]
"""A picture's positive and negative conditioning; None where guidance does not use the latter."""


class Renderer:
    """Samples and decodes pictures with the models it is given; keeps the recorded CUDA graphs."""

    def __init__(
        self, device: torch.device, kernels: Kernels | None = None, least: Mode = "resident", *, keep: bool = False
    ) -> None:
        self.device = device
        self.residency = Residency(device, self.forget_all, least, keep=keep)
        self.graphs = Graphs(kernels=lambda: kernels and kernels.now) if Features.for_device(device).graphs else None
        self.residency.recorded = lambda: bool(self.graphs)
        self.side_stream = SideStream(device)

    def forget(self) -> None:
        """Drop the graphs of models that are no longer loaded."""
        if self.graphs is not None:
            self.graphs.drop_dead()

    def forget_all(self) -> None:
        """Drop all graphs: weights have moved."""
        if self.graphs is not None:
            self.graphs.clear()

    def sample(self, job: Job, models: Models, canvas: Canvas, texts: EncodedTexts, seed: int, title: str) -> Sampled:
        """The denoised latent of one picture at the canvas's size.

        Raises:
            Stopped, Skipped: a person asked for it.
            Undecoded: there is no memory for the decoding of an earlier picture.
        """
        with job.timed("sampling"):
            return self._sample(job, models, canvas, texts, seed, title)

    def _sample(self, job: Job, models: Models, canvas: Canvas, texts: EncodedTexts, seed: int, title: str) -> Sampled:
        callback = StepCallback(job, models, canvas, title, LaunchAhead(self.device))
        run, plan = sampling_run(job.params, models, canvas, texts, seed), self.residency.plan
        moving = plan.streamed > 0 or (not plan.overlaps and models.refiner is not None)
        if plan.budget is not None and not job.params.disable_preview:
            models.previewer("base")  # it may have to be fitted to the VAE, which then leaves
        unets = [models.checkpoint.unet, *([] if models.refiner is None else [models.refiner.unet])]
        with ExitStack() as staying:
            staying.enter_context(self.residency.steady())
            for unet in [] if moving else unets:
                staying.enter_context(self.residency.staying(unet))
            sampled = sample(run, callback, None if moving else job.together or self.graphs)
        callback.launch_ahead.finish()  # so that the stages' times are true
        job.steps_done += canvas.steps.count
        return sampled

    def decode(self, job: Job, models: Models, canvas: Canvas, sampled: Sampled) -> Future[codecs.Pixels]:
        """The finished picture of a denoised latent, decoded beside the sampling of the next.

        A later call on the outbox raises its failure, and an `ArithmeticError` for a latent that is not finite; one
        that runs out of memory waits among the job's to be decoded again.
        """
        mark = self.side_stream.mark()
        canvas = replace(canvas, latent=None, blend=None, attachments=())  # a picture that waits keeps no control net

        def decoded() -> codecs.Pixels:
            vae = models.vae_of(sampled.whose)
            with job.timed("decode"), self.side_stream.since(mark), self.residency.staying(vae.module):
                if not bool(sampled.latent.isfinite().all()):
                    raise ArithmeticError("sampling ended in values that are no numbers; try another sampler or model")
                pixels = self._decoder(vae, canvas)(sampled.latent)[0]
            with job.timed("decode"), self.side_stream.since(mark):
                return canvas.finished(pixels)

        decoding = Decoding(decoded)
        self.attempt(job, decoding)
        return decoding.picture

    def attempt(self, job: Job, decoding: Decoding) -> None:
        """Have a picture decoded under the plan in force, beside the sampling where that has room for both."""
        plan = self.residency.plan
        try:
            attempt = job.outbox.compute(lambda: decoding.attempt(plan, job.undecoded))
        except BaseException:  # an earlier failure: whoever saves this picture waits for it no longer
            decoding.picture.cancel()
            raise
        if not plan.overlaps or (plan.budget is not None and job.params.black_out_nsfw):
            wait([attempt])

    def _decoder(self, vae: Vae, canvas: Canvas) -> Callable[[Tensor], np.ndarray]:
        """How the plan has a picture decoded: in tiles, which change it, only where no plan has room for it whole."""
        plan = self.residency.plan
        if canvas.tiled or plan.tiles:
            return vae.decode_tiled
        return vae.decode_whole if plan.overlaps else vae.decode


@dataclass
class StepCallback:
    """Runs at every sampling step: raises Stopped or Skipped if asked, or Undecoded; emits progress and a preview."""

    job: Job
    models: Models
    canvas: Canvas
    title: str
    launch_ahead: LaunchAhead

    def __call__(self, step: Step) -> None:
        job, steps = self.job, self.canvas.steps.count
        self.launch_ahead.limit()
        job.end_picture_if_asked()
        if job.undecoded:
            raise Undecoded
        number = min(step.index + 1, steps)
        percent = job.progress.at(job.steps_done + number)
        message = sampling_message(number, steps, self.title)
        if job.params.disable_preview or job.outbox.busy:
            job.report_progress(percent, message, number, steps)
            return
        seen = Fetched(self.models.previewer(step.whose).pixels(self.canvas.at_full_size(step.denoised)))

        def progressed() -> Progressed:
            preview = codecs.encode_small_png(seen.array())
            return Progressed(job.task.task_id, percent, message, preview, number, steps)

        job.outbox.send(progressed)


def sampling_run(params: GenerateParams, models: Models, canvas: Canvas, texts: EncodedTexts, seed: int) -> SamplingRun:
    """The sampling of a picture of this request."""
    positive, negative = texts
    return SamplingRun(
        base=models.base_model,
        positive=positive,
        negative=negative,
        guidance=guidance(params),
        sampler=params.sampler_name,
        scheduler=params.scheduler_name,
        steps=canvas.steps.count,
        seed=seed,
        size=canvas.sampled,
        latent=canvas.latent,
        denoise=canvas.denoise,
        blend=canvas.blend,
        attachments=canvas.attachments,
        refiner=models.refiner_model,
        switch=canvas.steps.switch,
        swap_method=params.refiner_swap_method,  # type: ignore[arg-type]  # the schema knows the three
        interposer=models.interposer,
    )


def guidance(params: GenerateParams) -> Guidance:
    """A request's guidance."""
    return Guidance(
        params.guidance_scale,
        params.adaptive_cfg,
        params.sharpness,
        params.adm_scaler_positive,
        params.adm_scaler_negative,
        params.adm_scaler_end,
    )
