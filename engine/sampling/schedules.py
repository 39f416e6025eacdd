"""The noise levels a run goes through, by scheduler name; every list ends in 0."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from engine.sampling.model_sampling import ModelSampling

KARRAS_RHO = 7.0

# Sabour et al. 2024, "Align Your Steps": the published levels for 10 steps.
AYS_LEVELS = {
    "sdxl": (
        14.6146412293,
        6.3184485287,
        3.7681790315,
        2.1811480769,
        1.3405244945,
        0.8620721141,
        0.5550693289,
        0.3798540708,
        0.2332364134,
        0.1114188177,
        0.0291671582,
    ),
    "sd1": (
        14.6146412293,
        6.4745760956,
        3.8636745985,
        2.6946151520,
        1.8841921177,
        1.3943805092,
        0.9642583904,
        0.6523686016,
        0.3977456272,
        0.1515232662,
        0.0291671582,
    ),
}

ALIASES = {"lcm": "sgm_uniform", "tcd": "sgm_uniform", "edm_playground_v2.5": "karras"}
SUBSTITUTES = {"turbo": "normal", "align_your_steps": "normal"}

# Second-order samplers that get one more level and lose the one before the end again.
DISCARDING = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")


def karras(n: int, sigma_min: float, sigma_max: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """`n` levels of Karras et al. 2022, eq. 5 with rho = 7, then 0."""
    ramp = torch.linspace(0, 1, n, dtype=dtype)
    low, high = sigma_min ** (1 / KARRAS_RHO), sigma_max ** (1 / KARRAS_RHO)
    return _ended((high + ramp * (low - high)) ** KARRAS_RHO)


def _ended(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _karras(model: ModelSampling, n: int) -> Tensor:
    return karras(n, model.sigma_min, model.sigma_max)


def _exponential(model: ModelSampling, n: int) -> Tensor:
    return _ended(torch.linspace(math.log(model.sigma_max), math.log(model.sigma_min), n).exp())


def _timestep_ends(model: ModelSampling) -> tuple[float, float]:
    return float(model.timestep(model.sigma_max)), float(model.timestep(model.sigma_min))


def _normal(model: ModelSampling, n: int) -> Tensor:
    first, last = _timestep_ends(model)
    return _ended(model.sigma(torch.linspace(first, last, n)))


def _sgm_uniform(model: ModelSampling, n: int) -> Tensor:
    first, last = _timestep_ends(model)
    return _ended(model.sigma(torch.linspace(first, last, n + 1)[:-1]))


def _simple(model: ModelSampling, n: int) -> Tensor:
    stride = len(model.sigmas) / n
    return _ended(model.sigmas[[-(1 + int(k * stride)) for k in range(n)]])


def _ddim_uniform(model: ModelSampling, n: int) -> Tensor:
    stride = max(len(model.sigmas) // n, 1)
    return _ended(model.sigmas[1::stride].flip(0))


def _turbo(model: ModelSampling, n: int) -> Tensor:
    return _ended(model.sigma(torch.arange(999, 0, -100)[:n]))


def _align_your_steps(model: ModelSampling, n: int, family: str = "sdxl") -> Tensor:
    levels = np.array(AYS_LEVELS[family])
    if n != len(levels) - 1:
        known, wanted = np.linspace(0, 1, len(levels)), np.linspace(0, 1, n + 1)
        levels = np.exp(np.interp(wanted, known, np.log(levels)))
    return _ended(torch.tensor(levels[:-1], dtype=torch.float32))


FORMULAS: dict[str, Callable[[ModelSampling, int], Tensor]] = {
    "normal": _normal,
    "karras": _karras,
    "exponential": _exponential,
    "sgm_uniform": _sgm_uniform,
    "simple": _simple,
    "ddim_uniform": _ddim_uniform,
    "turbo": _turbo,
    "align_your_steps": _align_your_steps,
}


def _levels(model: ModelSampling, scheduler: str, steps: int, discard: bool, family: str) -> Tensor:
    name = ALIASES.get(scheduler, scheduler)
    count = steps + 1 if discard else steps
    sigmas = _align_your_steps(model, count, family) if name == "align_your_steps" else FORMULAS[name](model, count)
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard else sigmas


def _trimmed(
    model: ModelSampling, scheduler: str, steps: int, denoise: float, discard: bool, family: str = "sdxl"
) -> Tensor:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if denoise <= 0:
        raise ValueError(f"denoise must be above 0, not {denoise}")
    if denoise > 0.9999:
        return _levels(model, scheduler, steps, discard, family)
    return _levels(model, scheduler, int(steps / denoise), discard, family)[-(steps + 1) :]


def sigmas_for(model: ModelSampling, scheduler: str, sampler: str, steps: int, denoise: float = 1.0) -> Tensor:
    """The noise levels of a run over all its steps: `steps` + 1 of them, falling, fp32 on the CPU, the last 0.

    As in Fooocus `lcm` and `tcd` are `sgm_uniform`, and `edm_playground_v2.5` is `karras`, each on the table of the
    model that `model_sampling` gives for that name; `turbo` and `align_your_steps` are sampled with the levels of
    `normal` (their own are `own_sigmas`); a 31st level of `ddim_uniform` at 30 steps gives way to the 0.
    `denoise` below 1 takes the end of a longer schedule.

    Raises:
        ValueError: no step, or nothing to denoise.
        KeyError: no such scheduler.
    """
    return stage(whole_schedule(model, scheduler, sampler, steps, denoise), last=steps)


def whole_schedule(model: ModelSampling, scheduler: str, sampler: str, steps: int, denoise: float = 1.0) -> Tensor:
    """`sigmas_for` before its end is cut to `steps`: what the stages of a run with a refiner are taken from.

    Only `ddim_uniform` may have more levels here.
    """
    name = SUBSTITUTES.get(scheduler, scheduler)
    return _trimmed(model, name, steps, denoise, discard=sampler in DISCARDING)


def own_sigmas(
    model: ModelSampling, scheduler: str, sampler: str, steps: int, denoise: float = 1.0, family: str = "sdxl"
) -> Tensor:
    """The noise levels of the scheduler's own formula, `turbo` and `align_your_steps` included.

    They give the range of the Brownian noise and the second stage of the refiner's VAE swap. `ddim_uniform` may have
    more than `steps` levels here, `turbo` never has more than 10. `family` (`sdxl` or `sd1`) picks the levels of
    `align_your_steps`.
    """
    return _trimmed(model, scheduler, steps, denoise, sampler in ("dpm_2", "dpm_2_ancestral"), family)


def brownian_range(
    model: ModelSampling, scheduler: str, sampler: str, steps: int, denoise: float = 1.0
) -> tuple[float, float]:
    """The smallest and the largest noise level that the Brownian noise of a run has to span."""
    sigmas = own_sigmas(model, scheduler, sampler, steps, denoise)
    return float(sigmas[sigmas > 0].min()), float(sigmas.max())


def stage(sigmas: Tensor, start: int = 0, last: int | None = None, to_zero: bool = True) -> Tensor:
    """The levels of the steps `start` to `last` of a schedule; `to_zero` ends a shortened one in 0.

    A stage that starts behind the end has one level and no step.
    """
    if last is not None and last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1].clone()
        if to_zero:
            sigmas[-1] = 0
    return sigmas[start:] if start < len(sigmas) - 1 else sigmas[-1:]
