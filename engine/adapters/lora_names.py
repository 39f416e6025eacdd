"""The names in LoRA files: what PEFT, diffusers and ComfyUI wrap around the usual ones, and kinds not supported."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

ADAPTER_METADATA = "lora_adapter_metadata"
"""Where diffusers writes the settings of its adapters, alpha among them, into a file's metadata."""
PREFIXES = (("base_model.model.", ""), ("model.diffusion_model.", "diffusion_model."), ("text_encoders.", ""))
"""What stands before the usual names in files of PEFT and of ComfyUI, and what stays of it."""
ADAPTER_NAME = re.compile(r"\.(lora_[AB])\.[^.]+\.weight$")
"""PEFT's adapter name, `default` mostly, between a matrix's name and its end."""
MAGNITUDE, DORA_SCALE = ".lora_magnitude_vector", ".dora_scale"
"""DoRA's magnitudes as PEFT and as others name them."""
DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")

UNSUPPORTED = (
    ("IA³", re.compile(r"\.(ia3_l|on_input)")),
    ("BOFT", re.compile(r"\.(boft_R|boft_s)")),
    ("OFT", re.compile(r"\.(oft_blocks|oft_diag|oft_R|oft_r)")),
    ("T-LoRA", re.compile(r"\.(q_layer|p_layer|lambda_layer|base_lambda)")),
)
"""Kinds of adapter that are told from their names alone."""
BOFT_DIMENSIONS = 4
"""Both kinds have `oft_blocks`; BOFT's have this many dimensions, OFT's one less."""


def usual(tensors: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors under the usual names, with the alphas that an adapter's settings give."""
    named = {_usual_name(name): _usual_form(name, tensor) for name, tensor in tensors.items()}
    for name in list(named):
        base = next((name.removesuffix(end) for end in DOWN if name.endswith(end)), None)
        if base is None or f"{base}.alpha" in named or not named[name].dim():
            continue
        alpha = _alpha(base, named[name].shape[0], settings)
        if alpha is not None:
            named[f"{base}.alpha"] = torch.tensor(alpha)
    return named


def adapter_settings(path: Path) -> dict[str, Any]:
    """What diffusers wrote into a safetensors file about its adapters; nothing if it did not."""
    if path.suffix.lower() != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(ADAPTER_METADATA, "")
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def unsupported_kind(tensors: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The kind of adapter that these names of a file tell, if it is one that cannot be applied."""
    for name in names:
        kind = next((kind for kind, mark in UNSUPPORTED if mark.search(name)), None)
        if kind == "OFT" and getattr(tensors[name], "ndim", 0) == BOFT_DIMENSIONS:
            return "BOFT"
        if kind:
            return kind
    return None


def not_numbers(tensors: Mapping[str, Any]) -> list[str]:
    """The tensors that have values which are no finite numbers."""
    large = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor) and _can_be_odd(tensor)}
    if not large:
        return []
    peaks = torch.stack([tensor.float().abs().amax() for tensor in large.values()])  # one wait for the device, not many
    return [name for name, finite in zip(large, peaks.isfinite().tolist(), strict=True) if not finite]


def _can_be_odd(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 0 and tensor.numel() > 0


def _usual_name(name: str) -> str:
    for prefix, instead in PREFIXES:
        if name.startswith(prefix):
            name = instead + name.removeprefix(prefix)
    base, magnitude, _ = name.partition(MAGNITUDE)
    return base + DORA_SCALE if magnitude else ADAPTER_NAME.sub(r".\1.weight", name)


def _usual_form(name: str, tensor: Any) -> Any:
    """PEFT's magnitudes of a convolution, `[1, outputs, 1, 1]`, as `[outputs]`: elsewhere that shape is of columns."""
    return tensor.flatten() if MAGNITUDE in name and tensor.dim() > 1 else tensor


def _alpha(base: str, rank: int, settings: Mapping[str, Any]) -> float | None:
    """The alpha of a weight, such that alpha / rank is its factor."""
    parts = ("text_encoder_2", "text_encoder", "unet")
    prefix = next((f"{part}." for part in parts if base.startswith(f"{part}.")), "unet.")
    own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)} or settings
    pattern = own.get("alpha_pattern")
    patterns = pattern.items() if isinstance(pattern, dict) else ()
    alpha = next((value for module, value in patterns if base.endswith(module)), own.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        return None
    return float(alpha) * (math.sqrt(rank) if own.get("use_rslora") else 1.0)
