"""The memory plan of a task: what stays on the GPU, what takes turns there, what is streamed. Pictures are the same.

Decided once a task from what is free on the card, without torch, so that every card's plan can be worked out anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

GIB = 1 << 30
MEGAPIXEL = 1 << 20

Mode = Literal["resident", "turns", "alone", "streamed"]
"""All parts stay; text encoders leave before sampling; each part is there alone; the UNet is there in part."""
MODES: tuple[Mode, ...] = ("resident", "turns", "alone", "streamed")
AUTO = "auto"
"""What a server may be told in place of a mode: the most comfortable there is room for."""

AHEAD = 2
"""Streamed blocks that are on their way while one computes."""
STRIDE = 8
"""A step down among streamed plans streams at least one in so many blocks more."""
TEXT_WORK = GIB // 4
"""Bytes that encoding a text takes beside the weights: one layer's in fp32, and its activations."""
SAMPLING_WORK, SAMPLING_BASE = 0.2, 0.15
"""GiB that a UNet call takes per megapixel of the picture and row of the batch, and at any size (measured: 0.15)."""
DECODING_WORK = 1.6
"""GiB that decoding takes per megapixel in half precision (measured: 1.5); twice that in fp32."""
LIBRARIES = GIB // 4
"""Bytes that CUDA's libraries take after a plan was made: handles, and kernels loaded when they are first used."""
SPARE = GIB // 2
"""Bytes that a plan under which everything stays, or which streams, leaves free: memory is cut into pieces.

Without them each streamed step waits for memory to be given back and taken again, or runs out of it (measured).
"""
TILE_WORK = 0.6 * GIB
"""Bytes that decoding a tile takes in half precision."""


@dataclass(frozen=True)
class Parts:
    """Bytes of what a task draws with; `blocks` are the UNet's blocks that can be streamed, all about equally large."""

    unet: int
    text_encoders: int
    vae: int
    adapters: int = 0
    """What is still to be loaded and must be there while the UNet is: control nets, and adapters of image prompts."""
    refiner: int = 0
    """A second UNet."""
    blocks: int = 0
    block: int = 0
    """Bytes of the largest of them."""


@dataclass(frozen=True)
class Work:
    """Bytes that computing takes beside the weights."""

    sampling: int
    graphs: int
    """What recorded UNet calls hold besides."""
    decoding: int
    decoding_a_tile: int

    @classmethod
    def of(cls, size: tuple[int, int], rows: int = 2, *, half: bool = True, unet_half: bool = True) -> Work:
        """The work on pictures of this width and height; VAE and UNet compute in half precision, or in fp32."""
        megapixels, wide = size[0] * size[1] / MEGAPIXEL, 1 if half else 2
        sampling = int((SAMPLING_WORK * megapixels * rows + SAMPLING_BASE) * (1 if unet_half else 2) * GIB)
        return cls(
            sampling,
            sampling,
            int(DECODING_WORK * megapixels * wide * GIB),
            int(TILE_WORK * wide),
        )


@dataclass(frozen=True)
class MemoryPlan:
    """How a task's parts share the memory of a card.

    `budget` is what weights may take at any one time beside the work; None without a limit. `streamed` of the UNet's
    `blocks` come from the host's memory for each step.
    """

    mode: Mode = "resident"
    budget: int | None = None
    streamed: int = 0
    blocks: int = 0
    tiles: bool = False
    """Whether the VAE works in tiles, which fade into each other: the one thing that changes a picture."""

    @property
    def overlaps(self) -> bool:
        """Whether a picture is decoded while the next one is sampled."""
        return self.mode in ("resident", "turns")

    def told(self) -> dict[str, Any]:
        """The plan as a record tells it."""
        told: dict[str, Any] = {"plan": self.mode}
        if self.streamed:
            told |= {"streamed_blocks": self.streamed, "blocks": self.blocks}
        return told | ({"tiles": True} if self.tiles else {})

    def __str__(self) -> str:
        streamed = f", {self.streamed} of {self.blocks} blocks streamed" if self.streamed else ""
        room = "" if self.budget is None else f" in {self.budget / GIB:.2f} GiB"
        return f"{self.mode}{streamed}{', the VAE in tiles' if self.tiles else ''}{room}"


def needed(plan: MemoryPlan, parts: Parts, work: Work) -> int:
    """Bytes that a plan takes at its fullest moment."""
    text = parts.text_encoders + TEXT_WORK
    decoding = work.decoding_a_tile if plan.tiles else work.decoding
    unet = parts.unet + parts.adapters
    if plan.mode == "resident":
        drawing = work.sampling + work.graphs + decoding
        return unet + parts.refiner + parts.text_encoders + parts.vae + drawing + SPARE
    if plan.mode == "turns":
        return unet + parts.refiner + parts.vae + work.graphs + max(text, work.sampling + decoding)
    if plan.streamed:
        unet -= max(0, plan.streamed - AHEAD - 1) * parts.block
    refiner = parts.refiner + parts.adapters if parts.refiner and not plan.streamed else 0
    beside = SPARE if plan.streamed else 0 if parts.refiner else work.graphs
    return max(max(unet, refiner) + work.sampling + beside, text, parts.vae + decoding)


def plan_memory(available: int, parts: Parts, work: Work, *, least: Mode = "resident") -> MemoryPlan:
    """The most comfortable plan, from `least` on, that fits what is available for weights and work.

    Where not even the smallest fits, it is tried all the same: what is needed is an estimate.
    """
    tiles = parts.vae + work.decoding > available
    plans = [plan for plan in ladder(available, parts, tiles=tiles) if MODES.index(plan.mode) >= MODES.index(least)]
    plans = plans or [*ladder(available, parts, tiles=tiles)][-1:]
    return next((plan for plan in plans if needed(plan, parts, work) <= available), plans[-1])


def ladder(available: int, parts: Parts, *, tiles: bool = False) -> Iterator[MemoryPlan]:
    """All plans, the most comfortable first."""
    if not tiles:
        yield MemoryPlan()
        yield MemoryPlan("turns", available)
    yield MemoryPlan("alone", available, tiles=tiles)
    for streamed in range(AHEAD + 2, parts.blocks + 1):
        yield MemoryPlan("streamed", available, streamed, parts.blocks, tiles)


def smaller(plan: MemoryPlan, available: int, parts: Parts) -> MemoryPlan | None:
    """The next smaller plan after one that ran out of memory, with more blocks streamed; None after the smallest."""
    rungs = list(ladder(available, parts, tiles=plan.tiles))
    following = [rung for rung in rungs if (MODES.index(rung.mode), rung.streamed) > _place(plan)]
    if not following:
        return None if plan.tiles else replace(rungs[-1], tiles=True)
    stride = max(1, parts.blocks // STRIDE) if plan.streamed else 1
    return following[min(stride, len(following)) - 1]


def _place(plan: MemoryPlan) -> tuple[int, int]:
    return MODES.index(plan.mode), plan.streamed
