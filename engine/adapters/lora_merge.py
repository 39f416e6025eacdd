"""LoRAs merged into a model's weights and taken out again; the originals are kept, so that nothing adds up."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.adapters import lora_formats
from engine.adapters.lora_names import adapter_settings, not_numbers, unsupported_kind, usual
from engine.errors import CheckpointError
from engine.files.identity import identity
from engine.gpu.device_memory import free_bytes
from engine.gpu.eight_bit_arithmetic import follow_weight
from engine.gpu.offload import at_hand, by_group, in_file
from engine.gpu.out_of_memory import is_out_of_memory
from engine.models.checkpoint import read_tensors
from engine.models.text_encoders import TextEncoders
from engine.models.weight_names import unet_names
from engine.sampling.unet import UNet

log = logging.getLogger(__name__)

SUPPORTED = "LoRA, LoCon, LoHa, LoKr, GLoRA and DoRA"
PATCH_SUFFIX = ".patch"
ROOM = 4 << 30
"""Bytes of a GPU's memory that kept originals leave free; where there is less they go to the host's."""


@dataclass(frozen=True)
class Patch:
    """A LoRA file and its strength; `unet_only` for files made for a UNet alone, whatever else they hold."""

    path: Path
    strength: float
    unet_only: bool = False


@dataclass(frozen=True)
class _Matched:
    """What a file changes, by weight name; `notes` say what of it fits nothing, `size` is what it holds in bytes."""

    deltas: Mapping[str, lora_formats.Delta]
    notes: tuple[str, ...]
    changes_texts: bool = False
    size: int = 0


_Key = tuple[Hashable, float]
"""A file in a state, and its strength."""

_Stack = Sequence[tuple[_Key, lora_formats.Delta]]
"""What is merged into one weight, in this order."""


class PatchedModel:
    """The weights of a UNet, and of its text encoders if there are any, under patches.

    Merging happens in place, so that whatever knows the weights' addresses stays good. With `texts` false the
    encoders only say which names of a file are a text encoder's; they are neither patched nor kept.
    """

    def __init__(self, unet: UNet, encoders: TextEncoders | None = None, *, texts: bool = True) -> None:
        self.encoders = encoders if texts else None
        self._weights: dict[str, Tensor] = dict(unet.named_parameters())
        self._unet_bases = lora_formats.unet_bases(unet_names(unet.state_dict()))
        self._text_bases: dict[str, str] = {}
        if encoders is not None:
            parts = {"clip_l": encoders.clip_l, "clip_g": encoders.clip_g}
            self._text_bases = lora_formats.text_bases({name: part.layers for name, part in parts.items()})
            for name, part in parts.items() if texts else ():
                self._weights |= {f"{name}.{inner}": weight for inner, weight in part.module.named_parameters()}
        self._originals: dict[str, Tensor] = {}
        self._stacks: dict[str, tuple[_Key, ...]] = {}
        self._unfit: dict[str, tuple[_Key, ...]] = {}
        self._files: dict[Hashable, _Matched] = {}

    @property
    def size(self) -> int:
        """Bytes of the kept originals, without those that a mapped file has, and of the files in force."""
        kept = (name for name in self._originals if in_file(self._weights[name]) is None)
        originals = sum(self._originals[name].nbytes for name in kept)
        return originals + sum(matched.size for matched in self._files.values())

    def to_load(self, patches: Sequence[Patch]) -> int:
        """Bytes of the patches' files that are not in force yet."""
        new = [patch.path for patch in patches if (identity(patch.path), patch.unet_only) not in self._files]
        return sum(path.stat().st_size for path in new if path.is_file())

    @torch.inference_mode()
    def apply(self, patches: Sequence[Patch]) -> list[str]:
        """Put exactly these patches in force, in this order; the notes say what of them has no effect.

        Raises:
            CheckpointError: a file is not there or cannot be read.
        """
        notes: list[str] = []
        in_force: list[tuple[_Key, _Matched]] = []
        files: dict[_Key, str] = {}
        for patch in patches:
            file = (identity(patch.path), patch.unet_only)
            matched = self._files.get(file) or self._matched(patch)
            self._files[file] = matched
            notes += matched.notes
            in_force.append(((file, patch.strength), matched))
            files[file, patch.strength] = patch.path.name
        self._files = {key[0]: matched for key, matched in in_force}
        stacks: dict[str, list[tuple[_Key, lora_formats.Delta]]] = {}
        for key, matched in in_force:
            for name, delta in matched.deltas.items():
                stacks.setdefault(name, []).append((key, delta))
        if self.encoders is not None:
            self.encoders.state = object()  # should merging end halfway, no text is taken for one of another state
        self._change(stacks)
        unfit: dict[str, list[str]] = {}
        for name, stack in stacks.items():
            for key in self._unfit[name] if name in self._weights else _keys(stack):
                unfit.setdefault(files[key], []).append(name)
        notes += [
            f"{len(names)} weights that {file} changes are not in this model, or of another shape, and stay as they "
            f"are, first {names[0]}"
            for file, names in unfit.items()
        ]
        if self.encoders is not None:
            self.encoders.state = tuple(key for key, matched in in_force if matched.changes_texts)
        return list(dict.fromkeys(notes))

    def _matched(self, patch: Patch) -> _Matched:
        tensors = {key: _moved(value, self._device) for key, value in read_patch(patch.path).items()}
        if broken := not_numbers(tensors):
            names = f"{len(broken)} of its tensors hold values that are no numbers (NaN or infinity), first {broken[0]}"
            return _Matched({}, (f"The LoRA {patch.path.name} is left out: {names}",))
        unet = lora_formats.match(tensors, self._unet_bases)
        text = lora_formats.match(
            {key: tensors[key] for key in unet.unmatched}, {} if patch.unet_only else self._text_bases
        )
        left = len(text.unmatched)
        if kind := unsupported_kind(tensors, text.unmatched):
            why = f"it is of the kind {kind}, and none but {SUPPORTED} are applied"
            return _Matched({}, (f"The LoRA {patch.path.name} is left out: {why}",))
        if left > lora_formats.MOST_UNMATCHED:
            made_for = f"{patch.path.name} is left out: {left} of its {len(tensors)} tensors fit nothing in this model"
            return _Matched({}, (f"The LoRA {made_for}; it was made for another kind",))
        first = f", first {text.unmatched[0]}" if left else ""
        notes = (f"{left} tensors of {patch.path.name} fit nothing in this model{first}",) if left else ()
        deltas = {**unet.deltas, **(text.deltas if self.encoders is not None else {})}
        return _Matched(deltas, notes, bool(text.deltas), _size_of(tensors.values()))

    def _change(self, stacks: Mapping[str, _Stack]) -> None:
        """Have exactly these deltas in the weights; what is merged already is left alone, and weights come at hand
        with all that move with them."""
        out = [name for name in self._stacks if name not in stacks]
        new = [name for name, stack in stacks.items() if self._stacks.get(name) != _keys(stack)]
        for names in by_group({name: self._weights[name] for name in (*out, *new) if name in self._weights}):
            with at_hand(self._weights[names[0]], changed=True):
                for name in names:
                    if name in stacks:
                        self._merge(name, stacks[name])
                    else:
                        self._restore(name)

    def _merge(self, name: str, stack: _Stack) -> None:
        """Merge these deltas into a weight that is at hand, and note those that do not fit it."""
        weight = self._weights[name]
        if name not in self._originals:
            self._originals[name] = self._kept(weight)
        original = self._originals[name].to(weight.device)
        fitting = stack
        merged = _merged(original, stack)
        if merged is None:
            fitting = [entry for entry in stack if _merged(original, [entry]) is not None]
            merged = _merged(original, fitting)
        rounded = self.encoders is not None and self.encoders.rounded and name.startswith("clip_")
        merged = original if merged is None else merged
        weight.copy_(merged.half() if rounded else merged)
        follow_weight(weight)
        self._stacks[name] = _keys(stack)
        self._unfit[name] = tuple(key for key, delta in stack if (key, delta) not in fitting)

    def _restore(self, name: str) -> None:
        """Have the original in a weight that is at hand."""
        self._weights[name].copy_(self._originals.pop(name))
        follow_weight(self._weights[name])
        self._stacks.pop(name, None)
        self._unfit.pop(name, None)

    def _kept(self, weight: Tensor) -> Tensor:
        original = in_file(weight)
        if original is not None:
            return original
        free = free_bytes(weight.device)
        return weight.to("cpu", copy=True) if free is not None and free < ROOM else weight.clone()

    @property
    def _device(self) -> torch.device:
        return next(iter(self._weights.values())).device


def _keys(stack: _Stack) -> tuple[_Key, ...]:
    return tuple(key for key, _ in stack)


def _merged(original: Tensor, stack: _Stack) -> Tensor | None:
    """The weight under these deltas; None if one of them does not fit it."""
    try:
        return lora_formats.patched(original, [(key[1], delta) for key, delta in stack])
    except (ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        log.debug("a change does not fit: %s", error)
        return None


def read_patch(path: Path) -> dict[str, Any]:
    """A LoRA file's tensors; those of a `.fooocus.patch` are triples of 8-bit values, their least and their largest.

    Raises:
        CheckpointError: the file is not there or holds no such thing.
    """
    if path.suffix.lower() != PATCH_SUFFIX:
        return usual(read_tensors(path), adapter_settings(path))
    if not path.is_file():
        raise CheckpointError(f"{path.name}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tuple(map(torch.as_tensor, values)) for name, values in content.items()}
    except Exception as error:
        log.info("%s cannot be read", path, exc_info=error)
        raise CheckpointError(f"{path.name}: not a readable patch file; fetch it again") from error


def _moved(value: Any, device: torch.device) -> Any:
    """A file's value on the device; single numbers stay where they are read without waiting for it."""
    if isinstance(value, tuple):
        return tuple(part.to(device) for part in value)
    return value.to(device) if value.dim() else value


def _size_of(values: Iterable[Any]) -> int:
    """About the bytes that deltas made of these values hold: 8-bit ones as they are, others in fp32."""
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return sum(part.nbytes if part.dtype == torch.uint8 else 4 * part.numel() for part in parts)
