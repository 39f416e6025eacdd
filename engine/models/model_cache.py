"""Loaded models, kept while there is room: the one not used for longest goes first."""

from __future__ import annotations

import gc
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from engine.gpu.device_memory import give_back, total_memory
from engine.heartbeat import Heartbeat

log = logging.getLogger(__name__)

WORKING_ROOM = 6 << 30
"""Bytes of a GPU's memory that are for drawing, not for keeping models."""
LEAST_SHARE = 0.5
"""The part of a small GPU's memory that models get all the same."""
HOST_SHARE = 0.5
"""The part of the machine's memory that models get where there is no GPU."""


class Sized(Protocol):
    """Something that holds memory."""

    @property
    def size(self) -> int:
        """Bytes it holds now."""
        ...


Part = TypeVar("Part", bound=Sized)


class ModelCache:
    """Parts by key, within `budget` bytes; what the task at hand has asked for is never dropped.

    `forget` is called after parts were dropped, before their memory is given back. `heartbeat` shows loading.
    """

    def __init__(
        self,
        device: torch.device,
        budget: int | None = None,
        forget: Callable[[], None] | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.device = device
        self.budget = default_budget(device) if budget is None else budget
        self.forget = forget
        self.heartbeat = heartbeat or Heartbeat()
        self._parts: OrderedDict[Hashable, Sized] = OrderedDict()
        self._in_use: set[Hashable] = set()
        self.loading: Callable[[int], None] = lambda size: None
        self.loaded: Callable[[], None] = lambda: None
        """Called before a part of about this size is loaded, and after one was."""

    def begin(self) -> None:
        """A new task begins: nothing is in use."""
        self._in_use.clear()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is asked for inside is for other work than the task at hand, and not in use any more afterwards."""
        of_task = set(self._in_use)
        try:
            yield
        finally:
            self._in_use = of_task

    def get(self, key: Hashable, load: Callable[[], Part], estimate: int = 0) -> Part:
        """The part under `key`; loaded if it is not here, after room was made for `estimate` bytes."""
        if key not in self._parts:
            self._make_room(estimate)
            self.loading(estimate)
            with self.heartbeat.at("load"):
                self._parts[key] = load()
            self.loaded()
        self._in_use.add(key)
        self._parts.move_to_end(key)
        return self._parts[key]  # type: ignore[return-value]  # what `load` gave for this key

    def drop(self, key: Hashable) -> None:
        """Forget one part; it need not be here."""
        if self._parts.pop(key, None) is not None:
            self._in_use.discard(key)
            self._give_back()

    def clear(self) -> None:
        """Forget every part; for moments at which no task is under way."""
        log.info("%d model(s) dropped, %.1f GB", len(self._parts), self.size / 1e9)
        self._parts.clear()
        self._in_use.clear()
        self._give_back()

    @property
    def parts(self) -> Mapping[Hashable, Sized]:
        """What is here, by key."""
        return self._parts

    @property
    def size(self) -> int:
        """Bytes that all parts hold."""
        return sum(part.size for part in self._parts.values())

    def _make_room(self, needed: int) -> None:
        dropped = []
        for key in list(self._parts):
            if self.size + needed <= self.budget:
                break
            if key not in self._in_use:
                dropped.append(key)
                del self._parts[key]
        if dropped:
            log.info("made room: %d model(s) dropped, %.1f GB kept", len(dropped), self.size / 1e9)
            self._give_back()

    def _give_back(self) -> None:
        gc.collect()
        if self.forget:
            self.forget()
        give_back(self.device)


def default_budget(device: torch.device) -> int:
    """How many bytes of models are kept on a device."""
    total = total_memory(device)
    if total is not None:
        return card_budget(total)
    return int(HOST_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def card_budget(total: int) -> int:
    """How many bytes of models are kept where a card has so much memory."""
    return int(max(total - WORKING_ROOM, LEAST_SHARE * total))
