"""Who is on the GPU: parts come when they are called and leave when others need the room, as the memory plan says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from engine.gpu.block_stream import BlockStream, blocks_of, streamable
from engine.gpu.capabilities import Features
from engine.gpu.device_memory import free_bytes, give_back, unused_memory
from engine.gpu.host_memory import HostMemory, MappedFile
from engine.gpu.offload import WeightGroup, tensors_of
from engine.memory_plan import GIB, LIBRARIES, MemoryPlan, Mode, Parts, Work, plan_memory

log = logging.getLogger(__name__)

GUEST_WORK = GIB // 2
"""Bytes that a model beside those that draw takes for its work."""


class Part:
    """Modules that come to the device together when one of them is called; `work` is what they take beside weights."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        residency: Residency,
        file: MappedFile | None = None,
        remake: Callable[[], None] | None = None,
    ) -> None:
        self.work, self.remake = GUEST_WORK, remake
        self.called = self.settled = 0
        """The number of its latest call among those of all parts, and of the last change after which it had room."""
        self.groups = self._grouped(modules, residency, file)
        for group in self.groups:
            group.make_room = partial(self._make_room, residency, group.size)
        self.handles = [
            module.register_forward_pre_hook(lambda *_: residency.come(self))
            for root in modules
            for module in self._called(root)
        ]

    @property
    def present(self) -> bool:
        """Whether its weights are on the device."""
        return all(group.present for group in self.groups)

    @property
    def held(self) -> int:
        """Bytes that it holds on the device."""
        return sum(group.size for group in self.groups if group.present)

    @property
    def needed(self) -> int:
        """Bytes that it holds there while it works."""
        return sum(group.size for group in self.groups)

    def onload(self) -> None:
        """Bring its weights to the device."""
        for group in self.groups:
            group.onload()

    def offload(self) -> None:
        """Give its memory on the device back."""
        for group in self.groups:
            group.offload()

    def _make_room(self, residency: Residency, size: int) -> None:
        """Have so many bytes free for weights of its own, beside those that are here, and for its work."""
        residency.make_room(self.held + size + self.work, self)

    def _grouped(self, modules: Sequence[nn.Module], of: Residency, file: MappedFile | None) -> list[WeightGroup]:
        return [WeightGroup(tensors_of(*modules), of.device, of.host, file, self.remake)]

    def _called(self, root: nn.Module) -> Iterator[nn.Module]:
        """The modules whose call brings the part: all, since some are called without the whole."""
        return root.modules()


class UNetPart(Part):
    """A UNet, whose blocks can be streamed."""

    stream: BlockStream

    @property
    def present(self) -> bool:
        """Whether all that is not streamed is on the device."""
        return self.groups[0].present and self.stream.present

    @property
    def needed(self) -> int:
        """Bytes that it holds there while it works."""
        return self.groups[0].size + self.stream.needed

    def onload(self) -> None:
        """Bring to the device what is not streamed."""
        self.groups[0].onload()
        self.stream.onload()

    def offload(self) -> None:
        """Give its memory on the device back."""
        self.stream.settle()
        super().offload()

    def _grouped(self, modules: Sequence[nn.Module], of: Residency, file: MappedFile | None) -> list[WeightGroup]:
        (unet,) = modules
        blocks = blocks_of(unet)
        in_blocks = {id(tensor) for block in blocks for tensor in streamable(block)}
        rest = [tensor for tensor in tensors_of(unet) if id(tensor) not in in_blocks]
        groups = [WeightGroup(streamable(block), of.device, of.host, file) for block in blocks]
        self.stream = BlockStream(blocks, groups, of.device)
        return [WeightGroup(rest, of.device, of.host, file), *groups]

    def _called(self, root: nn.Module) -> Iterator[nn.Module]:
        yield root


class Residency:
    """The parts that may leave, within the plan's budget; `left` is called when recorded calls are to be dropped:
    a UNet has left, or their room is needed.

    Until a plan asks for it no part is adopted: everything stays where it was loaded. No plan is to be more comfortable
    than `least`. With `keep` everything stays, whatever is free, until that runs out of memory.
    """

    def __init__(
        self,
        device: torch.device,
        left: Callable[[], None] = lambda: None,
        least: Mode = "resident",
        *,
        keep: bool = False,
    ) -> None:
        self.device, self.left, self.least, self.keep = device, left, least, keep
        self.recorded: Callable[[], bool] = lambda: False
        """Whether there are recorded UNet calls, which hold memory."""
        self.work = Work(0, 0, 0, 0)
        """That of the task at hand."""
        self.host = HostMemory(pin=Features.for_device(device).pinning)
        self.guests: Callable[[], int] = lambda: 0
        """Bytes of loaded models that take no turns: what came after the plan was made is not in its budget."""
        self.plan = MemoryPlan()
        self._parts: WeakKeyDictionary[nn.Module, Part] = WeakKeyDictionary()
        self._calls = self._changes = self._guests = 0
        self._steady = False
        self._lock = RLock()
        self._staying: list[Part] = []

    def available(self) -> int | None:
        """Bytes for weights and work: what is free, what torch keeps unused, what adopted parts hold; None: no end."""
        free = free_bytes(self.device)
        if free is None:
            return None
        return free + unused_memory(self.device) + sum(part.held for part in self.parts) - LIBRARIES

    def crowded(self, parts: Parts) -> bool:
        """Whether parts that are to be loaded are too large to stay all on the device."""
        available = None if self.keep else self.available()
        return available is not None and plan_memory(available, parts, self.work, least=self.least).mode != "resident"

    @property
    def parts(self) -> list[Part]:
        """The adopted parts that are still in use somewhere."""
        return list(dict.fromkeys(self._parts.values()))

    def adopt(
        self,
        *modules: Any,
        work: int | None = None,
        file: MappedFile | None = None,
        remake: Callable[[], None] | None = None,
    ) -> Part:
        """The part that these modules are, made if there is none.

        `file` is the one they were loaded from; `remake` writes their weights again, made of those of other parts,
        and does not hold the modules.
        """
        with self._lock:
            part = self._parts.get(modules[0])
            if part is None:
                kind = UNetPart if hasattr(modules[0], "up_blocks") and hasattr(modules[0], "conv_in") else Part
                part = kind(modules, self, file, remake)
                self._parts.update(dict.fromkeys(modules, part))
            if work is not None:
                part.work = work
            return part

    def has(self, module: Any) -> bool:
        """Whether a module is adopted."""
        return module in self._parts

    def follow(self, plan: MemoryPlan) -> None:
        """Have the parts share the device as the plan says."""
        with self._lock:
            if plan != self.plan:
                if replace(plan, budget=self.plan.budget) != self.plan:
                    self.left()  # parts that were adopted for it hold nothing, and leave without a word
                for part in self.parts:
                    if isinstance(part, UNetPart) and part.stream.streamed != plan.streamed:
                        self._leave(part)
                        part.stream.streamed = plan.streamed
                self.plan = plan
                self._calls, self._changes = self._calls + 1, self._changes + 1  # each part asks for room again
            self._guests = self.guests()
            if plan.budget is not None:
                self._give_back()

    def come(self, part: Part) -> None:
        """Have a part on the device, with room for its work."""
        with self._lock:
            settled = part.called == self._calls or (self._steady and part.settled == self._changes)
            self._calls += 1
            part.called = self._calls
            if settled and part.present:
                return
            self.make_room(part.needed + part.work, part)
            if not part.present:
                self._bring(part)
                self._changes += 1
            part.settled = self._changes

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Parts that take turns inside at every step ask for room again only after one came or left."""
        self._steady = True
        try:
            yield
        finally:
            self._steady = False

    def make_room(self, needed: int, coming: Part | None = None) -> None:
        """Have parts leave, the one not called for longest first, until so many bytes are free of what is available."""
        if self.plan.budget is None:
            return
        with self._lock:
            # Only the modules own their parts: a list of calls kept here would hold the weights of dropped models.
            budget = self.plan.budget - (self.guests() - self._guests)
            others = sorted((part for part in self.parts if part is not coming), key=lambda part: part.called)
            held = sum(part.held for part in others)
            recorded = self.work.graphs if self.recorded() else 0
            replaying = any(isinstance(part, UNetPart) for part in (coming, *self._staying))
            if recorded and not replaying and held + recorded + needed > budget:
                self.left()
            for part in [part for part in others if part not in self._staying]:
                if held + needed <= budget:
                    break
                held -= part.held
                self._leave(part)
            self._give_back()

    @contextmanager
    def staying(self, module: Any) -> Iterator[None]:
        """The part of a module is on the device inside and stays, so that its addresses are good."""
        part = self._parts.get(module)
        if part is None:
            yield
            return
        with self._lock:
            self.come(part)
            self._staying.append(part)
        try:
            yield
        finally:
            self._staying.remove(part)

    def clear(self) -> None:
        """Have every part leave."""
        with self._lock:
            for part in self.parts:
                if part not in self._staying:
                    self._leave(part)
            self._give_back()

    def _give_back(self) -> None:
        """Have torch keep no memory that is unused: CUDA's libraries, and other streams, cannot take it."""
        give_back(self.device)

    def _bring(self, part: Part) -> None:
        """Have a part come; weights that it is made of may come meanwhile, and must not send it away."""
        self._staying.append(part)
        try:
            part.onload()
        finally:
            self._staying.remove(part)

    def _leave(self, part: Part) -> None:
        if part.held:
            part.offload()
            self._changes += 1
            if isinstance(part, UNetPart):
                self.left()
