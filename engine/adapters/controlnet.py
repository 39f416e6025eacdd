"""ControlNet (Zhang et al. 2023): a copy of a UNet's way down that reads a picture of lines and adds to the skips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor, nn
from torch.nn.functional import interpolate

from engine.errors import CheckpointError
from engine.gpu.upcast import arithmetic_of
from engine.models.fill import weights_size
from engine.sampling.attachments import Evaluation, Residuals
from engine.sampling.model_sampling import ModelSampling
from engine.sampling.unet import UNet

DOWNSCALE = 8
"""The hint is this much larger than the latent."""


class Maker(Protocol):
    """What makes nets of a UNet's weights."""

    def write(self, net: ControlNet, unet: UNet) -> None:
        """Write a net's weights into it once more, as they were made; the UNet is patched as it was then."""
        ...


class ControlNet(nn.Module):
    """The way down and the middle of a UNet with these settings, a reader of hints, and a 1×1 layer per residual.

    `unet_config` are settings of `UNet2DConditionModel`, of which those of the way up do not count; `hint_widths` are
    the widths of the hint's reader, one per halving and one before them. Weights have the names that diffusers gives
    them.
    """

    made_by: Maker | None = None
    """What made it of a UNet's weights; None where its weights are those of a file that is kept."""

    def __init__(self, unet_config: Mapping[str, Any], hint_widths: tuple[int, ...], hint_channels: int) -> None:
        super().__init__()
        unet = UNet2DConditionModel.from_config(dict(unet_config))
        self.conv_in, self.down_blocks, self.mid_block = unet.conv_in, unet.down_blocks, unet.mid_block
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.add_time_proj, self.add_embedding = unet.add_time_proj, unet.add_embedding
        widths = skip_widths(unet)
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(widths[0], hint_channels, hint_widths)
        self.controlnet_down_blocks = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.controlnet_mid_block = nn.Conv2d(widths[-1], widths[-1], 1)

    @property
    def size(self) -> int:
        """Bytes of its weights, those it shares with a UNet among them."""
        return weights_size(self)

    @property
    def dtype(self) -> torch.dtype:
        """The number format it computes in."""
        return arithmetic_of(self.conv_in)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.conv_in.weight.device

    def read(self, hint: Tensor) -> Tensor:
        """What is added to the first layer's output, for hints `[n, channels, 8h, 8w]` of 0 to 1."""
        return self.controlnet_cond_embedding(hint.to(self.device, self.dtype))

    def forward(self, x: Tensor, t: Tensor, context: Tensor, pooled: Tensor, sizes: Tensor, read: Tensor) -> Residuals:
        """The residuals for a UNet's call (shapes as in `Evaluation`, `t` on `x`'s device) and a hint that was `read`.

        All are of full strength; their order is that of `Residuals`.
        """
        embedded = self._embedded(t, pooled, sizes)
        hidden = self.conv_in(x) + read
        skips = [hidden]
        for block in self.down_blocks:
            hidden, states = block(hidden, embedded, **_text_of(block, context))
            skips += states
        hidden = self.mid_block(hidden, embedded, **_text_of(self.mid_block, context))
        added = tuple(layer(skip) for layer, skip in zip(self.controlnet_down_blocks, skips, strict=True))
        return Residuals(added, self.controlnet_mid_block(hidden))

    def _embedded(self, t: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
        """The time, the pooled text and the sizes as one vector per row."""
        rows = len(pooled)
        time = self.time_embedding(self.time_proj(t.expand(rows)).to(self.dtype))
        numbers = self.add_time_proj(sizes.flatten()).reshape(rows, -1)
        return time + self.add_embedding(torch.cat([pooled, numbers], dim=-1).to(self.dtype))


def skip_widths(unet: UNet) -> list[int]:
    """The channels of a UNet's skips, in input order: the first layer, every resnet, every downsampler."""
    widths = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        widths += [resnet.out_channels for resnet in block.resnets]
        widths += [sampler.out_channels for sampler in block.downsamplers or ()]
    return widths


def encoder_size(unet: Any) -> int:
    """Bytes of what a control net has a copy of: a UNet's way down, its middle, and what reads time and sizes."""
    parts = (unet.conv_in, unet.down_blocks, unet.mid_block, unet.time_embedding, unet.add_embedding)
    return weights_size(*(part for part in parts if part is not None))


def _text_of(block: Any, context: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class Control:
    """An attachment: a control image, followed until the part `stop` of the sampling is over.

    `hint` is uint8 `[h, w, 3]`, best of the picture's size. `softness` 0 to 1 makes the early, fine skips count less.
    The net must lie where the UNet does and have its number format; its residuals are added to both sides alike.
    """

    def __init__(
        self,
        net: ControlNet,
        hint: np.ndarray,
        stop: float,
        weight: float,
        softness: float,
        sampling: ModelSampling,
    ) -> None:
        self.net, self.weight = net, weight
        self.last_sigma = sampling.percent_to_sigma(stop)
        self.factors = [weight * factor for factor in softened(len(net.controlnet_down_blocks) + 1, softness)]
        self._hint = torch.from_numpy(np.ascontiguousarray(hint)).permute(2, 0, 1)[None].float() / 255
        self._read: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes of its net's weights."""
        return self.net.size

    @contextmanager
    def attached(self, unet: UNet) -> Iterator[None]:
        """Nothing is put on the module: residuals are handed to its calls.

        Raises:
            CheckpointError: the net is made for a UNet of another shape.
        """
        given = [layer.out_channels for layer in self.net.controlnet_down_blocks]
        if given != skip_widths(unet):
            raise CheckpointError(
                f"the control net is made for a UNet with skips {given} wide; this one's are {skip_widths(unet)}"
            )
        yield

    def state(self, evaluation: Evaluation) -> None:
        """The UNet's work depends on nothing but the residuals it is given."""

    @torch.inference_mode()
    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """The net's residuals, weighed; None where it does not count (any more)."""
        if self.weight == 0 or evaluation.sigma < self.last_sigma:
            return None
        x = evaluation.x
        there = torch.full((), float(evaluation.t), device=x.device)  # a launch, where a copy could wait
        full = self.net(x, there, evaluation.context, evaluation.pooled, evaluation.sizes, self._read_for(x))
        skips = tuple(skip * factor for skip, factor in zip(full.skips, self.factors[:-1], strict=True))
        return Residuals(skips, full.middle * self.factors[-1])

    def _read_for(self, x: Tensor) -> Tensor:
        """The hint as the net reads it for a latent of this size; read once."""
        if self._read is None or self._read.shape[-2:] != x.shape[-2:]:
            height, width = DOWNSCALE * x.shape[-2], DOWNSCALE * x.shape[-1]
            self._read = self.net.read(covering(self._hint, height, width))
        return self._read


def softened(count: int, softness: float) -> list[float]:
    """A factor for each of `count` residuals, the middle's the last: rising evenly from 1 − `softness` to 1."""
    return [1 - softness * (1 - k / (count - 1)) for k in range(count)]


def covering(image: Tensor, height: int, width: int) -> Tensor:
    """`image` `[n, channels, h, w]` cut centrally to the shape of `height`×`width`, then resized (nearest-exact)."""
    old_height, old_width = image.shape[-2:]
    if (old_height, old_width) == (height, width):
        return image
    top = left = 0
    if old_width * height > old_height * width:
        left = round((old_width - old_width * (width / height) / (old_width / old_height)) / 2)
    elif old_width * height < old_height * width:
        top = round((old_height - old_height * (old_width / old_height) / (width / height)) / 2)
    cut = image[:, :, top : old_height - top, left : old_width - left]
    return interpolate(cut, size=(height, width), mode="nearest-exact")
