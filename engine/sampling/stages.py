"""The sampler calls a run is made of, and what they share: the noise, the device, the callback of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.gpu.side_stream import made_beside
from engine.sampling.attachments import Attachment
from engine.sampling.conditioning import for_kind
from engine.sampling.denoiser import Denoiser
from engine.sampling.graphs import Graphs
from engine.sampling.latent_format import LatentFormat, latent_format
from engine.sampling.latent_mask import Blended
from engine.sampling.model_sampling import ModelSampling, model_sampling
from engine.sampling.noise import brownian_noise, drawn_noise, is_brownian, start_state, starting_noise
from engine.sampling.samplers import SAMPLERS
from engine.sampling.sampling_run import Model, SamplingRun
from engine.sampling.schedules import brownian_range, whole_schedule
from engine.sampling.step import Denoise, Noise, Run, Step, Whose
from engine.sampling.together import Together

LATENT_PIXELS = 8

OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Stage:
    """One sampler call: the levels it walks, the unit noise and the latent (VAE space) it starts from."""

    model: Model
    sigmas: Tensor
    noise: Tensor
    latent: Tensor
    seed: int
    """Of the blending's noise."""
    first_step: int = 0
    """The number of its first step within the run."""
    whose: Whose = "base"


class Stages:
    """Runs the stages of one run, on the device of the base's UNet.

    Raises:
        ValueError: the latent is not of the run's size.
    """

    def __init__(self, run: SamplingRun, on_step: OnStep, graphs: Graphs | Together | None) -> None:
        self.run, self.on_step, self.graphs = run, on_step, graphs
        self.device = next(run.base.unet.parameters()).device
        width, height = run.size
        self.shape = (1, run.base.unet.config.in_channels, height // LATENT_PIXELS, width // LATENT_PIXELS)
        self.latent = self._start_latent()
        self._inner = self._inner_noise(run.seed)

    def sampling(self, model: Model) -> ModelSampling:
        """How to sample a model of this run."""
        return model_sampling(model.prediction, self.run.scheduler)

    def levels(self, model: Model) -> Tensor:
        """All noise levels of the run on a model."""
        run = self.run
        return whole_schedule(self.sampling(model), run.scheduler, run.sampler, run.steps, run.denoise)

    def noise(self, seed: int) -> Tensor:
        """A seed's unit noise."""
        return starting_noise(seed, self.shape).to(self.device)

    def no_noise(self) -> Tensor:
        """What a stage starts with that goes on where another stopped."""
        return torch.zeros(self.shape, device=self.device)

    def denoiser(self, model: Model, attachments: Sequence[Attachment] = ()) -> Denoiser:
        """The guided denoiser on a model, whose UNet wears the attachments."""
        run, width = self.run, model.unet.config.cross_attention_dim
        positive, negative = (
            None if text is None else for_kind(text, model.kind, width, model.final_norm_l)
            for text in (run.positive, run.negative)
        )
        assert positive is not None
        return Denoiser(
            model.unet,
            self.sampling(model),
            run.guidance,
            positive,
            negative,
            run.size,
            kind=model.kind,
            attachments=attachments,
            graphs=self.graphs,
        )

    def walk(self, stage: Stage, denoise: Denoise, on_step: OnStep | None = None) -> Tensor:
        """The latent (VAE space) at the end of a stage; one without a step gives back what it was given."""
        if len(stage.sigmas) < 2:
            return stage.latent
        sampling, form = self.sampling(stage.model), latent_format(stage.model.kind, self.run.scheduler)
        x = start_state(stage.noise, form.to_model(stage.latent), stage.sigmas, sampling)
        steps = SAMPLERS[self.run.sampler](
            self._blended(denoise, stage, form), x, stage.sigmas, self._noise_of(stage), sampling
        )
        tell = on_step or self.on_step
        return form.to_vae(driven(steps, lambda step: tell(_within(stage, step))))

    def _start_latent(self) -> Tensor:
        if self.run.latent is None:
            return self.no_noise()
        if tuple(self.run.latent.shape) != self.shape:
            raise ValueError(f"the latent is {list(self.run.latent.shape)}, the run is {list(self.shape)}")
        return self.run.latent.float().to(self.device)

    def _inner_noise(self, seed: int) -> Noise:
        run, like = self.run, self.no_noise()
        if is_brownian(run.sampler):
            ends = brownian_range(self.sampling(run.base), run.scheduler, run.sampler, run.steps, run.denoise)
            return made_beside(self.device, brownian_noise(like, seed, *ends))
        return drawn_noise(like, seed)

    def _noise_of(self, stage: Stage) -> Noise:
        """The noise inside a stage: one Brownian path for all; draws go on, or start over with another seed."""
        if stage.seed == self.run.seed or is_brownian(self.run.sampler):
            return self._inner
        return self._inner_noise(stage.seed)

    def _blended(self, denoise: Denoise, stage: Stage, form: LatentFormat) -> Denoise:
        blend = self.run.blend
        if blend is None:
            return denoise
        swapped = stage.whose == "refiner" and blend.swap_latent is not None
        latent = blend.swap_latent if swapped else blend.latent
        assert latent is not None
        pinned, mask = form.to_model(latent.to(self.device)), blend.mask.float().to(self.device)
        return Blended(denoise, pinned, mask, stage.seed)


def driven(run: Run, on_step: OnStep) -> Tensor:
    """The last state of a sampler's run; `on_step` is called at every step."""
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            return end.value
        on_step(step)


def _within(stage: Stage, step: Step) -> Step:
    return replace(step, index=stage.first_step + step.index, whose=stage.whose)
