"""A tiny UNet or VAE of random weights, always the same ones, and what a UNet is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.make_checkpoint import SIZES, random_of
from engine.sampling.unet_call import UNetCall

SIZE = SIZES["tiny"]


def filled(module: Any) -> Any:
    """The module with random weights."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: random_of(name, tuple(tensor.shape), generator) for name, tensor in module.state_dict().items()}
    module.load_state_dict(weights)
    return module.requires_grad_(False).eval()


def unet_call() -> UNetCall:
    """A call of a tiny UNet."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    width = SIZE.clip_l[0] + SIZE.clip_g[0]
    return UNetCall(
        random(2, 4, 8, 8), torch.tensor(500.0), random(2, 77, width), random(2, SIZE.clip_g[0]), random(2, 6)
    )
