"""A sampled picture on its way out of the VAE: what ran out of memory there is kept, and decoded again later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from engine.gpu.out_of_memory import is_out_of_memory
from engine.images.codecs import Pixels
from engine.memory_plan import MemoryPlan

log = logging.getLogger(__name__)


class Undecoded(Exception):
    """A picture waits to be decoded again under a smaller plan; raised where the next one is sampled, or at the end."""


class Decoding:
    """One picture's decoding; `picture` has its pixels once `decode` succeeds, however many tries that takes."""

    def __init__(self, decode: Callable[[], Pixels]) -> None:
        self._decode = decode
        self.picture: Future[Pixels] = Future()
        self.failed_under: MemoryPlan | None = None
        """The plan under which it ran out of memory last."""

    def attempt(self, plan: MemoryPlan, undecoded: list[Decoding]) -> None:
        """Decode under this plan; what runs out of memory joins the `undecoded`, any other failure is raised."""
        try:
            self.picture.set_result(self._decode())
            return
        except BaseException as error:
            if not isinstance(error, RuntimeError) or not is_out_of_memory(error):
                self.picture.set_exception(error)
                raise
            log.warning("decoding ran out of memory: %s", error)
        # outside the handler, which keeps what filled the memory alive
        self.failed_under = plan
        undecoded.append(self)
