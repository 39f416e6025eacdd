"""Weights that leave a GPU for the host's memory and come back, in pieces that move as one.

A piece has one block of memory on each side, and its tensors are views of the block on the device: when that is given
back the tensors stay what they are, so modules, joined projections and merged LoRAs know nothing of it. diffusers'
group offloading exchanges each parameter's tensor instead, which would part joined projections, and it streams a whole
model where only a part of it lacks room.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

ALIGNMENT = 512
"""Bytes between which tensors begin on a device, as its allocator has it."""
PAGE = 4096
SPARE = 3 << 30
"""Bytes of the machine's memory that are never pinned."""


class HostMemory:
    """Memory of the host for weights, pinned as far as the machine has room: what is pinned travels faster."""

    def __init__(self, *, pin: bool) -> None:
        self.pin = pin

    def take(self, size: int) -> Tensor:
        """So many bytes, uint8."""
        whole = torch.empty(size + 2 * PAGE, dtype=torch.uint8)
        first = -whole.data_ptr() % PAGE
        taken = whole[first : first + size]
        if self.pin and size and available_host_memory() > SPARE:
            # Pinned in place: torch's own pinned memory comes in powers of two.
            place, length = taken.data_ptr(), -(-size // PAGE) * PAGE
            if int(torch.cuda.cudart().cudaHostRegister(place, length, 0)) == 0:
                weakref.finalize(taken, _unpin, place, whole)
            else:
                self.pin = False
                log.warning("weights on the host are not pinned from here on; they travel more slowly")
        return taken


def _unpin(place: int, _memory: Tensor) -> None:
    """Let pages go before their memory, which is given along, is given back."""
    torch.cuda.cudart().cudaHostUnregister(place)


def available_host_memory() -> int:
    """Bytes of the machine's memory that are free or can be freed; much where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 1 << 62
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 1 << 62)


class WeightGroup:
    """Tensors that lie in one piece on the device, or in one piece on the host."""

    def __init__(self, tensors: Iterable[Tensor], device: torch.device, host: HostMemory) -> None:
        self.tensors = list(tensors)
        spans = _spans(self.tensors)
        self.size = sum(_aligned(end - start) for _, start, end in spans)
        self.present = False
        self.make_room: Callable[[], None] = lambda: None
        """Called before its weights come to be at hand."""
        self.arrived: torch.cuda.Event | None = None
        """When weights that another stream brings are there."""
        self._changed = False
        for tensor in self.tensors:
            tensor.weight_group = self  # type: ignore[attr-defined]  # by which `at_hand` finds it
        with torch.inference_mode():
            self._home = host.take(self.size)
            self._there = torch.empty(self.size, dtype=torch.uint8, device=device)
            at = 0
            for storage, start, end in spans:
                bytes_ = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
                self._home[at : at + end - start].copy_(bytes_[start:end])
                for tensor in self.tensors:
                    if _holds(storage, start, end, tensor):
                        self._point(tensor, at + _first_byte(tensor) - start)
                at += _aligned(end - start)
            self._there.untyped_storage().resize_(0)

    def onload(self) -> None:
        """Bring the weights to the device, on the current stream; nothing waits where they are pinned."""
        if not self.present:
            with torch.inference_mode():
                self._there.untyped_storage().resize_(self.size)
                self._there.copy_(self._home, non_blocking=True)
            self.present = True

    def offload(self) -> None:
        """Give their memory on the device back; what was changed there is copied home first."""
        if self.present:
            if self._changed:
                with torch.inference_mode():
                    self._home.copy_(self._there)
                self._changed = False
            self._there.untyped_storage().resize_(0)
            self.present, self.arrived = False, None

    def wait(self) -> None:
        """Have the current stream wait for weights that another one brings."""
        if self.arrived is not None:
            torch.cuda.current_stream(self._there.device).wait_event(self.arrived)

    @contextmanager
    def at_hand(self, *, changed: bool) -> Iterator[None]:
        """The weights are on the device inside, and perhaps changed there; afterwards they are where they were."""
        was_there = self.present
        if not was_there:
            self.make_room()
        self.onload()
        self.wait()
        try:
            yield
        finally:
            self._changed |= changed
            if not was_there:
                self.offload()

    def _point(self, tensor: Tensor, at: int) -> None:
        """Have a tensor be a view of the piece, from a byte on; views are made in the mode in which the tensor was."""
        with torch.inference_mode(tensor.is_inference()):
            new = torch.empty(0, dtype=tensor.dtype, device=self._there.device)
            first = at // tensor.element_size()
            new.set_(self._there.untyped_storage(), first, tensor.size(), tensor.stride())
            tensor.data = new


def at_hand(weight: Tensor, *, changed: bool = False) -> AbstractContextManager[None]:
    """A weight is on its device inside, wherever it is kept; with `changed` what is written into it lasts."""
    group: WeightGroup | None = getattr(weight, "weight_group", None)
    return nullcontext() if group is None else group.at_hand(changed=changed)


def by_group(weights: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The names of weights, those that move together in one list: with one of them at hand all are."""
    names: dict[int, list[str]] = {}
    for name, weight in weights.items():
        names.setdefault(id(getattr(weight, "weight_group", weight)), []).append(name)
    return iter(names.values())


def moves(weight: Tensor) -> bool:
    """Whether a weight may leave its device."""
    return hasattr(weight, "weight_group")


def tensors_of(*modules: nn.Module) -> list[Tensor]:
    """All tensors of modules: weights, buffers, and those that are kept as plain attributes; each once."""
    found: dict[int, Tensor] = {}
    for module in modules:
        for part in module.modules():
            own: list[Any] = [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
            found |= {id(tensor): tensor for tensor in own if isinstance(tensor, Tensor)}
    return list(found.values())


def _spans(tensors: Iterable[Tensor]) -> list[tuple[torch.UntypedStorage, int, int]]:
    """The parts of storages that the tensors are made of, those that overlap as one."""
    spans: list[tuple[torch.UntypedStorage, int, int]] = []
    by_place = sorted(tensors, key=lambda tensor: (tensor.untyped_storage().data_ptr(), _first_byte(tensor)))
    for tensor in by_place:
        storage, start, end = tensor.untyped_storage(), _first_byte(tensor), _last_byte(tensor)
        last = spans[-1] if spans else None
        if last is not None and last[0].data_ptr() == storage.data_ptr() and start < last[2]:
            spans[-1] = (last[0], last[1], max(last[2], end))
        else:
            spans.append((storage, start, end))
    return spans


def _holds(storage: torch.UntypedStorage, start: int, end: int, tensor: Tensor) -> bool:
    same = tensor.untyped_storage().data_ptr() == storage.data_ptr() and tensor.device == storage.device
    return same and start <= _first_byte(tensor) and _last_byte(tensor) <= end


def _first_byte(tensor: Tensor) -> int:
    return int(tensor.storage_offset()) * tensor.element_size()


def _last_byte(tensor: Tensor) -> int:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.size(), tensor.stride(), strict=True))
    return _first_byte(tensor) + (int(reach + 1) * tensor.element_size() if tensor.numel() else 0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
