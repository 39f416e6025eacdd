"""What a model file is, by its first bytes and by the names and shapes of its tensors. No torch, no tensor is read."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.files import pickled
from engine.files.identity import Identity, identity

UNET, VAE = "model.diffusion_model.", "first_stage_model."
SIZES_AND_POOLED_TEXT = f"{UNET}label_emb.0.0.weight"
"""Every UNet of the SDXL family has it, and none of Stable Diffusion 1.x."""
TEXT_WIDTH = re.compile(r"\.attn2\.to_k\.weight$")
"""A weight as wide as the texts that a UNet reads."""

Shapes = Mapping[str, tuple[int, ...]]

MOST_HEADER = 100_000_000
"""The longest header that a safetensors file may have."""
FIRST_BYTES = 512

SD15, SD2 = "a Stable Diffusion 1.5 checkpoint", "a Stable Diffusion 2 checkpoint"
SDXL, SDXL_REFINER = "an SDXL checkpoint", "an SDXL refiner"
LORA, BARE_UNET = "a LoRA", "a UNet alone, without text encoders and VAE"
VAE_ALONE, WIDE_VAE = "a VAE", "a VAE of 16 channels, made for Flux or SD3"
MARKS = (
    (LORA, re.compile(r"\.lora_(up|down|A|B)\.|_lora\.(up|down)\.|\.(lokr|hada)_w[12]|^lora_(unet|te)|\.oft_blocks$")),
    ("a Flux model", re.compile(r"(^|\.)double_blocks\.\d+\.img_attn|(^|\.)single_transformer_blocks\.\d+\.")),
    ("a Stable Diffusion 3 model", re.compile(r"(^|\.)joint_blocks\.\d+\.")),
    ("a ControlNet", re.compile(r"^control_model\.|^controlnet_cond_embedding\.|^input_hint_block\.")),
    ("an IP-Adapter", re.compile(r"^(image_proj|ip_adapter)(\.|$)")),
    ("an embedding", re.compile(r"^(emb_params|string_to_param|string_to_token)(\.|$)|^clip_[lg]$")),
)
"""Kinds that one name tells, the surest first."""

FITTING: Mapping[str, tuple[str, frozenset[str]]] = {
    "base_model_name": ("base_model_name takes a single-file checkpoint of SDXL", frozenset({SDXL})),
    "refiner_model_name": (
        "refiner_model_name takes a checkpoint of SDXL, its refiner or Stable Diffusion 1.5",
        frozenset({SDXL, SDXL_REFINER, SD15}),
    ),
    "vae_name": ("vae_name takes a VAE of SDXL", frozenset({VAE_ALONE, SDXL, SDXL_REFINER, SD15, SD2})),
    "loras": ("loras takes LoRA files", frozenset({LORA})),
}
"""What each member of a request takes, in words and as kinds."""
PARTS = {"base_model_name": (UNET,), "refiner_model_name": (UNET,), "vae_name": (VAE, "decoder.")}
"""How names begin of which a file of these members has some, whatever its size and kind."""
UNKNOWN = "a file of weights of another kind"
DAMAGED = "damaged, without weights, or neither a safetensors nor a PyTorch file; fetch it again"


def is_sd15(path: Path) -> bool:
    """Whether the file is a checkpoint of Stable Diffusion 1.x; False where it cannot be read."""
    names = shapes(path)
    return SIZES_AND_POOLED_TEXT not in names and any(name.startswith(UNET) for name in names)


def has_vae(path: Path) -> bool:
    """Whether a checkpoint brings a VAE; True where it cannot be read, which others tell."""
    names = shapes(path)
    return not names or any(name.startswith(VAE) for name in names)


def unfit(path: Path, member: str) -> str | None:
    """Why the file cannot be what this member of a request takes, in a line; None if nothing speaks against it."""
    return _unfit(path, member, identity(path))


@lru_cache(maxsize=256)
def _unfit(path: Path, member: str, _state: Identity) -> str | None:
    reason = unusable(path)
    if reason:
        return f"{path.name} is {reason}"
    (wanted, fitting), names = FITTING[member], shapes(path)
    if not names:
        return f"{path.name} is {DAMAGED}"
    kind = kind_of(names)
    parts = PARTS.get(member)
    if kind is None and parts and not any(name.startswith(parts) for name in names):
        kind = UNKNOWN
    return f"{path.name} is {kind}; {wanted}" if kind and kind not in fitting else None


def unusable(path: Path) -> str | None:
    """What a file is that is no model file, or no whole one; None where its first bytes tell nothing of the kind."""
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    text = start.lstrip().lower()
    if not start:
        return "empty: its download was broken off; fetch it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: its address led to a page, perhaps for signing in; fetch the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file: fetch it with git lfs pull, or by its download address"
    if start.startswith(b"GGUF"):
        return "a GGUF file, which is not read here; use a .safetensors file"
    if text.startswith(b"{") and b"\0" not in start[:8]:  # a safetensors file begins with a length, which has zeros
        return "a text of JSON, perhaps an error that its address answered; fetch the file again"
    if zipfile.is_zipfile(path):
        return None if _is_torch_archive(path) else "a zip archive: unpack it"
    if start.startswith(b"PK\x03\x04") or _is_cut_short(path, start):
        return "cut short: its download was broken off; fetch it again"
    return None


def shapes(path: Path) -> Shapes:
    """Name and shape of every tensor of the file; nothing where it cannot be read."""
    return _shapes(path, identity(path))


@lru_cache(maxsize=64)
def _shapes(path: Path, _state: Identity) -> Shapes:
    try:
        if path.suffix.casefold() != ".safetensors":
            return pickled.shapes(path)
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError):
        return {}


def kind_of(names: Shapes) -> str | None:
    """What the tensors are of, in words; None where that is not known."""
    for kind, mark in MARKS:
        if any(mark.search(name) for name in names):
            return kind
    if any(name.startswith(UNET) for name in names):
        return _kind_of_checkpoint(names)
    if any(name.startswith(("input_blocks.0.0.", "down_blocks.0.")) for name in names):
        return BARE_UNET
    if "decoder.conv_in.weight" in names or (names and all(name.startswith(VAE) for name in names)):
        return _kind_of_vae(names)
    return None


def _kind_of_checkpoint(names: Shapes) -> str | None:
    width = next((shape[1] for name, shape in names.items() if TEXT_WIDTH.search(name) and len(shape) > 1), None)
    conditioned = SIZES_AND_POOLED_TEXT in names
    whole = any(not name.startswith(UNET) for name in names)
    kinds = {(768, False): SD15, (1024, False): SD2, (2048, True): SDXL, (1280, True): SDXL_REFINER}
    kind = kinds.get((width or 0, conditioned))
    return BARE_UNET if kind and not whole else kind


def _kind_of_vae(names: Shapes) -> str:
    shape = names.get("decoder.conv_in.weight") or names.get(f"{VAE}decoder.conv_in.weight") or ()
    return WIDE_VAE if shape[1:2] == (16,) else VAE_ALONE


def _is_torch_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _is_cut_short(path: Path, start: bytes) -> bool:
    """Whether a safetensors file is shorter than its header says."""
    if path.suffix.casefold() != ".safetensors" or len(start) < 9 or start[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", start[:8])
    size = path.stat().st_size
    if length > MOST_HEADER:
        return False
    if 8 + length > size:
        return True
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return False
    return size < 8 + length + _end(header.values() if isinstance(header, dict) else ())


def _end(entries: Iterable[object]) -> int:
    """Where the last tensor ends."""
    offsets = (entry.get("data_offsets") for entry in entries if isinstance(entry, dict))
    ends = [pair[1] for pair in offsets if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int)]
    return max(ends, default=0)
