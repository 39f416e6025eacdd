"""Two GPU kernels for what follows a UNet's call: guidance with the sharpness filter, out of both predictions.

They compute what `engine.sampling.guidance` computes, in two launches in place of some hundred and fifty. They are
written in Triton; importing this module needs it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 4
"""Channels of a latent that it is made for."""
PARTS, BLOCK = 64, 1024
"""Programs that look for a latent's spread, and the numbers that each takes at a time."""
PIXELS = 128
"""Latent pixels of one program of the filter."""


@triton.jit(do_not_specialize=["size", "pixels", "width", "of_x", "of_output"])
def _spread_kernel(x, output, clean, means, squares, size, pixels, width, of_x, of_output, row, column, channel, side,
                   PARTS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The positive prediction, its mean and squared distances from it over one part of the latent."""
    part = tl.program_id(0)
    length = (size + PARTS - 1) // PARTS
    first, last = part * length, tl.minimum(part * length + length, size)
    total = tl.zeros((BLOCK,), tl.float32)
    square = tl.zeros((BLOCK,), tl.float32)
    begin = first
    while first < last:
        at = first + tl.arange(0, BLOCK)
        inside = at < last
        pixel = at % pixels
        place = side + (at // pixels) * channel + (pixel // width) * row + (pixel % width) * column
        seen = tl.load(output + place, inside, 0.0).to(tl.float32)
        value = tl.load(x + at, inside, 0.0) * of_x + seen * of_output
        tl.store(clean + at, value, inside)
        total += tl.where(inside, value, 0.0)
        square += tl.where(inside, value * value, 0.0)
        first += BLOCK
    count = tl.maximum(last - begin, 1).to(tl.float32)
    summed = tl.sum(total, 0)
    tl.store(means + part, summed / count)
    tl.store(squares + part, tl.sum(square, 0) - summed * summed / count)


@triton.jit
def _four(values, at, step, inside):
    """Four channels, `step` apart, of some pixels."""
    first = tl.load(values + at, inside, 0.0).to(tl.float32)
    second = tl.load(values + step + at, inside, 0.0).to(tl.float32)
    third = tl.load(values + 2 * step + at, inside, 0.0).to(tl.float32)
    fourth = tl.load(values + 3 * step + at, inside, 0.0).to(tl.float32)
    return first, second, third, fourth


@triton.jit
def _unit_of(means, squares, size, PARTS: tl.constexpr):
    """What standardises a latent of `size` numbers, out of the moments of its parts."""
    parts = tl.arange(0, PARTS)
    length = (size + PARTS - 1) // PARTS
    count = tl.maximum(tl.minimum(length, size - parts * length), 0).to(tl.float32)
    mean = tl.load(means + parts)
    centre = tl.sum(tl.where(count > 0, mean * count, 0.0), 0) / size
    away = mean - centre
    squared = tl.where(count > 0, tl.load(squares + parts) + away * away * count, 0.0)
    return 1.0 / (tl.sqrt(tl.sum(squared, 0) / (size - 1)) + 1e-5)


@triton.jit
def _mirrored(place, size):
    """A row or column beyond an edge is that as far within it."""
    place = tl.abs(place)
    return tl.where(place >= size, 2 * size - 2 - place, place)


@triton.jit
def _filtered(x, clean, c0, c1, c2, c3, up, left, inside, height, width, unit, fall, RADIUS: tl.constexpr,
              PIXELS: tl.constexpr):  # fmt: skip
    """The positive side's difference from x around some pixels, whose predictions are `c0` to `c3`, by weight."""
    pixels = height * width
    t0 = tl.zeros((PIXELS,), tl.float32)
    t1 = tl.zeros((PIXELS,), tl.float32)
    t2 = tl.zeros((PIXELS,), tl.float32)
    t3 = tl.zeros((PIXELS,), tl.float32)
    weights = tl.zeros((PIXELS,), tl.float32)
    for dy in range(-RADIUS, RADIUS + 1):
        y = _mirrored(up + dy, height)
        for dx in range(-RADIUS, RADIUS + 1):
            near = y * width + _mirrored(left + dx, width)
            n0, n1, n2, n3 = _four(clean, near, pixels, inside)
            x0, x1, x2, x3 = _four(x, near, pixels, inside)
            distance = (tl.abs(n0 - c0) + tl.abs(n1 - c1) + tl.abs(n2 - c2) + tl.abs(n3 - c3)) * unit
            weight = tl.exp((distance * distance + (dy * dy + dx * dx)) * fall)
            t0 += weight * (x0 - n0)
            t1 += weight * (x1 - n1)
            t2 += weight * (x2 - n2)
            t3 += weight * (x3 - n3)
            weights += weight
    return t0 / weights, t1 / weights, t2 / weights, t3 / weights


@triton.jit
def _guided(x, negative, positive, of_x, of_output, scale):
    """A channel out of the UNet's negative output and the positive side's difference from x."""
    difference = x - (x * of_x + negative * of_output)
    return x - (difference + scale * (positive - difference))


@triton.jit(do_not_specialize=["height", "width", "of_x", "of_output", "scale", "amount", "fall"])
def _guided_kernel(x, output, clean, means, squares, out, height, width, of_x, of_output, scale, amount, fall,
                   row, column, channel, SHARP: tl.constexpr, RADIUS: tl.constexpr, PARTS: tl.constexpr,
                   PIXELS: tl.constexpr):  # fmt: skip
    """Four channels of some pixels; the negative side is the first row of the UNet's output."""
    pixels = height * width
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = at < pixels
    up, left = at // width, at % width
    x0, x1, x2, x3 = _four(x, at, pixels, inside)
    c0, c1, c2, c3 = _four(clean, at, pixels, inside)
    p0, p1, p2, p3 = x0 - c0, x1 - c1, x2 - c2, x3 - c3
    if SHARP:
        unit = _unit_of(means, squares, 4 * pixels, PARTS)
        f0, f1, f2, f3 = _filtered(
            x, clean, c0, c1, c2, c3, up, left, inside, height, width, unit, fall, RADIUS, PIXELS
        )
        p0 = amount * f0 + (1 - amount) * p0
        p1 = amount * f1 + (1 - amount) * p1
        p2 = amount * f2 + (1 - amount) * p2
        p3 = amount * f3 + (1 - amount) * p3
    n0, n1, n2, n3 = _four(output, up * row + left * column, channel, inside)
    tl.store(out + at, _guided(x0, n0, p0, of_x, of_output, scale), inside)
    tl.store(out + pixels + at, _guided(x1, n1, p1, of_x, of_output, scale), inside)
    tl.store(out + 2 * pixels + at, _guided(x2, n2, p2, of_x, of_output, scale), inside)
    tl.store(out + 3 * pixels + at, _guided(x3, n3, p3, of_x, of_output, scale), inside)


def guides(x: Tensor, output: Tensor) -> bool:
    """Whether the kernels are made for this state and this output of a UNet: one picture's, with both sides."""
    return x.shape[:2] == (1, CHANNELS) and output.shape[:2] == (2, CHANNELS) and x.dtype == torch.float32


def guided_latent(
    x: Tensor, output: Tensor, parts: tuple[float, float], scale: float, amount: float, radius: int, sigma: float
) -> Tensor:
    """The clean latent that both predictions of a UNet speak of together, `[1, 4, h, w]` in fp32.

    `x` `[1, 4, h, w]` in fp32 is the state, `output` `[2, 4, h, w]` the UNet's, the negative side first. A prediction
    is `parts[0]` · x + `parts[1]` · output. Of their differences from x, the positive one is filtered by `amount`
    (0 to 1) with neighbours up to `radius` away, counted by Gaussians of this `sigma`, and weighs `scale` against the
    negative one. Height and width exceed the radius.
    """
    x = x.contiguous()
    height, width = x.shape[-2:]
    side, channel, row, column = output.stride()
    clean, out = torch.empty_like(x), torch.empty_like(x)
    moments = torch.empty(2, PARTS, device=x.device)
    _spread_kernel[PARTS,](
        x, output, clean, moments[0], moments[1], x.numel(), height * width, width, *parts, row, column, channel, side,
        PARTS=PARTS, BLOCK=BLOCK,
    )  # fmt: skip
    _guided_kernel[triton.cdiv(height * width, PIXELS),](
        x, output, clean, moments[0], moments[1], out, height, width, *parts, scale, amount, -0.5 / sigma**2, row,
        column, channel, SHARP=amount > 0, RADIUS=radius, PARTS=PARTS, PIXELS=PIXELS,
    )  # fmt: skip
    return out
