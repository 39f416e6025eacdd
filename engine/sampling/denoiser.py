"""The guided denoiser: the clean latent that the UNet predicts under the prompt and the negative prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.gpu.capabilities import Features
from engine.gpu.compiled_kernels import kernels_in_use
from engine.gpu.onednn import begin_run
from engine.gpu.upcast import arithmetic_of
from engine.sampling.attachments import Attachment, Evaluation, summed
from engine.sampling.conditioning import Conditioning, Kind, Rows, equally_long_soon, row, stacked
from engine.sampling.graphs import Graphs, place_of
from engine.sampling.guidance import guided, guided_by, unguided
from engine.sampling.model_sampling import TRAIN_STEPS, ModelSampling
from engine.sampling.together import Together
from engine.sampling.unet import UNet
from engine.sampling.unet_call import UNetCall

LAST_TIMESTEP = TRAIN_STEPS - 1
MOST_REPEATS, MOST_REPEATS_CPU = 4, 2
"""Contexts that would have to be repeated more often than this to be equally long run one after the other."""


@dataclass(frozen=True)
class Guidance:
    """How strongly the prompt counts; names and meanings are those of the request."""

    guidance_scale: float
    adaptive_cfg: float
    sharpness: float
    adm_scaler_positive: float
    adm_scaler_negative: float
    adm_scaler_end: float


class Denoiser:
    """D(x, sigma) of one picture: `x` is `[1, 4, h, w]` in fp32, `sigma` 0-dimensional on the CPU.

    Both sides are one batch, the negative first, where their contexts are easily made equally long. `positive` and
    `negative` are as a UNet of `kind` reads them (`conditioning.for_kind`), `size` is width and height in pixels.
    `attachments` must be on the UNet while it is called. On a GPU calls are replayed from `graphs`, if given; nothing
    here waits for it.

    Raises:
        ValueError: guidance without a negative side; attachments on a UNet of another kind than SDXL.
    """

    def __init__(
        self,
        unet: UNet,
        sampling: ModelSampling,
        guidance: Guidance,
        positive: Conditioning,
        negative: Conditioning | None,
        size: tuple[int, int],
        *,
        kind: Kind = "sdxl",
        attachments: Sequence[Attachment] = (),
        graphs: Graphs | Together | None = None,
    ) -> None:
        self.unet, self.sampling, self.guidance = unet, sampling, guidance
        self.attachments = _hashable(attachments)
        if self.attachments and kind != "sdxl":
            raise ValueError(f"nothing can be attached to a UNet of the kind {kind}")
        self.device, self.dtype = unet.conv_in.weight.device, arithmetic_of(unet.conv_in)
        recorded = Features.for_device(self.device).graphs
        self.graphs = graphs if recorded or isinstance(graphs, Together) else None
        sides = [row(positive, kind, size, guidance.adm_scaler_positive, True, self.device, self.dtype)]
        if not unguided(guidance.guidance_scale):
            if negative is None:
                raise ValueError(f"a guidance scale of {guidance.guidance_scale} needs a negative conditioning")
            scale = guidance.adm_scaler_negative
            sides.insert(0, row(negative, kind, size, scale, False, self.device, self.dtype))
        self.batches = [stacked(sides)] if equally_long_soon(sides, self._most_repeats) else sides
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent, fp32, on `x`'s device."""
        if not isinstance(self.graphs, Together):
            begin_run(self.unet, self)
        t = self.sampling.timestep(sigma).float()
        progress = self.progress(t)
        shown = self.sampling.scale_input(x, sigma).to(self.dtype)
        outputs = torch.cat([self._output(batch, shown, t, float(sigma), progress) for batch in self.batches])
        D = self._guided(x, sigma, outputs, progress)
        self._last = x, D, sigma
        return D

    def progress(self, t: Tensor) -> float:
        """1 − t/999, computed in the UNet's number format."""
        return float(1 - t.to(self.dtype) / LAST_TIMESTEP)

    def noise_seen(self) -> Tensor:
        """The noise (x − D)/sigma that the last evaluation saw in its state.

        Raises:
            RuntimeError: nothing has been evaluated.
        """
        if self._last is None:
            raise RuntimeError("nothing has been evaluated yet")
        x, D, sigma = self._last
        return (x - D) / sigma

    def _guided(self, x: Tensor, sigma: Tensor, outputs: Tensor, progress: float) -> Tensor:
        """The clean latent out of a UNet's outputs, one for each side."""
        how = self.guidance.guidance_scale, self.guidance.adaptive_cfg, self.guidance.sharpness
        kernels = kernels_in_use(self.unet)
        if kernels is not None and kernels.guides(x, outputs):
            return guided_by(kernels, x, outputs, self.sampling.parts(sigma), progress, *how)
        predictions = self.sampling.denoised(x, sigma, outputs.float())
        return guided(x, predictions[-1:], predictions[:1] if len(predictions) == 2 else None, progress, *how)

    @property
    def _most_repeats(self) -> int:
        # With image prompts repeated texts weigh more, so what is repeated must not depend on the device.
        return MOST_REPEATS_CPU if self.device.type == "cpu" and not self.attachments else MOST_REPEATS

    @cached_property
    def _place(self) -> Any:
        return place_of(self.unet)

    def _output(self, batch: Rows, shown: Tensor, t: Tensor, sigma: float, progress: float) -> Tensor:
        emphasise = float(t) > LAST_TIMESTEP * (1 - self.guidance.adm_scaler_end)
        sizes = batch.emphasised if emphasise else batch.consistent
        x = shown.expand(len(batch), -1, -1, -1)
        states: tuple[tuple[Any, Any], ...] = ()
        residuals = None
        if self.attachments:
            assert batch.pooled is not None and sizes is not None
            evaluation = Evaluation(x, t, sigma, progress, batch.context, batch.pooled, sizes, batch.positive)
            states = tuple((attachment, attachment.state(evaluation)) for attachment in self.attachments)
            residuals = summed(self.attachments, evaluation)
        there = torch.full((), float(t), device=self.device)  # a launch, where a copy could wait
        call = UNetCall(x, there, batch.context, batch.pooled, sizes, residuals, float(t))
        return call.on(self.unet) if self.graphs is None else self.graphs.run(self.unet, call, self._place, states)


def _hashable(attachments: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """The attachments; one that could not be a graph's key fails here, on every device alike."""
    kept = tuple(attachments)
    hash(kept)
    return kept
