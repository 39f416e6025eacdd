"""The inputs beside the latent that a UNet of each kind takes, made from the base model's conditioning and a size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["sdxl", "sdxl_refiner", "sd15"]
"""SDXL and its like (SSD-1B, Vega); SDXL's refiner; Stable Diffusion 1.x, which takes no pooled text and no size."""

FinalNorm = Callable[[Tensor], Tensor]
"""CLIP-L's final layer norm over states `[1, 77, width]` in fp32."""

AESTHETIC_POSITIVE, AESTHETIC_NEGATIVE = 6.0, 2.5
CHUNK_TOKENS = 77


@dataclass(frozen=True)
class Conditioning:
    """The texts that a UNet reads: `context` `[1, 77·chunks, width]` and `pooled` `[1, pooled width]`, fp32, CPU."""

    context: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Rows:
    """Rows of a UNet call on its device, one per side of the guidance: context, pooled text and size numbers.

    A UNet of the kind `sd15` takes only the context.
    """

    positive: tuple[bool, ...]
    context: Tensor
    pooled: Tensor | None
    emphasised: Tensor | None
    consistent: Tensor | None

    def __len__(self) -> int:
        return len(self.positive)


def size_numbers(width: int, height: int, scale: float) -> tuple[list[int], list[int]]:
    """The six size numbers (original, crop, target; height first): with the original scaled, and all consistent."""
    target = [64 * round(height / 64), 64 * round(width / 64)]
    return [int(height * scale), int(width * scale), 0, 0, *target], [*target, 0, 0, *target]


def refiner_numbers(width: int, height: int, positive: bool) -> list[float]:
    """The five numbers that SDXL's refiner takes: size and crop (height first) and how beautiful the picture is."""
    return [height, width, 0, 0, AESTHETIC_POSITIVE if positive else AESTHETIC_NEGATIVE]


def for_kind(
    conditioning: Conditioning, kind: Kind, context_width: int, final_norm_l: FinalNorm | None = None
) -> Conditioning:
    """The base model's conditioning as a UNet of `kind` reads it; prompts are not encoded again.

    `context_width` is the UNet's: SDXL's refiner reads the CLIP-G part of each state, SD 1.5 the CLIP-L part under
    `final_norm_l`, chunk by chunk.

    Raises:
        ValueError: SD 1.5 without `final_norm_l`.
    """
    if kind == "sdxl":
        return conditioning
    if kind == "sdxl_refiner":
        return Conditioning(conditioning.context[..., -context_width:], conditioning.pooled)
    if final_norm_l is None:
        raise ValueError("an SD 1.5 refiner reads CLIP-L's states under its final norm, which is missing")
    states = conditioning.context[..., :context_width].float()
    chunks = [final_norm_l(chunk) for chunk in states.split(CHUNK_TOKENS, dim=1)]
    return Conditioning(torch.cat(chunks, dim=1), conditioning.pooled)


def row(
    conditioning: Conditioning,
    kind: Kind,
    size: tuple[int, int],
    scale: float,
    positive: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> Rows:
    """One side's row; `size` is width and height in pixels, `scale` the emphasis on the original size (SDXL only)."""
    context = conditioning.context.to(device, dtype)
    if kind == "sd15":
        return Rows((positive,), context, None, None, None)
    pair: Sequence[Sequence[float]] = size_numbers(*size, scale)
    if kind == "sdxl_refiner":
        pair = [refiner_numbers(*size, positive)] * 2
    emphasised, consistent = (torch.tensor([numbers], dtype=torch.float32, device=device) for numbers in pair)
    return Rows((positive,), context, conditioning.pooled.to(device), emphasised, consistent)


def equally_long_soon(rows: Sequence[Rows], most_repeats: int) -> bool:
    """Whether few repeats of the shorter contexts make all as long as each other."""
    lengths = [side.context.shape[1] for side in rows]
    return math.lcm(*lengths) / min(lengths) <= most_repeats


def stacked(rows: Sequence[Rows]) -> Rows:
    """The sides as one batch, their contexts repeated to the least common length (which changes no attention)."""
    length = math.lcm(*(side.context.shape[1] for side in rows))
    return Rows(
        tuple(flag for side in rows for flag in side.positive),
        torch.cat([side.context.repeat(1, length // side.context.shape[1], 1) for side in rows]),
        *(_joined([getattr(side, name) for side in rows]) for name in ("pooled", "emphasised", "consistent")),
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
