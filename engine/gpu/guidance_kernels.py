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


@triton.jit(do_not_specialize=["height", "width", "of_x", "of_output", "scale", "amount", "fall"])
def _guided_kernel(x, output, clean, means, squares, out, height, width, of_x, of_output, scale, amount, fall,
                   row, column, channel, SHARP: tl.constexpr, RADIUS: tl.constexpr, PARTS: tl.constexpr,
                   PIXELS: tl.constexpr):  # fmt: skip
    """Four channels of some pixels."""
    pixels = height * width
    size = 4 * pixels
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = at < pixels
    up, left = at // width, at % width
    place = up * row + left * column
    x0 = tl.load(x + at, inside, 0.0)
    x1 = tl.load(x + pixels + at, inside, 0.0)
    x2 = tl.load(x + 2 * pixels + at, inside, 0.0)
    x3 = tl.load(x + 3 * pixels + at, inside, 0.0)
    c0 = tl.load(clean + at, inside, 0.0)
    c1 = tl.load(clean + pixels + at, inside, 0.0)
    c2 = tl.load(clean + 2 * pixels + at, inside, 0.0)
    c3 = tl.load(clean + 3 * pixels + at, inside, 0.0)
    p0, p1, p2, p3 = x0 - c0, x1 - c1, x2 - c2, x3 - c3
    if SHARP:
        parts = tl.arange(0, PARTS)
        length = (size + PARTS - 1) // PARTS
        count = tl.maximum(tl.minimum(length, size - parts * length), 0).to(tl.float32)
        mean = tl.load(means + parts)
        centre = tl.sum(tl.where(count > 0, mean * count, 0.0), 0) / size
        away = mean - centre
        squared = tl.where(count > 0, tl.load(squares + parts) + away * away * count, 0.0)
        unit = 1.0 / (tl.sqrt(tl.sum(squared, 0) / (size - 1)) + 1e-5)
        t0 = tl.zeros((PIXELS,), tl.float32)
        t1 = tl.zeros((PIXELS,), tl.float32)
        t2 = tl.zeros((PIXELS,), tl.float32)
        t3 = tl.zeros((PIXELS,), tl.float32)
        weights = tl.zeros((PIXELS,), tl.float32)
        for dy in range(-RADIUS, RADIUS + 1):
            y = tl.abs(up + dy)
            y = tl.where(y >= height, 2 * height - 2 - y, y)
            for dx in range(-RADIUS, RADIUS + 1):
                there = tl.abs(left + dx)
                there = tl.where(there >= width, 2 * width - 2 - there, there)
                near = y * width + there
                n0 = tl.load(clean + near, inside, 0.0)
                n1 = tl.load(clean + pixels + near, inside, 0.0)
                n2 = tl.load(clean + 2 * pixels + near, inside, 0.0)
                n3 = tl.load(clean + 3 * pixels + near, inside, 0.0)
                distance = (tl.abs(n0 - c0) + tl.abs(n1 - c1) + tl.abs(n2 - c2) + tl.abs(n3 - c3)) * unit
                weight = tl.exp((distance * distance + (dy * dy + dx * dx)) * fall)
                t0 += weight * (tl.load(x + near, inside, 0.0) - n0)
                t1 += weight * (tl.load(x + pixels + near, inside, 0.0) - n1)
                t2 += weight * (tl.load(x + 2 * pixels + near, inside, 0.0) - n2)
                t3 += weight * (tl.load(x + 3 * pixels + near, inside, 0.0) - n3)
                weights += weight
        p0 = amount * (t0 / weights) + (1 - amount) * p0
        p1 = amount * (t1 / weights) + (1 - amount) * p1
        p2 = amount * (t2 / weights) + (1 - amount) * p2
        p3 = amount * (t3 / weights) + (1 - amount) * p3
    # The negative side is the first row of the UNet's output.
    n0 = x0 - (x0 * of_x + tl.load(output + place, inside, 0.0).to(tl.float32) * of_output)
    n1 = x1 - (x1 * of_x + tl.load(output + channel + place, inside, 0.0).to(tl.float32) * of_output)
    n2 = x2 - (x2 * of_x + tl.load(output + 2 * channel + place, inside, 0.0).to(tl.float32) * of_output)
    n3 = x3 - (x3 * of_x + tl.load(output + 3 * channel + place, inside, 0.0).to(tl.float32) * of_output)
    tl.store(out + at, x0 - (n0 + scale * (p0 - n0)), inside)
    tl.store(out + pixels + at, x1 - (n1 + scale * (p1 - n1)), inside)
    tl.store(out + 2 * pixels + at, x2 - (n2 + scale * (p2 - n2)), inside)
    tl.store(out + 3 * pixels + at, x3 - (n3 + scale * (p3 - n3)), inside)


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
