"""UniPC (Zhao et al. 2023): a multistep predictor and corrector for the variance-preserving state."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from engine.sampling.step import Denoise, Noise, Run, Step

ORDER, LAST_SIGMA = 3, 0.001


class Point(NamedTuple):
    """A level of the walk: λ = −ln s, and α and std of the variance-preserving state there."""

    lam: float
    alpha: float
    std: float

    @classmethod
    def at(cls, s: float) -> Point:
        """The point of noise level `s`."""
        alpha = (1 + s * s) ** -0.5
        return cls(-math.log(s), alpha, s * alpha)


class Update:
    """One step from the newest of `history` (point and clean picture, newest first) to `point`."""

    def __init__(self, x: Tensor, history: list[tuple[Point, Tensor]], point: Point, order: int, variant: str) -> None:
        (newest, self.m0), self.order = history[0], order
        h = point.lam - newest.lam
        hh = -h
        r = [(past.lam - newest.lam) / h for past, _ in history[1:order]]
        self.differences = [(m - self.m0) / rk for (_, m), rk in zip(history[1:order], r, strict=True)]
        B = hh if variant == "bh1" else math.expm1(hh)
        self.R, self.b = self._system([*r, 1.0], hh, B)
        self.base = point.std / newest.std * x - point.alpha * math.expm1(hh) * self.m0
        self.scale = point.alpha * B

    @staticmethod
    def _system(r: list[float], hh: float, B: float) -> tuple[np.ndarray, np.ndarray]:
        rows, right = [], []
        g = math.expm1(hh) / hh - 1
        for i in range(1, len(r) + 1):
            rows.append([rk ** (i - 1) for rk in r])
            right.append(g * math.factorial(i) / B)
            g = g / hh - 1 / math.factorial(i + 1)
        return np.array(rows), np.array(right)

    def predicted(self) -> Tensor:
        """The new state from history alone."""
        rho = np.array([0.5]) if self.order == 2 else np.linalg.solve(self.R[:-1, :-1], self.b[:-1])
        return self.base - self.scale * self._weighted(rho)

    def corrected(self, m: Tensor) -> Tensor:
        """The new state when `m` is what the model sees in the predicted one."""
        rho = np.array([0.5]) if self.order == 1 else np.linalg.solve(self.R, self.b)
        return self.base - self.scale * (self._weighted(rho[:-1]) + float(rho[-1]) * (m - self.m0))

    def _weighted(self, rho: np.ndarray) -> Tensor | float:
        return sum((float(c) * d for c, d in zip(rho, self.differences, strict=True)), start=0.0)


def uni_pc(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, variant: Literal["bh1", "bh2"] = "bh1") -> Run:
    """UniPC of order 3, lower at both ends; a step is yielded when it is done, with the state of `sigmas`' kind.

    The last level 0 is taken as 0.001. One evaluation a step.
    """
    steps = len(sigmas) - 1
    if steps == 0:
        return x
    levels = [*sigmas.tolist()[:-1], float(sigmas[-1]) or LAST_SIGMA]
    points = [Point.at(s) for s in levels]
    x = x * points[0].alpha
    order = max(1, min(ORDER, steps - 1))
    history = [(points[0], denoise(x / points[0].alpha, sigmas[0]))]
    for i in range(1, steps + 1):
        if i < steps or steps == 1:
            yield Step(i - 1, levels[i - 1], x / points[i - 1].alpha, history[0][1])
        update = Update(x, history, points[i], min(i, order, steps + 1 - i), variant)
        x = update.predicted()
        if i < steps:
            m = denoise(x / points[i].alpha, sigmas[i])
            x = update.corrected(m)
            history = [(points[i], m), *history][:order]
    if steps > 1:
        yield Step(steps - 1, levels[-1], x / points[-1].alpha, history[0][1])
    return x / points[-1].alpha
