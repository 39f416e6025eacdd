"""Work beside the drawing on a GPU: looked at, decoded and copied on a stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from engine.gpu.capabilities import Features

Made = Callable[[Tensor, Tensor], Tensor]
"""What makes a tensor out of two numbers on the host, and of nothing that is still being computed."""


class SideStream:
    """A stream for another thread than the one that draws; without a GPU there is nothing to part."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if Features.for_device(device).streams else None

    def mark(self) -> torch.cuda.Event | None:
        """The point that the drawing's stream has reached."""
        if self._stream is None:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    @contextmanager
    def since(self, mark: torch.cuda.Event | None) -> Iterator[None]:
        """Whatever is computed inside waits for the mark, and for nothing that was drawn after it."""
        if self._stream is None or mark is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(mark)
            yield


def made_beside(device: torch.device, make: Made) -> Made:
    """`make` on a stream of its own, so that its many small launches run beside what is queued before them.

    Without a GPU there is nothing to part.
    """
    if not Features.for_device(device).streams:
        return make
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # for what `make` holds already

    def beside(first: Tensor, second: Tensor) -> Tensor:
        current = torch.cuda.current_stream(device)
        with torch.cuda.stream(stream):
            made = make(first, second)
        current.wait_stream(stream)
        made.record_stream(current)
        return made

    return beside


class Fetched:
    """A tensor on its way to the host: its copy is queued at once, behind what makes it.

    Whoever wants it waits for an event. A thread that asks for the copy of something unfinished waits inside CUDA
    instead, where no other thread can launch anything meanwhile: the drawing would stand still between two steps.
    """

    def __init__(self, tensor: Tensor) -> None:
        streams = Features.for_device(tensor.device).streams
        self._here = tensor.to("cpu", non_blocking=streams)  # without an event nobody knew when it is there
        self._done: torch.cuda.Event | None = None
        if streams:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def array(self) -> np.ndarray:
        """Its values, once they are there."""
        if self._done is not None:
            self._done.synchronize()
        return self._here.numpy()
