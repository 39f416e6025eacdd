"""DPM-Solver of orders 1 to 3 (Lu et al. 2022) in t = −ln(sigma), and the two samplers made of it.

Both stop at the smallest positive noise level, as in Fooocus: what noise is left there stays in the latent.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from engine.sampling.step import Denoise, Noise, Run, Step

RTOL, ATOL, FIRST_STEP, ACCEPT = 0.05, 0.0078, 0.05, 0.81


def _sigma(t: Tensor) -> Tensor:
    return (-t).exp()


def _eps(denoise: Denoise, x: Tensor, t: Tensor) -> Tensor:
    return (x - denoise(x, _sigma(t))) / _sigma(t)


def _inner(denoise: Denoise, x: Tensor, t: Tensor, h: Tensor, eps: Tensor, r1: float) -> Tensor:
    """The model's noise at the part `r1` of the step."""
    t1 = t + r1 * h
    return _eps(denoise, x - _sigma(t1) * torch.expm1(r1 * h) * eps, t1)


def _first_order(x: Tensor, t: Tensor, h: Tensor, eps: Tensor) -> Tensor:
    return x - _sigma(t + h) * torch.expm1(h) * eps


def _second_order(x: Tensor, t: Tensor, h: Tensor, eps: Tensor, eps1: Tensor, r1: float) -> Tensor:
    correction = _sigma(t + h) / (2 * r1) * torch.expm1(h) * (eps1 - eps)
    return _first_order(x, t, h, eps) - correction


def _third_order(denoise: Denoise, x: Tensor, t: Tensor, h: Tensor, eps: Tensor, eps1: Tensor) -> Tensor:
    r1, r2 = 1 / 3, 2 / 3
    t2 = t + r2 * h
    bend = r2 / r1 * (torch.expm1(r2 * h) / (r2 * h) - 1)
    u2 = x - _sigma(t2) * (torch.expm1(r2 * h) * eps + bend * (eps1 - eps))
    eps2 = _eps(denoise, u2, t2)
    return _first_order(x, t, h, eps) - _sigma(t + h) / r2 * (torch.expm1(h) / h - 1) * (eps2 - eps)


def _ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    smallest = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -sigmas[0].log(), -smallest.log()


def _orders(n: int) -> list[int]:
    thirds = n // 3 + 1
    if n % 3 == 0:
        return [3] * (thirds - 2) + [2, 1]
    return [3] * (thirds - 1) + [n % 3]


def dpm_fast(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver of fixed steps: about as many evaluations as `sigmas` has steps, a third as many steps.

    Only the ends of `sigmas` count.
    """
    first, last = _ends(sigmas)
    orders = _orders(len(sigmas) - 1)
    times = torch.linspace(float(first), float(last), len(orders) + 1, dtype=sigmas.dtype)
    for i, ((t, t_next), order) in enumerate(zip(pairwise(times), orders, strict=True)):
        h, s = t_next - t, _sigma(t)
        D = denoise(x, s)
        yield Step(i, float(s), x, D)
        eps = (x - D) / s
        if order == 1:
            x = _first_order(x, t, h, eps)
        elif order == 2:
            x = _second_order(x, t, h, eps, _inner(denoise, x, t, h, eps, 1 / 2), 1 / 2)
        else:
            x = _third_order(denoise, x, t, h, eps, _inner(denoise, x, t, h, eps, 1 / 3))
    return x


def dpm_adaptive(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise) -> Run:
    """DPM-Solver of order 3 that chooses its steps by comparing with order 2; only the ends of `sigmas` count.

    A step is yielded after each attempt, taken back or not.

    Raises:
        FloatingPointError: the model's output is not finite.
    """
    t, last = _ends(sigmas)
    h, index, x_prev = torch.full_like(t, FIRST_STEP), 0, x
    while t < last - 1e-5:
        step = torch.minimum(last, t + h) - t
        s = _sigma(t)
        D = denoise(x, s)
        eps = (x - D) / s
        eps1 = _inner(denoise, x, t, step, eps, 1 / 3)
        x_low = _second_order(x, t, step, eps, eps1, 1 / 3)
        x_high = _third_order(denoise, x, t, step, eps, eps1)
        factor = _growth(x_low, x_high, x_prev)
        if factor >= ACCEPT:
            x, x_prev, t = x_high, x_low, t + step
        h = h * factor
        yield Step(index, float(s), x, D)
        index += 1
    return x


def _growth(x_low: Tensor, x_high: Tensor, x_prev: Tensor) -> float:
    """By how much the next step may be longer, from the error of this one (an integral controller)."""
    delta = torch.clamp(RTOL * torch.maximum(x_low.abs(), x_prev.abs()), min=ATOL)
    error = float(torch.linalg.norm(((x_low - x_high) / delta).flatten())) / math.sqrt(x_low.numel())
    if not math.isfinite(error):
        raise FloatingPointError("the model's output is not finite")
    return 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
