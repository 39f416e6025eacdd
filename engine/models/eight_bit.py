"""Packed files: an SDXL-layout checkpoint, or weights that go with one, in 8 bits a weight, expanded when opened.

A packed file is a safetensors file with two metadata entries: `packing` (this format's version) and `manifest` (JSON).
Large matrices, a VAE's apart, are int8 with one fp32 scale per output row (`name` and `name::scale`).
A checkpoint's token table is stored once, int8 with a scale per column: CLIP-G's whole, CLIP-L's as its first columns.
Everything else is fp16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import CheckpointError
from engine.models.weight_names import CLIP_G, CLIP_L, VAE

VERSION = "1"
SCALE = "::scale"
TABLE_L = CLIP_L + "embeddings.token_embedding.weight"
TABLE_G = CLIP_G + "token_embedding.weight"
SMALLEST_PACKED = 4096


def is_packed(path: Path) -> bool:
    """Whether a safetensors file says that it is packed."""
    return "packing" in _metadata(path)


def manifest(path: Path) -> dict[str, Any]:
    """What a packed file says of itself: name, licence, native sizes, few-step hint.

    Raises:
        CheckpointError: the file is not packed, or by a newer version.
    """
    metadata = _metadata(path)
    version = metadata.get("packing")
    if version != VERSION:
        raise CheckpointError(f"{path.name}: packing {version!r} is unknown; this program reads packing {VERSION!r}")
    return json.loads(metadata.get("manifest", "{}"))


def pack(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, Any]) -> None:
    """Write the state dict of a checkpoint, or of a part that goes with one, as a packed file.

    Raises:
        ValueError: CLIP-L's token table is not the first columns of CLIP-G's.
    """
    packed: dict[str, Tensor] = {}
    columns = _shared_columns(tensors)
    for name, tensor in tensors.items():
        if name == TABLE_L:
            continue
        if name == TABLE_G:
            codes, scale = quantised(tensor.float().t())
            packed[name], packed[name + SCALE] = codes.t().contiguous(), scale
        elif _large(name, tensor):
            packed[name], packed[name + SCALE] = quantised(tensor.float())
        else:
            packed[name] = tensor.half().contiguous()
    save_file(packed, path, {"packing": VERSION, "manifest": json.dumps(dict(about) | columns)})


def unpack(path: Path) -> dict[str, Tensor]:
    """The ordinary state dict of a packed file: fp32 where it was 8 bits, fp16 elsewhere.

    Raises:
        CheckpointError: the file is not packed, by a newer version, or lacks a part.
    """
    columns = manifest(path).get("clip_l_columns")
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    tensors = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype is not torch.int8:
            tensors[name] = tensor
        elif name + SCALE not in stored:
            raise CheckpointError(f"{path.name}: {name} has no scale")
        elif name == TABLE_G:
            tensors[name] = tensor.float() * stored[name + SCALE]
        else:
            tensors[name] = expanded(tensor, stored[name + SCALE])
    if (TABLE_G in tensors) != bool(columns):
        raise CheckpointError(f"{path.name}: the token table is missing")
    if columns:
        tensors[TABLE_L] = tensors[TABLE_G][:, :columns].contiguous()
    return tensors


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes and the fp32 scale of each row; of a few clippings per row the one with the least squared error."""
    rows = matrix.flatten(1)
    peak = rows.abs().amax(1).clamp_min(1e-12)
    best, scale = torch.full_like(peak, torch.inf), peak / 127
    for share in (1.0, 0.95, 0.9, 0.85, 0.8):
        trial = peak * share / 127
        codes = (rows / trial[:, None]).round().clamp(-127, 127)
        error = (codes * trial[:, None] - rows).square().sum(1)
        scale = torch.where(error < best, trial, scale)
        best = torch.minimum(best, error)
    codes = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes.reshape(matrix.shape).contiguous(), scale


def expanded(codes: Tensor, scale: Tensor) -> Tensor:
    """The fp32 weights of int8 codes and row scales."""
    return codes.float() * scale.reshape(-1, *[1] * (codes.dim() - 1))


def _shared_columns(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many columns of CLIP-G's token table are CLIP-L's; nothing where there are no tables."""
    if TABLE_G not in tensors:
        return {}
    table_l, table_g = tensors[TABLE_L].float(), tensors[TABLE_G].float()
    if not torch.equal(table_l, table_g[:, : table_l.shape[1]]):
        raise ValueError("the token tables differ: CLIP-L's must be the first columns of CLIP-G's")
    return {"clip_l_columns": table_l.shape[1]}


def _large(name: str, tensor: Tensor) -> bool:
    return tensor.dim() >= 2 and tensor.numel() >= SMALLEST_PACKED and not name.startswith(VAE)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
