"""The samplers by name: each an algorithm of its paper, as a generator of steps.

In all of them `s` is the step's noise level, `s_next` the next one, `D` the clean picture the model sees, `d` the
derivative (x − D)/s and h = ln(s/s_next).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from engine.sampling.dpm_solver import dpm_adaptive, dpm_fast
from engine.sampling.model_sampling import ModelSampling, alphas_cumprod
from engine.sampling.schedules import karras
from engine.sampling.step import Denoise, Noise, Run, Sampler, Step
from engine.sampling.uni_pc import uni_pc

SAMPLERS: dict[str, Sampler] = {}

LMS_ORDER = 4
TCD_ETA = 0.3


def sampler(*names: str) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """Register a sampler that needs no table under these names."""

    def register(steps: Callable[..., Run]) -> Callable[..., Run]:
        @wraps(steps)
        def run(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, model: ModelSampling | None = None) -> Run:
            return steps(denoise, x, sigmas, noise)

        SAMPLERS.update(dict.fromkeys(names, run))
        return steps

    return register


def derivative(x: Tensor, s: Tensor, D: Tensor) -> Tensor:
    """dx/ds of the probability flow at `x`."""
    return (x - D) / s


def ancestral_split(s: Tensor, s_next: Tensor) -> tuple[Tensor, Tensor]:
    """The level to step down to and the noise to add back, which together make `s_next`."""
    up = torch.minimum(s_next, (s_next**2 * (s**2 - s_next**2) / s**2).sqrt())
    return (s_next**2 - up**2).sqrt(), up


@sampler("euler", "ddim")
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Euler's method on the probability flow (Karras et al. 2022, algorithm 2 without its correction)."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        x = x + derivative(x, s, D) * (s_next - s)
    return x


@sampler("euler_ancestral")
def euler_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Euler steps that go too far down and add fresh noise back."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        down, up = ancestral_split(s, s_next)
        x = x + derivative(x, s, D) * (down - s)
        if s_next > 0:
            x = x + noise(s, s_next) * up
    return x


def heun_update(denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, D: Tensor) -> Tensor:
    """The state after one step of Heun's method; the step to 0 is Euler's."""
    d = derivative(x, s, D)
    x2 = x + d * (s_next - s)
    if s_next == 0:
        return x2
    d2 = derivative(x2, s_next, denoise(x2, s_next))
    return x + (d + d2) / 2 * (s_next - s)


@sampler("heun")
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Heun's method on the probability flow (Karras et al. 2022, algorithm 2)."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        x = heun_update(denoise, x, s, s_next, D)
    return x


@sampler("heunpp2")
def heunpp2(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Heun++: up to three derivatives a step, weighted by their noise levels."""
    start, last = sigmas[0], len(sigmas) - 1
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        d = derivative(x, s, D)
        if i + 1 < last:
            x2 = x + d * (s_next - s)
            d2 = derivative(x2, s_next, denoise(x2, s_next))
        if i + 1 == last:
            mean = d
        elif i + 2 == last:
            w = s_next / (2 * start)
            mean = (1 - w) * d + w * d2
        else:
            s_third = sigmas[i + 2]
            x3 = x2 + d2 * (s_third - s_next)
            d3 = derivative(x3, s_third, denoise(x3, s_third))
            w2, w3 = s_next / (3 * start), s_third / (3 * start)
            mean = (1 - w2 - w3) * d + w2 * d2 + w3 * d3
        x = x + mean * (s_next - s)
    return x


@sampler("dpm_2")
def dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """The midpoint method in the logarithm of the noise level, in the manner of DPM-Solver-2."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        x = midpoint_update(denoise, x, s, s_next, D)
    return x


def midpoint_update(denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, D: Tensor) -> Tensor:
    """The state after one step by the derivative at the middle level; the step to 0 is Euler's."""
    d = derivative(x, s, D)
    if s_next == 0:
        return x + d * (s_next - s)
    middle = (s * s_next).sqrt()
    x2 = x + d * (middle - s)
    return x + derivative(x2, middle, denoise(x2, middle)) * (s_next - s)


@sampler("dpm_2_ancestral")
def dpm_2_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """`dpm_2` with an ancestral step's noise."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        down, up = ancestral_split(s, s_next)
        x = midpoint_update(denoise, x, s, down, D)
        if down > 0:
            x = x + noise(s, s_next) * up
    return x


def lagrange_integrals(levels: list[float], start: float, end: float) -> list[float]:
    """The integrals from `start` to `end` of the Lagrange basis on `levels` (at most 4: cubic, hence exact)."""
    nodes, weights = np.polynomial.legendre.leggauss(2)
    points = (end - start) / 2 * nodes + (end + start) / 2
    integrals = []
    for j, level in enumerate(levels):
        others = levels[:j] + levels[j + 1 :]
        basis = np.prod([(points - other) / (level - other) for other in others], axis=0)
        integrals.append(float((end - start) / 2 * np.sum(weights * basis)))
    return integrals


@sampler("lms")
def lms(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """The linear multistep method of order 4."""
    levels = sigmas.tolist()
    history: list[Tensor] = []
    for i, s in enumerate(sigmas[:-1]):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        history = [derivative(x, s, D), *history][:LMS_ORDER]
        used = levels[i::-1][: len(history)]
        for c, d in zip(lagrange_integrals(used, levels[i], levels[i + 1]), history, strict=True):
            x = x + c * d
    return x


@sampler("dpmpp_2s_ancestral")
def dpmpp_2s_ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2S) (Lu et al. 2022) with an ancestral step's noise."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        down, up = ancestral_split(s, s_next)
        if down == 0:
            x = x + derivative(x, s, D) * (down - s)
        else:
            middle, h = (s * down).sqrt(), (s / down).log()
            x2 = (middle / s) * x - torch.expm1(-h / 2) * D
            x = (down / s) * x - torch.expm1(-h) * denoise(x2, middle)
        if s_next > 0:
            x = x + noise(s, s_next) * up
    return x


@sampler("dpmpp_sde", "dpmpp_sde_gpu")
def dpmpp_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver++ for the stochastic equation, single step with its middle at r = 1/2."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        if s_next == 0:
            x = D
            continue
        middle = (s * s_next).sqrt()
        down, up = ancestral_split(s, middle)
        x2 = (down / s) * x + (1 - down / s) * D + noise(s, middle) * up
        D2 = denoise(x2, middle)
        down, up = ancestral_split(s, s_next)
        x = (down / s) * x + (1 - down / s) * D2 + noise(s, s_next) * up
    return x


@sampler("dpmpp_2m")
def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2M) (Lu et al. 2022)."""
    D_prev = h_prev = None
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        h = (s / s_next).log()
        extrapolated = D
        if D_prev is not None and h_prev is not None and s_next > 0:
            r = h_prev / h
            extrapolated = (1 + 1 / (2 * r)) * D - 1 / (2 * r) * D_prev
        x = (s_next / s) * x - torch.expm1(-h) * extrapolated
        D_prev, h_prev = D, h
    return x


@sampler("dpmpp_2m_sde", "dpmpp_2m_sde_gpu")
def dpmpp_2m_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2M) for the stochastic equation, midpoint form."""
    D_prev = h_prev = None
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        if s_next == 0:
            x = D
            continue
        h = (s / s_next).log()
        filled = -torch.expm1(-2 * h)
        x = (s_next / s) * (-h).exp() * x + filled * D
        if D_prev is not None and h_prev is not None:
            x = x + filled / 2 * (h / h_prev) * (D - D_prev)
        x = x + noise(s, s_next) * (s_next * filled.sqrt())
        D_prev, h_prev = D, h
    return x


@sampler("dpmpp_3m_sde", "dpmpp_3m_sde_gpu")
def dpmpp_3m_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(3M) for the stochastic equation."""
    history: list[tuple[Tensor, Tensor]] = []
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        if s_next == 0:
            x = D
            continue
        h = (s / s_next).log()
        H = 2 * h
        x = (-H).exp() * x - torch.expm1(-H) * D
        f2 = torch.expm1(-H) / H + 1
        if len(history) == 2:
            (D1, h1), (D2, h2) = history
            r0, r1 = h1 / h, h2 / h
            a, b = (D - D1) / r0, (D1 - D2) / r1
            x = x + f2 * (a + (a - b) * r0 / (r0 + r1)) - (f2 / H - 0.5) * (a - b) / (r0 + r1)
        elif history:
            D1, h1 = history[0]
            x = x + f2 * (D - D1) / (h1 / h)
        x = x + noise(s, s_next) * (s_next * (-torch.expm1(-2 * h)).sqrt())
        history = [(D, h), *history][:2]
    return x


@sampler("ddpm")
def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Ancestral sampling of Ho et al. 2020, on variance-preserving states between two levels."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        abar, abar_next = 1 / (1 + s**2), 1 / (1 + s_next**2)
        alpha = abar / abar_next
        mean = (x * abar.sqrt() - (1 - alpha) * derivative(x, s, D) / (1 - abar).sqrt()) / alpha.sqrt()
        if s_next > 0:
            mean = mean + noise(s, s_next) * ((1 - alpha) * (1 - abar_next) / (1 - abar)).sqrt()
        x = mean / abar_next.sqrt()
    return x


@sampler("lcm")
def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Multistep consistency sampling (Luo et al. 2023): the clean picture, noised again to the next level."""
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        x = D + noise(s, s_next) * s_next if s_next > 0 else D
    return x


def tcd(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, model: ModelSampling | None = None) -> Run:
    """Strategic stochastic sampling of trajectory consistency distillation (Zheng et al. 2024), eta = 0.3.

    A step's `denoised` is the state at the lower level the step aims for, not the clean picture.

    Raises:
        ValueError: no model, or one without a table of training timesteps (EDM).
    """
    if model is None or not model.discrete:
        raise ValueError("the sampler 'tcd' needs a discrete model: use a scheduler other than edm_playground_v2.5")
    aims = ((1 - TCD_ETA) * model.timestep(sigmas)).floor().long()
    aims[-1] = 0
    abar = alphas_cumprod().to(sigmas.dtype)[aims.cpu()].to(sigmas.device)
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        D = denoise(x, s)
        y = abar[i + 1].sqrt() * D + (1 - abar[i + 1]).sqrt() * derivative(x, s, D)
        yield Step(i, float(s), x, y)
        x = y
        if s_next > 0:
            variance = (s_next**2 + 1 - 1 / abar[i + 1]).clamp(
                min=0
            )  # rounding can take it below 0 at the lowest level
            x = y / abar[i + 1].sqrt() + noise(s, s_next) * variance.sqrt()
    return x


def restart_segments(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The steps of restart sampling (Xu et al. 2023) for a schedule: as many as it has, some of them up again.

    Below 20 steps the schedule as it is; from 20 on a Karras schedule over the same range with a restart from
    noise level 2 near 0.1.
    """
    n = len(sigmas) - 1
    if n < 20:
        return list(pairwise(sigmas))
    k, times = (n // 4, 2) if n >= 36 else (9, 1)
    levels = karras(n - k * times, float(sigmas[-2]), float(sigmas[0]), sigmas.dtype)
    low, high = (int((levels - level).abs().argmin()) for level in (0.1, 2.0))
    segments = list(pairwise(levels))
    if high < low:
        again = karras(k + 1, float(levels[low]), float(levels[high]), sigmas.dtype)[:-1]
        segments[low:low] = list(pairwise(again)) * times
    return segments


@sampler("restart")
def restart(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """Heun steps; before a segment that starts higher than the last one ended, noise up to its level."""
    reached: Tensor | None = None
    for i, (s, s_next) in enumerate(restart_segments(sigmas)):
        if reached is not None and s > reached:
            x = x + noise(reached, s) * (s**2 - reached**2).sqrt()
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        x = heun_update(denoise, x, s, s_next, D)
        reached = s_next
    return x


SAMPLERS["tcd"] = tcd
sampler("dpm_fast")(dpm_fast)
sampler("dpm_adaptive")(dpm_adaptive)
sampler("uni_pc")(partial(uni_pc, variant="bh1"))
sampler("uni_pc_bh2")(partial(uni_pc, variant="bh2"))
