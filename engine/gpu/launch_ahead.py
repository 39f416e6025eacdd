"""How far the program's thread may launch ahead of the GPU, which works through its queue in its own time."""

from __future__ import annotations

from collections import deque

import torch

from engine.gpu.capabilities import Features

MOST_AHEAD = 1
"""Steps that may be queued beyond the one at work: enough to keep a GPU busy, few enough for a stop to be prompt."""


class LaunchAhead:
    """Waits, once a step, until the GPU is at most `MOST_AHEAD` steps behind; without a GPU nothing is ever behind."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._streams = device, Features.for_device(device).streams
        self._steps: deque[torch.cuda.Event] = deque()

    def limit(self) -> None:
        """Note a step, and wait for the one before the last if need be."""
        if not self._streams:
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._steps.append(event)
        if len(self._steps) > MOST_AHEAD:
            self._steps.popleft().synchronize()

    def finish(self) -> None:
        """Wait until the GPU has done everything that is queued."""
        if self._streams:
            torch.cuda.current_stream(self._device).synchronize()
        elif self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
