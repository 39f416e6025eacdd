"""What is put on a UNet for one sampling run and comes off whole: FreeU, inpaint head, image prompts, control."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine.sampling.unet import UNet


@dataclass(frozen=True)
class Evaluation:
    """One UNet call about to happen; `n` rows, one per side of the guidance."""

    x: Tensor
    """The scaled state `[n, channels, h, w]` in the UNet's number format, on its device."""
    t: Tensor
    """The model's timestep, 0-dimensional fp32 on the CPU; fractional or negative for EDM."""
    sigma: float
    progress: float
    """1 − t/999 in the UNet's number format."""
    context: Tensor
    """The text contexts `[n, tokens, width]`."""
    pooled: Tensor
    """The pooled text vectors `[n, width]`."""
    sizes: Tensor
    """The size numbers in force at this evaluation, `[n, 6]` fp32."""
    positive: tuple[bool, ...]
    """Which rows hold the positive side."""


@dataclass(frozen=True)
class Residuals:
    """What control adds to a UNet: one tensor per skip connection, in input order, and the middle's."""

    skips: tuple[Tensor, ...]
    middle: Tensor

    def __add__(self, other: Residuals) -> Residuals:
        skips = tuple(a + b for a, b in zip(self.skips, other.skips, strict=True))
        return Residuals(skips, self.middle + other.middle)


class Attachment(Protocol):
    """One of the things a run may put on its UNet.

    It is hashable. Compared by value (a frozen dataclass of numbers), it shares recorded graphs with its equals;
    compared by identity, as objects are, graphs recorded with it are dropped when it is no more.
    """

    def attached(self, unet: UNet) -> AbstractContextManager[None]:
        """Put it on the module (hooks, attention processors) for the length of the block; afterwards the module is as
        it was."""
        ...

    def state(self, evaluation: Evaluation) -> Hashable:
        """What the UNet's work depends on besides the evaluation's tensors (which image prompts still count, say).

        Called before each UNet call, and free to prepare it. Equal states of equal attachments do equal work, so a
        graph recorded for one serves the other; tensors that work reads must stay where they are.
        """
        ...

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """What control adds at this evaluation, or None."""
        ...


def summed(attachments: Sequence[Attachment], evaluation: Evaluation) -> Residuals | None:
    """The residuals of all attachments together."""
    total: Residuals | None = None
    for attachment in attachments:
        part = attachment.residuals(evaluation)
        if part is not None:
            total = part if total is None else total + part
    return total
