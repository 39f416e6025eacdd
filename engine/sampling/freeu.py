"""FreeU, second version (Si et al. 2023): going up, the backbone counts more and the skips' slow waves less."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.sampling.attachments import Evaluation, Residuals
from engine.sampling.unet import UNet


@dataclass(frozen=True)
class FreeU:
    """An attachment: `b1` and `s1` at the UNet's widest levels, `b2` and `s2` at the next narrower ones.

    In SDXL these are the levels of 1280 and 640 channels; a UNet of other widths has its two largest.
    """

    b1: float
    b2: float
    s1: float
    s2: float

    @contextmanager
    def attached(self, unet: UNet) -> Iterator[None]:
        """Change what the upward resnets of these levels are given, for the length of the block."""
        factors = self._by_width(unet)
        with ExitStack() as hooks:
            for resnet, channels in _upward(unet):
                if channels in factors:
                    hooks.callback(resnet.register_forward_pre_hook(_changing(channels, *factors[channels])).remove)
            yield

    def state(self, evaluation: Evaluation) -> None:
        """Every evaluation is treated alike."""

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """Nothing is added."""
        return None

    def _by_width(self, unet: UNet) -> dict[int, tuple[float, float]]:
        widths = sorted(set(unet.config.block_out_channels), reverse=True)
        return dict(zip(widths, ((self.b1, self.s1), (self.b2, self.s2)), strict=False))


def strengthened(hidden: Tensor, b: float) -> Tensor:
    """`hidden` `[n, channels, h, w]` with the first half of its channels up to `b` times as strong, most of all where
    the mean over channels is highest."""
    mean = hidden.mean(dim=1, keepdim=True)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    relative = (mean - low) / (high - low).clamp(min=torch.finfo(mean.dtype).tiny)
    half = hidden.shape[1] // 2
    return torch.cat([hidden[:, :half] * ((b - 1) * relative + 1), hidden[:, half:]], dim=1)


def filtered(skip: Tensor, s: float) -> Tensor:
    """`skip` `[n, channels, h, w]` with its slowest waves `s` times as strong.

    In the centred spectrum they are the middle 2×2 block: the frequencies −1 and 0 of either axis. They are projected
    out of the picture in fp32, which costs less than a transform there and back.
    """
    height, width = skip.shape[-2:]
    if min(height, width) < 2:
        return skip
    waves = _waves(height, width, skip.device)
    flat = skip.float().flatten(2)
    slow = (flat @ waves.t()) @ waves
    return (flat + (s - 1) / (height * width) * slow).unflatten(2, (height, width)).to(skip.dtype)


def _waves(height: int, width: int, device: torch.device) -> Tensor:
    """The cosines and sines of the four frequencies, `[7, height · width]` (the constant has no sine)."""
    y = torch.arange(height, device=device)[:, None] * (2 * math.pi / height)
    x = torch.arange(width, device=device)[None, :] * (2 * math.pi / width)
    phases = torch.stack([y + 0 * x, x + 0 * y, y + x]).flatten(1)
    return torch.cat([torch.ones_like(phases[:1]), phases.cos(), phases.sin()])


def _upward(unet: UNet) -> Iterator[tuple[Any, int]]:
    """The resnets going up, each with the channels it is given from below; the skip's come after them."""
    channels = unet.config.block_out_channels[-1]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            yield resnet, channels
            channels = resnet.out_channels


def _changing(channels: int, b: float, s: float) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    def before(resnet: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        joined, *others = given
        hidden, skip = joined[:, :channels], joined[:, channels:]
        return torch.cat([strengthened(hidden, b), filtered(skip, s)], dim=1), *others

    return before
