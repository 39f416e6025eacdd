"""LoRA files: matching their tensors to a network's weights, and the change each makes to a weight.

A file's tensors are grouped by base name `X`; `X` names one weight in any of the spellings trainers use. The formulas
are those of LoRA (Hu 2021), LyCORIS (LoHa, LoKr, LoCon; Yeh 2023), GLoRA (Chavan 2023) and DoRA (Liu 2024).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.gpu.upcast import stored

MOST_UNMATCHED = 12
"""A file with more tensors than this left over was made for another architecture and is not applied."""

Delta = Callable[[Tensor], Tensor]
"""The change of a weight at strength 1, in fp32: takes the weight as patched so far, gives a tensor of its shape."""


@dataclass(frozen=True)
class Match:
    """What a file changes in one network: a delta per weight name, and the tensors that fitted nothing."""

    deltas: dict[str, Delta]
    unmatched: list[str]


def unet_bases(ldm_names: Mapping[str, str]) -> dict[str, str]:
    """Base name -> weight name, for a UNet whose weights `ldm_names` maps to their LDM names (without prefix)."""
    bases: dict[str, str] = {}
    for name, ldm in ldm_names.items():
        bases[f"diffusion_model.{ldm}"] = name
        if not ldm.endswith(".weight"):
            continue
        module, ldm_module = name.removesuffix(".weight"), ldm.removesuffix(".weight")
        for spelling in (ldm_module, f"diffusion_model.{ldm_module}", module, f"diffusion_model.{module}"):
            bases[spelling] = name
        bases["lora_unet_" + ldm_module.replace(".", "_")] = name
        bases["lora_unet_" + module.replace(".", "_")] = name
        processor = re.sub(r"\.to_out\.0$", ".to_out", module.replace(".to_", ".processor.to_"))
        bases[processor] = bases[f"unet.{processor}"] = bases[f"unet.{module}"] = name
    return bases


def text_bases(layers_of: Mapping[str, int]) -> dict[str, str]:
    """Base name -> weight name for the text encoders; `layers_of` has their layer counts under `clip_l`, `clip_g`.

    Weight names are `<encoder>.encoder.layers.<n>.<module>.weight`.
    """
    prefixes = {"clip_l": ("lora_te", "lora_te1", "text_encoder"), "clip_g": ("lora_te2", "text_encoder_2")}
    if "clip_l" not in layers_of:
        prefixes["clip_g"] += ("lora_te", "text_encoder")
    modules = ("mlp.fc1", "mlp.fc2", *(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")))
    bases: dict[str, str] = {}
    for encoder, layers in layers_of.items():
        for layer in range(layers):
            for module in modules:
                path = f"encoder.layers.{layer}.{module}"
                name = f"{encoder}.{path}.weight"
                bases[f"{encoder}.transformer.text_model.{path}.weight"] = name
                bases[f"{encoder}.transformer.text_model.{path}"] = name
                for prefix in prefixes[encoder]:
                    kohya = prefix.startswith("lora_te")
                    full = f"text_model.{path}"
                    bases[f"{prefix}_{full.replace('.', '_')}" if kohya else f"{prefix}.{full}"] = name
    return bases


def match(tensors: Mapping[str, Any], bases: Mapping[str, str]) -> Match:
    """Which weights a file changes, and how.

    `bases` comes from `unet_bases` or `text_bases`; `tensors` is the file, or what another network left of it.
    """
    used: set[str] = set()
    deltas: dict[str, Delta] = {}
    for base, name in bases.items():
        for kind in _KINDS:
            found = kind(tensors, base)
            if found is None:
                continue
            delta, keys, target = found
            used.update(keys)
            magnitude = f"{base}.dora_scale"
            if target == "weight" and magnitude in tensors:
                delta = _decomposed(delta, tensors[magnitude])
                used.add(magnitude)
            deltas[re.sub(r"\.weight$", ".bias", name) if target == "bias" else name] = delta
            if kind is _quantised:
                break
    return Match(deltas, [key for key in tensors if key not in used])


def patched(weight: Tensor, deltas: Iterable[tuple[float, Delta]]) -> Tensor:
    """`weight` with every (strength, delta) added in order: summed in fp32, rounded once to the weight's dtype.

    Raises:
        ValueError, RuntimeError: a delta does not fit the weight.
    """
    total = weight.to(torch.float32, copy=True)
    for strength, delta in deltas:
        total += strength * delta(total).to(total.device)
    return stored(total, weight.dtype)


def _decomposed(change: Delta, magnitude: Tensor) -> Delta:
    """DoRA (Liu 2024): the changed weight's rows or columns brought to learnt lengths.

    Magnitudes `[outputs]` or `[outputs, 1, …]` are of rows, those of shape `[1, inputs, …]` of columns.
    """

    def delta(weight: Tensor) -> Tensor:
        whole = weight + change(weight)
        columns = magnitude.dim() > 1 and magnitude.shape[0] == 1 and magnitude.numel() > 1
        rows = (whole.transpose(0, 1) if columns else whole).flatten(1)
        lengths = rows.norm(dim=1).clamp_min(torch.finfo(torch.float32).eps)
        if magnitude.numel() not in (1, len(lengths)):
            raise ValueError(f"the file has {magnitude.numel()} magnitudes, this weight needs {len(lengths)}")
        factors = magnitude.float().flatten() / lengths
        spread = (1, -1) if columns else (-1, 1)
        return whole * factors.reshape(*spread, *[1] * (whole.dim() - 2)) - weight

    return delta


_Found = tuple[Delta, list[str], str] | None


def _scale(tensors: Mapping[str, Tensor], base: str, rank: int) -> float:
    alpha = tensors.get(f"{base}.alpha")
    return 1.0 if alpha is None else float(alpha) / rank


def _with_alpha(tensors: Mapping[str, Tensor], base: str, keys: list[str]) -> list[str]:
    return [*keys, f"{base}.alpha"] if f"{base}.alpha" in tensors else keys


def _flat(tensor: Tensor) -> Tensor:
    return tensor.float().flatten(1)


def _lora(tensors: Mapping[str, Tensor], base: str) -> _Found:
    spellings = (
        (f"{base}.lora_up.weight", f"{base}.lora_down.weight"),
        (f"{base}_lora.up.weight", f"{base}_lora.down.weight"),
        (f"{base}.lora_linear_layer.up.weight", f"{base}.lora_linear_layer.down.weight"),
        # PEFT's spelling and that of newer diffusers, which Fooocus does not read.
        (f"{base}.lora_B.weight", f"{base}.lora_A.weight"),
        (f"{base}.lora.up.weight", f"{base}.lora.down.weight"),
    )
    pair = next((pair for pair in spellings if pair[0] in tensors and pair[1] in tensors), None)
    if pair is None:
        return None
    up, down = (tensors[key].float() for key in pair)
    keys = list(pair)
    scale = _scale(tensors, base, down.shape[0])
    middle = tensors.get(f"{base}.lora_mid.weight")
    if middle is not None:
        keys.append(f"{base}.lora_mid.weight")
        down = torch.einsum("abuv,bixy->aiuv", middle.float(), down)
    return (
        lambda weight: scale * (_flat(up) @ _flat(down)).reshape(weight.shape),
        _with_alpha(tensors, base, keys),
        "weight",
    )


def _tucker(core: Tensor, right: Tensor, left: Tensor) -> Tensor:
    return torch.einsum("ijkl,jr,ip->prkl", core.float(), right.float(), left.float())


def _loha(tensors: Mapping[str, Tensor], base: str) -> _Found:
    keys = [f"{base}.hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b")]
    if keys[0] not in tensors:
        return None
    w1a, w1b, w2a, w2b = (tensors[key].float() for key in keys)
    scale = _scale(tensors, base, w1b.shape[0])
    if f"{base}.hada_t1" in tensors:
        cores = [f"{base}.hada_t1", f"{base}.hada_t2"]
        keys += cores
        first, second = _tucker(tensors[cores[0]], w1b, w1a), _tucker(tensors[cores[1]], w2b, w2a)
    else:
        first, second = w1a @ w1b, w2a @ w2b
    return lambda weight: scale * (first * second).reshape(weight.shape), _with_alpha(tensors, base, keys), "weight"


def _lokr(tensors: Mapping[str, Tensor], base: str) -> _Found:
    factors: list[Tensor] = []
    keys: list[str] = []
    core = f"{base}.lokr_t2"
    rank = None
    for factor in ("lokr_w1", "lokr_w2"):
        whole, left, right = (f"{base}.{factor}{end}" for end in ("", "_a", "_b"))
        if whole in tensors:
            factors.append(tensors[whole].float())
            keys.append(whole)
        elif left in tensors and right in tensors:
            a, b = tensors[left].float(), tensors[right].float()
            rank = b.shape[0]
            tucker = factor == "lokr_w2" and core in tensors
            factors.append(_tucker(tensors[core], b, a) if tucker else a @ b)
            keys += [left, right, *([core] if tucker else [])]
        else:
            return None
    w1, w2 = factors
    if w2.dim() == 4:
        w1 = w1[:, :, None, None]
    scale = 1.0 if rank is None else _scale(tensors, base, rank)
    return (
        lambda weight: scale * torch.kron(w1, w2.contiguous()).reshape(weight.shape),
        _with_alpha(tensors, base, keys),
        "weight",
    )


def _glora(tensors: Mapping[str, Tensor], base: str) -> _Found:
    keys = [f"{base}.{part}.weight" for part in ("a1", "a2", "b1", "b2")]
    if keys[0] not in tensors:
        return None
    a1, a2, b1, b2 = (_flat(tensors[key]) for key in keys)
    scale = _scale(tensors, base, a1.shape[0])

    def delta(weight: Tensor) -> Tensor:
        return scale * (b2 @ b1 + _flat(weight) @ a2 @ a1).reshape(weight.shape)

    return delta, _with_alpha(tensors, base, keys), "weight"


def _added(key_of: str, target: str) -> Callable[[Mapping[str, Tensor], str], _Found]:
    def kind(tensors: Mapping[str, Tensor], base: str) -> _Found:
        key = f"{base}.{key_of}"
        if key not in tensors:
            return None
        return (lambda weight: _same_shape(tensors[key], weight)), [key], target

    return kind


def _same_shape(tensor: Tensor, weight: Tensor) -> Tensor:
    if tensor.shape != weight.shape:
        raise ValueError(f"the file changes a weight of shape {tuple(tensor.shape)}, this one is {tuple(weight.shape)}")
    return tensor.float()


def _quantised(tensors: Mapping[str, Any], base: str) -> _Found:
    """Fooocus's own kind: 8-bit values between the least and the largest change, under the weight's full name."""
    triple = tensors.get(base)
    if not isinstance(triple, tuple):
        return None
    values, least, largest = triple

    def delta(weight: Tensor) -> Tensor:
        return _same_shape(values.float() / 255 * (largest.float() - least.float()) + least.float(), weight)

    return delta, [base], "weight"


_KINDS = (
    _quantised,
    _lora,
    _loha,
    _lokr,
    _glora,
    _added("w_norm", "weight"),
    _added("b_norm", "bias"),
    _added("diff", "weight"),
    _added("diff_b", "bias"),
)
