"""How weights lie in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def to_channels_last(module: nn.Module) -> None:
    """Lay a module's convolutions out for pictures whose channels lie together."""
    plain: Any = nn.Module  # diffusers' own `to` imports torch's compiler, and torch's has no hint for this
    plain.to(module, memory_format=torch.channels_last)
