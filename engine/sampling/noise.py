"""Where randomness comes from: the seed's starting noise and the noise inside samplers."""

from __future__ import annotations

import math

import torch
import torchsde
from torch import Tensor

from engine.sampling.model_sampling import ModelSampling
from engine.sampling.step import Noise

# One step's two ends lie on some 70 nodes of the path; torchsde's default of 45 draws half of them again each time.
CACHED_NODES = 96


def starting_noise(seed: int, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The seed's fp32 noise, drawn on the CPU: what `torch.randn` gives after `torch.manual_seed(seed)`."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def is_brownian(sampler: str) -> bool:
    """Whether a sampler's noise is the increments of a Brownian path."""
    return "_sde" in sampler


def noise_for(sampler: str, x: Tensor, seed: int, sigma_min: float, sigma_max: float) -> Noise:
    """The noise inside one picture's run of `sampler`, of `x`'s shape, on `x`'s device.

    `x` is that one picture's state (`[1, channels, height, width]`). The `dpmpp_*sde*` samplers read one Brownian
    path between `sigma_min` and `sigma_max` (`schedules.brownian_range`); the others draw one normal after another.
    """
    if is_brownian(sampler):
        return brownian_noise(x, seed, sigma_min, sigma_max)
    return drawn_noise(x, seed)


def drawn_noise(x: Tensor, seed: int) -> Noise:
    """Normal draws in a row, in the order and from the state that seeding a whole device with `seed` leaves.

    On the CPU the starting noise has been drawn from the same stream before.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    if x.device.type == "cpu":
        torch.randn(x.shape, generator=generator)

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

    return noise


def brownian_noise(x: Tensor, seed: int, sigma_min: float, sigma_max: float) -> Noise:
    """The scaled increments of one Brownian path over [`sigma_min`, `sigma_max`]; beyond its ends it stands still.

    The same interval always gives the same noise, whatever was asked before.
    """
    # The library rounds its ends like this and warns of levels between the two spellings of an end.
    sigma_min, sigma_max = round(sigma_min, 6), round(sigma_max, 6)
    # torchsde.BrownianTree with its own defaults, but for the cache, which changes no value.
    path = torchsde.BrownianInterval(
        t0=sigma_min,
        t1=sigma_max,
        size=x.shape,
        dtype=x.dtype,
        device=x.device,
        entropy=seed,
        tol=1e-6,
        pool_size=24,
        cache_size=CACHED_NODES,
        halfway_tree=True,
    )

    def noise(sigma: Tensor | float, sigma_next: Tensor | float) -> Tensor:
        start, end = float(sigma), float(sigma_next)
        low, high = sorted(min(max(level, sigma_min), sigma_max) for level in (start, end))
        if low == high:
            return torch.zeros_like(x)
        increment = path(low, high)
        return (-increment if start > end else increment) / math.sqrt(abs(end - start))

    return noise


def start_state(noise: Tensor, latent: Tensor, sigmas: Tensor, model: ModelSampling) -> Tensor:
    """The state a run over `sigmas` starts from: `latent` (model space) under `noise` of the first level.

    At the model's highest level the noise is scaled as if the latent's own spread were still in it.
    """
    first = float(sigmas[0])
    if first > model.sigma_max or math.isclose(first, model.sigma_max, rel_tol=1e-5):
        return noise * math.sqrt(1 + first**2) + latent
    return noise * first + latent
