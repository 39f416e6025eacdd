"""What the sampling of one picture is asked for, and which way it goes with a refiner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from engine.sampling.attachments import Attachment
from engine.sampling.conditioning import Conditioning, FinalNorm, Kind
from engine.sampling.denoiser import Guidance
from engine.sampling.latent_mask import Blend
from engine.sampling.model_sampling import Prediction
from engine.sampling.step import Whose
from engine.sampling.unet import UNet

SwapMethod = Literal["joint", "separate", "vae"]
Route = Literal["base", "refiner", "joint", "separate", "vae"]

FULL_ENOUGH = 0.9
"""A run that denoises more than this can begin on the base and end on a refiner with another VAE."""
KARRAS_BEND = 0.834
"""With Karras levels the part p of the steps at the end removes about p to this power of the noise."""


@dataclass(frozen=True)
class Model:
    """A UNet, how it is spoken to and what its output means; SD 1.5 needs its CLIP-L's final norm."""

    unet: UNet
    kind: Kind = "sdxl"
    prediction: Prediction = "eps"
    final_norm_l: FinalNorm | None = None


@dataclass(frozen=True)
class SamplingRun:
    """One picture from noise, or from a latent, to a clean latent."""

    base: Model
    positive: Conditioning
    negative: Conditioning | None
    """Both as the base's text encoders give them; None where the guidance scale is 1."""
    guidance: Guidance
    sampler: str
    scheduler: str
    steps: int
    seed: int
    size: tuple[int, int]
    """Width and height in pixels, multiples of 8, of the latent sampled."""
    latent: Tensor | None = None
    """Where to start, `[1, channels, h, w]` in the space of the VAE of `starts_on`; None is an empty one."""
    denoise: float = 1.0
    """How much of the noise range is gone through; below 1 the last `steps` of a longer schedule."""
    blend: Blend | None = None
    attachments: Sequence[Attachment] = ()
    """What is on the base's UNet; no refiner ever has them."""
    refiner: Model | None = None
    switch: int = 0
    """The step from which the refiner counts."""
    swap_method: SwapMethod = "joint"
    interposer: Callable[[Tensor], Tensor] | None = None
    """From the base's VAE space to an SD 1.5 refiner's."""

    @property
    def route(self) -> Route:
        """Which way the run goes."""
        kind = None if self.refiner is None else self.refiner.kind
        return route(kind, self.swap_method, self.denoise, self.steps, self.switch)


@dataclass(frozen=True)
class Sampled:
    """A clean latent `[1, channels, h, w]`, fp32, on the UNet's device, in the space of the VAE of `whose`."""

    latent: Tensor
    whose: Whose


def route(refiner: Kind | None, swap_method: SwapMethod, denoise: float, steps: int, switch: int) -> Route:
    """Which way a run goes: on one model alone, or from the base to a refiner by a swap method.

    A refiner with a VAE of its own (SD 1.5) takes over through the VAEs, or in a partial run does all or nothing.
    """
    if refiner is None:
        return "base"
    if refiner != "sd15":
        return swap_method
    if denoise > FULL_ENOUGH:
        return "vae"
    return "base" if denoise > max(0.0, (steps - switch) / steps) ** KARRAS_BEND else "refiner"


def starts_on(route: Route) -> Whose:
    """Whose VAE encodes the latent a run starts from and the one it is blended with."""
    return "refiner" if route == "refiner" else "base"
