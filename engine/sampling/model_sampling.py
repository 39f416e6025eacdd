"""How a model's noise levels, timesteps and outputs are to be read: eps, v, LCM, TCD and EDM."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v"]

BETA_START, BETA_END, TRAIN_STEPS = 0.00085, 0.012, 1000
TIE = 1e-6
LCM_STRIDE, LCM_SIGMA_DATA, LCM_TIMESTEP_SCALE = 20, 0.5, 10.0
EDM_SIGMA_DATA, EDM_SIGMA_MIN, EDM_SIGMA_MAX = 0.5, 0.002, 120.0


@lru_cache(maxsize=1)
def alphas_cumprod() -> Tensor:
    """The 1000 products of alphas of the scaled-linear schedule Stable Diffusion is trained on, fp64."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


@lru_cache(maxsize=1)
def training_sigmas() -> Tensor:
    """The 1000 noise levels that belong to `alphas_cumprod`, computed in fp64, stored in fp32."""
    abar = alphas_cumprod()
    return ((1 - abar) / abar).sqrt().float()


class ModelSampling:
    """A discrete model that predicts the noise (eps); the other kinds change one thing each.

    `sigmas` is the fp32 table of noise levels, smallest first. Everything is computed where `sigma` or `t` lies,
    in fp32.
    """

    kind = "eps"
    stride = 1

    def __init__(self) -> None:
        self.sigmas = training_sigmas()[self.stride - 1 :: self.stride]
        self.log_sigmas = self.sigmas.log()

    @property
    def sigma_min(self) -> float:
        """The smallest noise level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The largest noise level of the table."""
        return float(self.sigmas[-1])

    @property
    def discrete(self) -> bool:
        """Whether timesteps count rows of the training table (all kinds but EDM)."""
        return True

    def timestep(self, sigma: Tensor | float) -> Tensor:
        """The timestep of the table's level nearest to `sigma` in the logarithm, an integer.

        Of two levels as near as fp32 can tell the higher counts: LCM's fifth of 8 steps lies exactly between 499 and
        519, Fooocus takes 519, and the last bit of a logarithm differs from one processor to the next.
        """
        log_sigma = torch.as_tensor(sigma, dtype=torch.float32).log()
        logs = self.log_sigmas.to(log_sigma.device)
        distance = (log_sigma.clamp(logs[0], logs[-1])[..., None] - logs).abs()
        nearest = distance <= distance.amin(dim=-1, keepdim=True) + TIE
        row = (nearest * torch.arange(len(self.sigmas), device=distance.device)).amax(dim=-1)
        return row * self.stride + (self.stride - 1)

    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise level at timestep `t`, log-linear between the table's levels."""
        t = torch.as_tensor(t, dtype=torch.float32)
        place = ((t - (self.stride - 1)) / self.stride).clamp(0, len(self.sigmas) - 1)
        low, high, part = place.floor().long(), place.ceil().long(), place.frac()
        logs = self.log_sigmas.to(t.device)
        return ((1 - part) * logs[low] + part * logs[high]).exp()

    def percent_to_sigma(self, p: float) -> float:
        """The noise level at which the part `p` of the sampling is over."""
        if p <= 0:
            return 999999999.9
        if p >= 1:
            return 0.0
        return self._sigma_within(p)

    def _sigma_within(self, p: float) -> float:
        return float(self.sigma((TRAIN_STEPS - 1) * (1 - p)))

    def scale_input(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """What the network is shown for the state `x`: c_in · x."""
        return x / (sigma**2 + 1) ** 0.5

    def denoised(self, x: Tensor, sigma: Tensor | float, output: Tensor) -> Tensor:
        """The clean picture that the network's `output` speaks of."""
        return x - sigma * output

    def parts(self, sigma: Tensor | float) -> tuple[float, float]:
        """How much of the state and how much of the output is in what `denoised` gives, which is their sum."""
        one, none = torch.ones(()), torch.zeros(())
        return float(self.denoised(one, sigma, none)), float(self.denoised(none, sigma, one))


class VPrediction(ModelSampling):
    """A model that predicts the velocity of Salimans & Ho 2022."""

    kind = "v"

    def denoised(self, x: Tensor, sigma: Tensor | float, output: Tensor) -> Tensor:
        """The clean picture that the network's `output` speaks of."""
        return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5


class Tcd(ModelSampling):
    """A trajectory-consistency-distilled model: noise prediction on every 20th level."""

    kind = "tcd"
    stride = LCM_STRIDE


class Lcm(Tcd):
    """A latent-consistency model: every 20th level, output mixed by the boundary condition of Luo et al. 2023."""

    kind = "lcm"

    def denoised(self, x: Tensor, sigma: Tensor | float, output: Tensor) -> Tensor:
        """The clean picture that the network's `output` speaks of."""
        tau = LCM_TIMESTEP_SCALE * self.timestep(sigma)
        variance = tau**2 + LCM_SIGMA_DATA**2
        c_skip, c_out = LCM_SIGMA_DATA**2 / variance, tau / variance**0.5
        return c_out * (x - sigma * output) + c_skip * x


class Edm(ModelSampling):
    """A model in the preconditioning of Karras et al. 2022 (Playground v2.5); its timestep is ln(sigma)/4."""

    kind = "edm"

    def __init__(self) -> None:
        self.log_sigmas = torch.linspace(math.log(EDM_SIGMA_MIN), math.log(EDM_SIGMA_MAX), TRAIN_STEPS)
        self.sigmas = self.log_sigmas.exp()

    @property
    def discrete(self) -> bool:
        """Whether timesteps count rows of the training table (all kinds but EDM)."""
        return False

    def timestep(self, sigma: Tensor | float) -> Tensor:
        """The network's input for `sigma`: c_noise = ln(sigma)/4, not an integer."""
        return torch.as_tensor(sigma, dtype=torch.float32).log() / 4

    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise level whose timestep is `t`."""
        return (torch.as_tensor(t, dtype=torch.float32) * 4).exp()

    def _sigma_within(self, p: float) -> float:
        low, high = math.log(EDM_SIGMA_MIN), math.log(EDM_SIGMA_MAX)
        return math.exp(low + (high - low) * (1 - p))

    def scale_input(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """What the network is shown for the state `x`: c_in · x."""
        return x / (sigma**2 + EDM_SIGMA_DATA**2) ** 0.5

    def denoised(self, x: Tensor, sigma: Tensor | float, output: Tensor) -> Tensor:
        """The clean picture that the network's `output` speaks of."""
        variance = sigma**2 + EDM_SIGMA_DATA**2
        return x * EDM_SIGMA_DATA**2 / variance + output * sigma * EDM_SIGMA_DATA / variance**0.5


SCHEDULER_KINDS: dict[str, type[ModelSampling]] = {"lcm": Lcm, "tcd": Tcd, "edm_playground_v2.5": Edm}


def model_sampling(prediction: Prediction, scheduler: str) -> ModelSampling:
    """How to sample a checkpoint of this `prediction` under this scheduler's name.

    The names `lcm`, `tcd` and `edm_playground_v2.5` decide the kind alone, whatever the checkpoint says it predicts.
    """
    if scheduler in SCHEDULER_KINDS:
        return SCHEDULER_KINDS[scheduler]()
    return {"eps": ModelSampling, "v": VPrediction}[prediction]()
