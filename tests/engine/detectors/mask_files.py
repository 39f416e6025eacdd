"""Small SAM and Grounding DINO files: the names and kinds of shape of the authors' own, with drawn weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

NAMES = json.loads((Path(__file__).parent / "data" / "mask_model_names.json").read_text())
"""Names and shapes as the authors' programs have them at small sizes."""


def drawn_weights(model):
    """Weights of a model of `NAMES`, the same ones each time."""
    chance = torch.Generator().manual_seed(11)
    weights = {}
    for name, shape in NAMES[model].items():
        noise = torch.randn(shape, generator=chance)
        is_norm = "norm" in name or (model == "sam" and len(shape) == 1)
        if is_norm and name.endswith("weight"):
            weights[name] = 1 + 0.1 * noise
        elif len(shape) > 1:
            weights[name] = 0.3 * noise if model == "sam" else noise / noise[0].numel() ** 0.5
        else:
            weights[name] = 0.1 * noise
    for name in weights:  # all layers of the decoder share one head
        if "bbox_embed." in name and "enc_out" not in name:
            layer = name.partition("bbox_embed.")[2].partition(".")[2]
            weights[name] = weights[f"bbox_embed.0.{layer}"].clone()
    return weights


def write_sam(path):
    """SAM's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(drawn_weights("sam"), path)
    return path


def write_grounding_dino(path):
    """The detector's file, with what its authors' holds besides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extras = {
        "label_enc.weight": torch.zeros(3, 4),
        "bert.embeddings.position_ids": torch.arange(512)[None],
        "backbone.0.layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.long),
    }
    tensors = {f"module.{name}": tensor for name, tensor in (drawn_weights("grounding_dino") | extras).items()}
    torch.save({"model": tensors}, path)
    return path
