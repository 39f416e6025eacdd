"""From two predictions to one: classifier-free guidance with Fooocus's adaptive scale and sharpness filter."""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import pad

SHARPNESS_UNIT = 0.001
RADIUS, SPACE_SIGMA, COLOUR_SIGMA = 6, 3.0, 3.0
"""Both are one number to the GPU's kernel."""


def unguided(guidance_scale: float) -> bool:
    """Whether a scale is 1, so that the negative prediction is not needed at all."""
    return math.isclose(guidance_scale, 1.0, rel_tol=1e-9)


def guided(
    x: Tensor,
    x0_positive: Tensor,
    x0_negative: Tensor | None,
    progress: float,
    guidance_scale: float,
    adaptive_cfg: float,
    sharpness: float,
) -> Tensor:
    """The clean picture both predictions together speak of, `[batch, channels, height, width]` in fp32.

    `progress` is 1 − t/999 of this evaluation, in the network's precision. At a scale of 1 it is the positive
    prediction itself and `x0_negative` may be None.
    """
    if unguided(guidance_scale):
        return x0_positive
    if x0_negative is None:
        raise ValueError(f"a guidance scale of {guidance_scale} needs the negative prediction")
    positive, negative = x - x0_positive, x - x0_negative
    amount = sharpened(progress, sharpness)
    if amount > 0:
        positive = amount * bilateral(positive, x0_positive) + (1 - amount) * positive
    return x - _combined(positive, negative, progress, guidance_scale, adaptive_cfg)


def scale_at(progress: float, guidance_scale: float, adaptive_cfg: float) -> float:
    """How strongly the prompt counts at this point: above the adaptive scale less in the beginning."""
    if guidance_scale <= adaptive_cfg:
        return guidance_scale
    return progress * guidance_scale + (1 - progress) * adaptive_cfg


def sharpened(progress: float, sharpness: float) -> float:
    """How much of the positive side's difference is filtered at this point, 0 and more."""
    return max(0.0, SHARPNESS_UNIT * sharpness * progress)


def guided_by(
    kernels: ModuleType,
    x: Tensor,
    output: Tensor,
    parts: tuple[float, float],
    progress: float,
    guidance_scale: float,
    adaptive_cfg: float,
    sharpness: float,
) -> Tensor:
    """The same as `guided` by GPU kernels, out of a UNet's output `[2, 4, height, width]`, the negative side first.

    `parts` say what its predictions are (`ModelSampling.parts`).
    """
    scale, amount = float(scale_at(progress, guidance_scale, adaptive_cfg)), sharpened(progress, sharpness)
    latent: Tensor = kernels.guided_latent(x, output, parts, scale, amount, RADIUS, SPACE_SIGMA)
    return latent


def _combined(positive: Tensor, negative: Tensor, progress: float, scale: float, adaptive: float) -> Tensor:
    direction = positive - negative
    return negative + scale_at(progress, scale, adaptive) * direction


def bilateral(value: Tensor, guide: Tensor) -> Tensor:
    """`value` smoothed over 13×13 neighbours that are alike in `guide`, both `[batch, channels, height, width]`.

    Neighbours count by a Gaussian of their distance (sigma 3) times one of their difference in the standardised
    guide, summed over the channels' absolute values (sigma 3). Height and width must exceed 6.
    """
    value, guide = value.float(), guide.float()
    mean = guide.mean(dim=(1, 2, 3), keepdim=True)
    std = guide.std(dim=(1, 2, 3), keepdim=True)
    edges = (RADIUS,) * 4
    value, guide = pad(value, edges, mode="reflect"), pad((guide - mean) / (std + 1e-5), edges, mode="reflect")
    return _by_pairs(value, guide) if value.device.type == "cpu" else _by_rows(value, guide)


def _space_weights() -> list[float]:
    """A Gaussian over −6…6; its sum falls out of the weighted mean."""
    return [math.exp(-(k**2) / (2 * SPACE_SIGMA**2)) for k in range(-RADIUS, RADIUS + 1)]


def _by_rows(value: Tensor, guide: Tensor) -> Tensor:
    """The filter in few, large operations: one row of neighbours at a time."""
    size = 2 * RADIUS + 1
    height, width = value.shape[2] - 2 * RADIUS, value.shape[3] - 2 * RADIUS
    space = _space_weights()
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=value.device)
    row_weights = (-0.5 / SPACE_SIGMA**2 * offsets**2).exp()
    centre = guide[:, :, RADIUS : RADIUS + height, RADIUS : RADIUS + width, None]
    total = value.new_zeros(value.shape[0], value.shape[1], height, width)
    weight_sum = value.new_zeros(value.shape[0], 1, height, width)
    for k in range(size):
        near = guide[:, :, k : k + height].unfold(3, size, 1)
        distance = (near - centre).abs().sum(dim=1, keepdim=True)
        weights = (distance.square() * (-0.5 / COLOUR_SIGMA**2)).exp() * (row_weights * space[k])
        total += (weights * value[:, :, k : k + height].unfold(3, size, 1)).sum(dim=-1)
        weight_sum += weights.sum(dim=-1)
    return total / weight_sum


def _by_pairs(value: Tensor, guide: Tensor) -> Tensor:
    """The filter in small operations that stay in the cache; each pair of neighbours is weighed once."""
    height, width = value.shape[2] - 2 * RADIUS, value.shape[3] - 2 * RADIUS
    space = _space_weights()
    inside = (..., slice(RADIUS, RADIUS + height), slice(RADIUS, RADIUS + width))
    total = value[inside].clone()
    weight_sum = torch.ones_like(total[:, :1])
    for dy, dx in _half_of_offsets():
        # The pixels p for which p + (dy, dx) is a neighbour of a pixel inside, or p itself is inside.
        top, left, right = RADIUS - dy, RADIUS - max(dx, 0), RADIUS + width - min(dx, 0)
        near = guide[..., RADIUS : RADIUS + height + dy, left + dx : right + dx]
        distance = (near - guide[..., top : RADIUS + height, left:right]).abs_().sum(dim=1, keepdim=True)
        weights = distance.square_().mul_(-0.5 / COLOUR_SIGMA**2).exp_()
        weights *= space[RADIUS + dy] * space[RADIUS + dx]
        across = RADIUS - left
        ahead = weights[..., dy:, across : across + width]
        behind = weights[..., :height, across - dx : across - dx + width]
        total.addcmul_(ahead, _shifted(value, dy, dx, height, width))
        total.addcmul_(behind, _shifted(value, -dy, -dx, height, width))
        weight_sum += ahead
        weight_sum += behind
    return total / weight_sum


def _half_of_offsets() -> list[tuple[int, int]]:
    """One of each pair of opposite offsets, without the centre."""
    span = range(-RADIUS, RADIUS + 1)
    return [(dy, dx) for dy in range(RADIUS + 1) for dx in span if dy > 0 or dx > 0]


def _shifted(padded: Tensor, dy: int, dx: int, height: int, width: int) -> Tensor:
    return padded[..., RADIUS + dy : RADIUS + dy + height, RADIUS + dx : RADIUS + dx + width]
