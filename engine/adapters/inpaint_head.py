"""The inpaint head: one convolution that tells a UNet's first layer what is to be repainted, and what was there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from engine.errors import CheckpointError
from engine.gpu.upcast import arithmetic_of
from engine.models.checkpoint import read_tensors
from engine.sampling.attachments import Evaluation, Residuals
from engine.sampling.unet import UNet

KERNEL = (3, 3)
MASK_CHANNELS = 1


class InpaintHead:
    """The head of a file: `weight` `[width, 1 + latent channels, 3, 3]` in fp32, without a bias."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.float()

    @classmethod
    def load(cls, path: Path, device: torch.device) -> InpaintHead:
        """The head in `path`, on the device.

        Raises:
            CheckpointError: the file is not there or holds no head.
        """
        weight = read_tensors(path).get("head")
        if weight is None or weight.dim() != 4 or tuple(weight.shape[2:]) != KERNEL:
            raise CheckpointError(f"{path.name}: not an inpaint head (one 3×3 convolution under the name head)")
        return cls(weight.to(device))

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return self.weight.nbytes

    @torch.inference_mode()
    def feature(self, mask: Tensor, latent: Tensor) -> Tensor:
        """What is added to the first layer's output, `[1, width, h, w]` in fp32.

        `mask` `[1, 1, h, w]` is 1 where the picture is repainted; `latent` `[1, channels, h, w]` is that of the
        picture with the repainted part grey, in the model's scale. Borders are continued.

        Raises:
            CheckpointError: the head is made for latents of other channels.
        """
        wanted = self.weight.shape[1] - MASK_CHANNELS
        if latent.shape[1] != wanted:
            raise CheckpointError(f"the inpaint head reads latents of {wanted} channels, not {latent.shape[1]}")
        feed = torch.cat([mask.float(), latent.float()], dim=1)
        return conv2d(pad(feed, (1, 1, 1, 1), mode="replicate"), self.weight.to(feed.device))


class InpaintFeature:
    """An attachment: a head's `feature` added to what the UNet's first layer gives, for every row alike.

    The sum is both the main path's input and the first skip.
    """

    def __init__(self, feature: Tensor) -> None:
        self.feature = feature

    @contextmanager
    def attached(self, unet: UNet) -> Iterator[None]:
        """Add it for the length of the block.

        Raises:
            CheckpointError: the UNet's first layer has another width.
        """
        weight = unet.conv_in.weight
        if self.feature.shape[1] != weight.shape[0]:
            raise CheckpointError(
                f"the inpaint head is made for a UNet that starts {self.feature.shape[1]} channels wide; "
                f"this one starts with {weight.shape[0]}"
            )
        # Kept, so that graphs recorded with it find it where it was.
        self.feature = self.feature.to(weight.device, arithmetic_of(unet.conv_in))

        def added(_layer: Any, _given: Any, output: Tensor) -> Tensor:
            return output + self.feature

        handle = unet.conv_in.register_forward_hook(added)
        try:
            yield
        finally:
            handle.remove()

    def state(self, evaluation: Evaluation) -> None:
        """Every evaluation is treated alike."""

    def residuals(self, evaluation: Evaluation) -> Residuals | None:
        """Nothing is added to the skips."""
        return None
