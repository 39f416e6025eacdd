"""From SDXL's latents to those of Stable Diffusion 1.x without a picture in between: a small convolutional network.

The network is the one of the file `xl-to-v1_interposer-v4.0.safetensors`, under that file's names.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size

CHANNELS, WIDTH, BLOCKS = 4, 64, 12


def _conv(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1)


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short = _conv(CHANNELS, WIDTH)
        self.long = nn.Sequential(
            _conv(CHANNELS, WIDTH), nn.SiLU(), _conv(WIDTH, WIDTH), nn.SiLU(), _conv(WIDTH, WIDTH), nn.Dropout()
        )

    def forward(self, latent: Tensor) -> Tensor:
        return torch.relu(self.long(latent) + self.short(latent))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH)
        self.long = nn.Sequential(
            _conv(WIDTH, WIDTH), nn.SiLU(), _conv(WIDTH, WIDTH), nn.SiLU(), _conv(WIDTH, WIDTH), nn.Dropout()
        )

    def forward(self, features: Tensor) -> Tensor:
        features = self.norm(features)
        return torch.relu(self.long(features) + features)


class InterposerNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        blocks = [_Block() for _ in range(BLOCKS)]
        self.core = nn.Sequential(nn.Identity(), *blocks, nn.BatchNorm2d(WIDTH), nn.SiLU())
        self.tail = _conv(WIDTH, CHANNELS)

    def forward(self, latent: Tensor) -> Tensor:
        return self.tail(self.core(self.head(latent)))


class Interposer:
    """Takes and gives latents `[n, 4, h, w]` in VAE space."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        weight = next(network.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Interposer:
        """The network of a file, in half precision where the device computes in it.

        Raises:
            CheckpointError: the file holds no such network.
        """
        with unfilled():
            network = InterposerNetwork()
        counters = {name: torch.zeros(()) for name in network.state_dict() if name.endswith("num_batches_tracked")}
        tensors = counters | read_tensors(path)  # training alone counts batches, so not every file says how many
        dtype = Precision.for_device(device).arithmetic
        try:
            return cls(fill(network, tensors, device, dtype, "the interposer"))
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be used as an interposer: {error}") from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.network)

    @torch.inference_mode()
    def __call__(self, latent: Tensor) -> Tensor:
        return self.network(latent.to(self.device, self.dtype)).float()
