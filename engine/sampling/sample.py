"""The sampling of one picture: on one model, or from the base to a refiner in one of three ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from engine.sampling.attachments import Attachment
from engine.sampling.graphs import Graphs
from engine.sampling.sampling_run import Model, Route, Sampled, SamplingRun, starts_on
from engine.sampling.schedules import own_sigmas, stage
from engine.sampling.stages import OnStep, Stage, Stages
from engine.sampling.step import Denoise, Step, Whose
from engine.sampling.together import Together

VAE_SWAP_RISE = 1.4
"""After a swap through the VAEs the refiner starts at levels this much higher."""


@torch.inference_mode()
def sample(run: SamplingRun, on_step: OnStep, graphs: Graphs | Together | None = None) -> Sampled:
    """The clean latent of one picture; what `on_step` raises ends it, with the attachments taken off.

    A step's index counts through all stages; its `denoised` is in the model space of `whose` UNet. On a GPU, UNet
    calls are recorded in and replayed from `graphs`.

    Raises:
        ValueError: parts that do not fit each other; the text names them.
        KeyError: no such sampler or scheduler.
    """
    stages = Stages(run, on_step, graphs)
    return ROUTES[run.route](stages)


def _alone(stages: Stages) -> Sampled:
    """All steps on one model."""
    run, whose = stages.run, starts_on(stages.run.route)
    model = run.base if whose == "base" else _refiner(run)
    whole = stage(stages.levels(model), last=run.steps)
    attachments = run.attachments if whose == "base" else ()
    with ExitStack() as attached:
        _attach(attached, attachments, model)
        part = Stage(model, whole, stages.noise(run.seed), stages.latent, run.seed, whose=whose)
        return Sampled(stages.walk(part, stages.denoiser(model, attachments)), whose)


class _Exchangeable:
    """A denoiser that can be exchanged while a sampler uses it."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, sigma)


def _joint(stages: Stages) -> Sampled:
    """One sampler call; after the first evaluation of the step `switch` the refiner is evaluated instead."""
    run = stages.run
    whole = stage(stages.levels(run.base), last=run.steps)
    with ExitStack() as attached:
        _attach(attached, run.attachments, run.base)
        current = _Exchangeable(stages.denoiser(run.base, run.attachments))

        def on_step(step: Step) -> None:
            stages.on_step(step)
            if step.index == run.switch:
                attached.close()
                current.denoise = stages.denoiser(_refiner(run))

        part = Stage(run.base, whole, stages.noise(run.seed), stages.latent, run.seed)
        return Sampled(stages.walk(part, current, on_step), "base")


def _separate(stages: Stages) -> Sampled:
    """Two sampler calls: the base leaves a noisy latent, with which the refiner goes on."""
    run, refiner, switch = stages.run, _refiner(stages.run), _switch(stages.run)
    with ExitStack() as attached:
        _attach(attached, run.attachments, run.base)
        begun = stage(stages.levels(run.base), last=switch, to_zero=False)
        part = Stage(run.base, begun, stages.noise(run.seed), stages.latent, run.seed)
        latent = stages.walk(part, stages.denoiser(run.base, run.attachments))
    rest = stage(stages.levels(refiner), start=switch, last=run.steps)
    part = Stage(refiner, rest, stages.no_noise(), latent, run.seed, first_step=switch)
    return Sampled(stages.walk(part, stages.denoiser(refiner)), "base")


def _through_vaes(stages: Stages) -> Sampled:
    """Two sampler calls: the base ends its picture early, the refiner starts over from it under somewhat more noise.

    That noise has the channel mean of the noise the base last saw, so that the picture's composition is kept.
    """
    run, refiner, switch = stages.run, _refiner(stages.run), _switch(stages.run)
    whose: Whose = "refiner" if refiner.kind == "sd15" else "base"
    carried = _interposer(run) if whose == "refiner" else None
    refine = stages.denoiser(refiner)
    with ExitStack() as attached:
        _attach(attached, run.attachments, run.base)
        denoise = stages.denoiser(run.base, run.attachments)
        begun = stage(stages.levels(run.base), last=switch)
        latent = stages.walk(Stage(run.base, begun, stages.noise(run.seed), stages.latent, run.seed), denoise)
    if carried is not None:
        latent = carried(latent).float().to(stages.device)
    noise = _centred(stages.noise(run.seed + 1), denoise.noise_seen())
    part = Stage(refiner, _raised(stages, refiner)[switch:], noise, latent, run.seed + 1, switch, whose)
    return Sampled(stages.walk(part, refine), whose)


def _centred(noise: Tensor, seen: Tensor) -> Tensor:
    """`noise` with, at every pixel, the channel mean of the noise `seen`."""
    return noise + seen.mean(dim=1, keepdim=True) - noise.mean(dim=1, keepdim=True)


def _raised(stages: Stages, refiner: Model) -> Tensor:
    """The refiner's levels after a swap through the VAEs, by the scheduler's own formula."""
    run, family = stages.run, "sd1" if refiner.kind == "sd15" else "sdxl"
    levels = own_sigmas(stages.sampling(refiner), run.scheduler, run.sampler, run.steps, run.denoise, family)
    return VAE_SWAP_RISE * levels


def _interposer(run: SamplingRun) -> Callable[[Tensor], Tensor]:
    if run.interposer is None:
        raise ValueError("an SD 1.5 refiner needs an interposer to take over the base's latent")
    return run.interposer


def _refiner(run: SamplingRun) -> Model:
    assert run.refiner is not None
    return run.refiner


def _switch(run: SamplingRun) -> int:
    """Where two sampler calls part; the base has one step at least, or there would be nothing to refine."""
    return min(max(run.switch, 1), run.steps)


def _attach(attached: ExitStack, attachments: Sequence[Attachment], model: Model) -> None:
    for attachment in attachments:
        attached.enter_context(attachment.attached(model.unet))


ROUTES: dict[Route, Callable[[Stages], Sampled]] = {
    "base": _alone,
    "refiner": _alone,
    "joint": _joint,
    "separate": _separate,
    "vae": _through_vaes,
}
