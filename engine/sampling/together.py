"""Several pictures sampled at once: each by a thread of its own, their UNet calls made as one.

Only one of the threads computes at a time: the turn goes on where one asks for a UNet call, or has ended. Once all have
asked, whoever came last makes one call of those that are alike, and all go on with their rows of its output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any

import torch
from torch import Tensor

from engine.gpu.onednn import begin_run
from engine.gpu.out_of_memory import is_out_of_memory
from engine.sampling.graphs import Graphs
from engine.sampling.unet import UNet
from engine.sampling.unet_call import UNetCall

log = logging.getLogger(__name__)

States = tuple[tuple[Any, Hashable], ...]


@dataclass
class _Asked:
    """A call that a thread waits for."""

    unet: UNet
    call: UNetCall
    place: Hashable
    states: States
    output: Tensor | None = None
    error: BaseException | None = None

    @property
    def alike(self) -> Hashable:
        """What calls that may be made as one have in common; None for one that is made alone."""
        alone = self.states or self.call.residuals is not None
        return None if alone else (id(self.unet), self.place, self.call.form, self.call.moment)


class Together:
    """The turns of several threads, and the calls that they make together.

    `room` is asked once the first of them wants the UNet: whether there is memory for all. If not, each keeps its turn
    to its end, as if it were alone. `graphs` records the calls, if given; `joined` counts those made for several.
    """

    def __init__(self, threads: int, room: Callable[[], bool] = lambda: True, graphs: Graphs | None = None) -> None:
        self.room, self.graphs, self.joined = room, graphs, 0
        self._left, self._turn = threads, Condition()
        self._busy = False
        self._asked: list[_Asked] = []
        self._may_join: bool | None = None
        self._contexts: dict[tuple[int, ...], tuple[Tensor, ...]] = {}

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Wait for this thread's turn; what it computes, it computes inside."""
        self._take_turn()
        try:
            yield
        finally:
            self._left -= 1
            self._make_calls()
            self._give_turn()

    def run(self, unet: UNet, call: UNetCall, place: Hashable, states: States = ()) -> Tensor:
        """The UNet's output for a call; others have their turn meanwhile."""
        if self._may_join is None:
            self._may_join = self.room()
        asked = _Asked(unet, call, place, states)
        if not self._may_join:
            self._alone(asked)
        else:
            self._asked.append(asked)
            self._make_calls()
            self._give_turn()
            with self._turn:
                self._turn.wait_for(lambda: asked.output is not None or asked.error is not None)
            self._take_turn()
        if asked.error is not None:
            raise asked.error
        assert asked.output is not None
        return asked.output

    def _take_turn(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: not self._busy)
            self._busy = True

    def _give_turn(self) -> None:
        with self._turn:
            self._busy = False
            self._turn.notify_all()

    @torch.inference_mode()
    def _make_calls(self) -> None:
        """Make all calls that are waited for, if nobody is left who might ask for one more."""
        if not self._asked or len(self._asked) < self._left:
            return
        waiting, self._asked = self._asked, []
        groups: dict[Hashable, list[_Asked]] = {}
        for asked in waiting:
            groups.setdefault(asked.alike or id(asked), []).append(asked)
        for group in groups.values():
            if len(group) == 1 or not self._as_one(group):
                for asked in group:
                    self._alone(asked)

    def _as_one(self, group: list[_Asked]) -> bool:
        """Make one call of several; whether there was memory for it, without which no more are joined."""
        calls, first = [asked.call for asked in group], group[0]
        try:
            call = UNetCall(
                torch.cat([call.x for call in calls]),
                first.call.t,
                self._context(calls),
                _joined([call.pooled for call in calls]),
                _joined([call.sizes for call in calls]),
            )
            outputs = self._made(first.unet, call, first.place, ()).chunk(len(group))
        except Exception as error:  # whatever it is, those who wait must hear of it
            if not isinstance(error, RuntimeError) or not is_out_of_memory(error):
                self._fail(group, error)
                return True
            log.warning("there is no memory for %d pictures at once: %s", len(group), error)
            self._may_join = False
            return False
        self.joined += 1
        for asked, output in zip(group, outputs, strict=True):
            asked.output = output
        return True

    def _alone(self, asked: _Asked) -> None:
        try:
            asked.output = self._made(asked.unet, asked.call, asked.place, asked.states)
        except Exception as error:  # it is the waiting thread's
            asked.error = error

    def _made(self, unet: UNet, call: UNetCall, place: Hashable, states: States) -> Tensor:
        begin_run(unet, self)
        return call.on(unet) if self.graphs is None else self.graphs.run(unet, call, place, states)

    def _fail(self, group: list[_Asked], error: Exception) -> None:
        for asked in group:
            asked.error = error

    def _context(self, calls: list[UNetCall]) -> Tensor:
        """The texts of several calls, which stay where they are from step to step."""
        key = tuple(id(call.context) for call in calls)
        if key not in self._contexts:
            texts = [call.context for call in calls]
            self._contexts[key] = torch.cat(texts), *texts  # kept, so that no other has such an id
        return self._contexts[key][0]


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
