"""The guided denoiser: what the UNet, told the prompt and its negative, takes the clean latent to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.models.text_encoders import Conditioning
from engine.sampling.guidance import guided, unguided
from engine.sampling.model_sampling import TRAIN_STEPS, ModelSampling

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


@dataclass(frozen=True)
class Side:
    """One of the two conditionings, on the UNet's device: context, pooled text and both size vectors `[1, 6]`."""

    context: Tensor
    pooled: Tensor
    emphasised: Tensor
    consistent: Tensor


def size_numbers(width: int, height: int, scale: float) -> tuple[list[int], list[int]]:
    """The six size numbers (original, crop, target; height first): with the original scaled, and all consistent."""
    target = [64 * round(height / 64), 64 * round(width / 64)]
    return [int(height * scale), int(width * scale), 0, 0, *target], [*target, 0, 0, *target]


class Denoiser:
    """D(x, sigma) of one picture: `x` is `[1, 4, h, w]` in fp32, `sigma` 0-dimensional on the CPU.

    Both sides are one batch where their contexts are easily made equally long.
    """

    def __init__(
        self,
        unet: Any,
        sampling: ModelSampling,
        guidance: Guidance,
        positive: Conditioning,
        negative: Conditioning | None,
        size: tuple[int, int],
    ) -> None:
        self.unet, self.sampling, self.guidance = unet, sampling, guidance
        weight = next(unet.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        sides = [self._side(positive, size, guidance.adm_scaler_positive)]
        if not unguided(guidance.guidance_scale):
            if negative is None:
                raise ValueError(f"a guidance scale of {guidance.guidance_scale} needs a negative conditioning")
            sides.insert(0, self._side(negative, size, guidance.adm_scaler_negative))
        together = equally_long_soon(sides, MOST_REPEATS_CPU if self.device.type == "cpu" else MOST_REPEATS)
        self.batches = [stacked(sides)] if together else [stacked([side]) for side in sides]

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent, fp32, on `x`'s device."""
        t = self.sampling.timestep(sigma)
        shown = self.sampling.scale_input(x, sigma).to(self.dtype)
        outputs = torch.cat([self._output(batch, shown, t) for batch in self.batches])
        predictions = self.sampling.denoised(x, sigma, outputs.float())
        positive = predictions[-1:]
        negative = predictions[:1] if len(predictions) == 2 else None
        guidance = self.guidance
        return guided(
            x, positive, negative, self.progress(t), guidance.guidance_scale, guidance.adaptive_cfg, guidance.sharpness
        )

    def progress(self, t: Tensor) -> float:
        """1 − t/999, computed in the UNet's number format."""
        return float(1 - t.to(self.dtype) / LAST_TIMESTEP)

    def _output(self, batch: Side, shown: Tensor, t: Tensor) -> Tensor:
        count = len(batch.context)
        emphasise = float(t) > LAST_TIMESTEP * (1 - self.guidance.adm_scaler_end)
        return self.unet(
            shown.expand(count, -1, -1, -1),
            t.float().to(self.device, non_blocking=True),
            encoder_hidden_states=batch.context,
            added_cond_kwargs={
                "text_embeds": batch.pooled,
                "time_ids": batch.emphasised if emphasise else batch.consistent,
            },
            return_dict=False,
        )[0]

    def _side(self, conditioning: Conditioning, size: tuple[int, int], scale: float) -> Side:
        emphasised, consistent = size_numbers(*size, scale)
        return Side(
            conditioning.context.to(self.device, self.dtype),
            conditioning.pooled.to(self.device),
            torch.tensor([emphasised], dtype=torch.float32, device=self.device),
            torch.tensor([consistent], dtype=torch.float32, device=self.device),
        )


def equally_long_soon(sides: Sequence[Side], most_repeats: int) -> bool:
    """Whether few repeats of the shorter contexts make all as long as each other."""
    lengths = [side.context.shape[1] for side in sides]
    return math.lcm(*lengths) / min(lengths) <= most_repeats


def stacked(sides: Sequence[Side]) -> Side:
    """The sides as one batch, their contexts repeated to the least common length (which changes no attention)."""
    length = math.lcm(*(side.context.shape[1] for side in sides))
    contexts = [side.context.repeat(1, length // side.context.shape[1], 1) for side in sides]
    return Side(
        torch.cat(contexts),
        torch.cat([side.pooled for side in sides]),
        torch.cat([side.emphasised for side in sides]),
        torch.cat([side.consistent for side in sides]),
    )
