"""What a good file holds besides its weights: left out, or put to use, so that it refuses no file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

LEFT_OVER = re.compile(r"(?:^|\.)(?:position_ids|scaled_fp8|scale_input|input_scale|(?:loss|model_ema)\..+)$")
"""Positions that are counted, not learnt; a trainer's losses and averages; marks of 8-bit files."""
SCALE = re.compile(r"\.(?:scale_weight|weight_scale)$")
"""How files of 8-bit floats name the number that a weight is to be multiplied by."""


def without_left_overs(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The file's weights: 8-bit floats with their scales applied, and nothing that is no weight of a network."""
    scales = {SCALE.sub(".weight", name): tensor for name, tensor in tensors.items() if SCALE.search(name)}
    left = [name for name in tensors if LEFT_OVER.search(name)]
    if left:
        log.info("%s: %d tensors are no weights and are left out, first %s", path.name, len(left), left[0])
    weights = {
        name: tensor for name, tensor in tensors.items() if not LEFT_OVER.search(name) and not SCALE.search(name)
    }
    for name, scale in scales.items():
        if name in weights:
            weights[name] = _scaled(weights[name], scale)
    return weights


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    scale = scale.float()
    if scale.numel() > 1:
        scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight.float() * scale).to(torch.float16)
