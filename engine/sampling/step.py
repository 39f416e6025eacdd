"""What every sampler is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from engine.sampling.model_sampling import ModelSampling

Denoise = Callable[[Tensor, Tensor], Tensor]
"""`denoise(x, sigma)` gives the clean picture seen in `x`; `sigma` is 0-dimensional, on the schedule's device."""

Noise = Callable[[Tensor, Tensor], Tensor]
"""`noise(sigma, sigma_next)` gives unit normal noise of `x`'s shape for the interval between two levels."""


Whose = Literal["base", "refiner"]
"""Whose VAE a latent belongs to."""


@dataclass(frozen=True)
class Step:
    """One step under way: `x` is the state before it is updated, `denoised` what the model sees in it.

    `whose` says whose latents these are; a sampler leaves it alone.
    """

    index: int
    sigma: float
    x: Tensor
    denoised: Tensor
    whose: Whose = "base"


Run = Generator[Step, None, Tensor]


class Sampler(Protocol):
    """Walks `x` down `sigmas`; yields at each step's callback moment and returns the last state.

    `sigmas` lies on the CPU, in `x`'s dtype, wherever `x` lies: no step then waits for a GPU. `model` is needed by
    `tcd` only, which looks levels up in its table; a caller passes it to every sampler alike.
    """

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, model: ModelSampling | None = None
    ) -> Run: ...
