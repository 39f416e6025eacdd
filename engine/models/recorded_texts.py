"""A text encoder's calls recorded as CUDA graphs: eager, its thousand launches take a GPU longer than its work."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

from engine.gpu.capabilities import Features
from engine.gpu.graph_capture import capture
from engine.models.clip_text import ClipText, ClipTextModel
from engine.sampling.graphs import RunOnce, place_of

MOST_ROWS = 2
"""With more rows a call is not recorded: the states of all layers, which are kept, are 13 MB a row."""

Call = Callable[[Tensor], ClipText]
"""What a text encoder makes of ids `[rows, tokens]`."""


class Replayed(Protocol):
    """A recorded call."""

    def replay(self, ids: Tensor) -> ClipText:
        """What the encoder makes of ids of the recorded shape, until the next replay."""
        ...


class RecordedCall:
    """One call as a CUDA graph, whose output lies in memory of its own."""

    def __init__(self, call: Call, ids: Tensor) -> None:
        self.ids, self.graph = ids.clone(), torch.cuda.CUDAGraph()
        with capture(self.graph):
            self.output = call(self.ids)

    def replay(self, ids: Tensor) -> ClipText:
        """What the encoder makes of ids of the recorded shape, until the next replay."""
        self.ids.copy_(ids)
        self.graph.replay()
        return self.output


class RecordedTexts:
    """The calls of a text encoder's module, by their rows: run once eagerly, recorded the second time, then replayed.

    They are recorded on a GPU whose weights stay there (others know their group), and dropped when weights have moved.
    """

    def __init__(self, module: ClipTextModel, record: Callable[[Call, Tensor], Replayed] = RecordedCall) -> None:
        self.module, self.record = module, record
        self._kept: dict[int, Replayed | RunOnce] = {}
        self._place: Hashable = None

    def __call__(self, ids: Tensor) -> ClipText:
        """What the module makes of ids `[rows, tokens]`, with all hidden states; good until the next call."""
        rows = len(ids)
        if not self._stays(ids.device):
            self._kept.clear()
            return self._eager(ids)
        if rows > MOST_ROWS:
            return self._eager(ids)
        place = place_of(self.module)
        if place != self._place:
            self._kept.clear()
            self._place = place
        kept = self._kept.get(rows)
        if kept is None:
            self._kept[rows] = RunOnce()
            return self._eager(ids)
        if isinstance(kept, RunOnce):
            if not kept.by_this_thread:
                self._eager(ids)
            kept = self._kept[rows] = self.record(self._eager, ids)
        return kept.replay(ids)

    def forget(self) -> None:
        """Drop what is recorded, and with it its memory."""
        self._kept.clear()

    def _stays(self, device: torch.device) -> bool:
        """Whether calls are recorded."""
        weight = next(self.module.parameters())
        return Features.for_device(device).graphs and not hasattr(weight, "weight_group")

    def _eager(self, ids: Tensor) -> ClipText:
        return self.module(ids)
