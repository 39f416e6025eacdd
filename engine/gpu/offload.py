"""Weights that leave a GPU for the host's memory and come back, in pieces that move as one.

A piece has one block of memory on each side, and its tensors are views of the block on the device: when that is given
back the tensors stay what they are, so modules, joined projections and merged LoRAs know nothing of it. diffusers'
group offloading exchanges each parameter's tensor instead, which would part joined projections, and it streams a whole
model where only a part of it lacks room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from engine.gpu.host_memory import HostMemory, MappedFile

_Span = tuple[torch.UntypedStorage, int, int]
"""A part of a storage: its first byte, and the one after its last."""
ALIGNMENT = 512
"""Bytes between which tensors begin on a device, as its allocator has it."""


class WeightGroup:
    """Tensors that lie in one piece on the device, or on the host: in one piece, or where they lay before.

    The latter is so where they lie on the host already and that has no room for a piece of its own. `file` is the one
    they come from, if it is mapped. Those that `remake` can write again have no place on the host.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor],
        device: torch.device,
        host: HostMemory,
        file: MappedFile | None = None,
        remake: Callable[[], None] | None = None,
    ) -> None:
        self.tensors, self._remake = list(tensors), remake
        spans = _spans(self.tensors)
        self.size = sum(_aligned(end - start) for _, start, end in spans)
        self.present = False
        self.make_room: Callable[[], None] = lambda: None
        """Called before its weights come to be at hand."""
        self.arrived: torch.cuda.Event | None = None
        """When weights that another stream brings are there."""
        self._changed, self._host = False, host
        self._in_file: dict[int, Tensor] = {}
        for tensor in self.tensors:
            tensor.weight_group = self  # type: ignore[attr-defined]  # by which `at_hand` finds it
        with torch.inference_mode():
            for tensor in self.tensors:
                read = vars(tensor).pop("read_from", tensor)
                if file is not None and file.holds(read.untyped_storage()):
                    self._in_file[id(tensor)] = _alias(read)
            self._home = list(_pieces(spans))
            """What lies on the host, each piece with its place on the device."""
            on_host = all(piece.device.type == "cpu" for piece, _ in self._home)
            self.lies_apart = remake is None and on_host and not host.has_room(self.size)
            places = list(self._places(spans))
            whole = None if self.lies_apart or remake is not None else host.take(self.size)
            spans.clear()
            for tensor, *_ in places:
                _point(tensor)  # nothing but `_home` keeps its memory, where there may be room for one only
            if remake is not None:
                self._home.clear()
            if whole is not None:
                self._gather(whole)
            self._there = torch.empty(self.size, dtype=torch.uint8, device=device)
            for place in places:
                _point(*place, storage=self._there.untyped_storage())
            self._there.untyped_storage().resize_(0)

    def in_file(self, tensor: Tensor) -> Tensor | None:
        """A tensor as the mapped file has it, if it has it; it takes no memory."""
        return self._in_file.get(id(tensor))

    def onload(self) -> None:
        """Bring the weights to the device, on the current stream; nothing waits where they are pinned."""
        if not self.present:
            with torch.inference_mode():
                self._there.untyped_storage().resize_(self.size)
                for piece, at in self._home:
                    self._there[at : at + len(piece)].copy_(piece, non_blocking=True)
            self.present = True
            if self._remake is not None:
                self._made_again(self._remake)

    def offload(self) -> None:
        """Give their memory on the device back; what was changed there is copied home first."""
        if self.present:
            if self._changed:
                with torch.inference_mode():
                    self._bring_home()
                self._changed = False
            self._there.untyped_storage().resize_(0)
            self.present, self.arrived = False, None

    def _made_again(self, remake: Callable[[], None]) -> None:
        try:
            remake()
        except BaseException:
            self.offload()
            raise

    def _gather(self, whole: Tensor) -> None:
        """Have the host's side in one piece of its own; what is copied gives its memory back at once."""
        while self._home:
            piece, at = self._home.pop()
            whole[at : at + len(piece)].copy_(piece)
        self._home = [(whole, 0)]

    def _bring_home(self) -> None:
        """Have the host's side be as the device's; a file is not written into."""
        if self.lies_apart:
            self._home, self.lies_apart = [(self._host.take(self.size), 0)], False
        self._home[0][0].copy_(self._there)

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

    def _places(self, spans: Iterable[_Span]) -> Iterator[tuple[Tensor, int, torch.Size, tuple[int, ...]]]:
        """Each tensor with its first byte among all spans', its shape and its strides."""
        at = 0
        for storage, start, end in spans:
            for tensor in self.tensors:
                if _holds(storage, start, end, tensor):
                    yield tensor, at + _first_byte(tensor) - start, tensor.size(), tensor.stride()
            at += _aligned(end - start)


def _point(
    tensor: Tensor,
    at: int = 0,
    shape: Sequence[int] = (0,),
    stride: Sequence[int] = (1,),
    storage: torch.UntypedStorage | None = None,
) -> None:
    """Have a tensor be a view of a storage, from a byte on, or of nothing; views are made in its own mode."""
    with torch.inference_mode(tensor.is_inference()):
        new = torch.empty(0, dtype=tensor.dtype, device=tensor.device if storage is None else storage.device)
        if storage is not None:
            new.set_(storage, at // tensor.element_size(), torch.Size(shape), tuple(stride))
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


def in_file(weight: Tensor) -> Tensor | None:
    """A weight as the file has it that it comes from, on the host, where that is mapped: it takes no memory."""
    group: WeightGroup | None = getattr(weight, "weight_group", None)
    return None if group is None else group.in_file(weight)


def tensors_of(*modules: nn.Module) -> list[Tensor]:
    """All tensors of modules: weights, buffers, and those that are kept as plain attributes; each once."""
    found: dict[int, Tensor] = {}
    for module in modules:
        for part in module.modules():
            own: list[Any] = [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
            found |= {id(tensor): tensor for tensor in own if isinstance(tensor, Tensor)}
    return list(found.values())


def _alias(tensor: Tensor) -> Tensor:
    """Another tensor of the same memory, which stays there when the first one is pointed elsewhere."""
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def _pieces(spans: Iterable[_Span]) -> Iterator[tuple[Tensor, int]]:
    """The bytes of each span, and their place among all of them."""
    at = 0
    for storage, start, end in spans:
        yield torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)[start:end], at
        at += _aligned(end - start)


def _spans(tensors: Iterable[Tensor]) -> list[_Span]:
    """The parts of storages that the tensors are made of, those that overlap as one."""
    spans: list[_Span] = []
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
