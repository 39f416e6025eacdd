"""UNet calls recorded as CUDA graphs: a step's thousands of launches become one.

Eager, a UNet of SDXL's size is bound by its launches, not by the GPU. A graph runs the very kernels of the eager call
on the very addresses of the weights: weights merged in place keep it valid, weights that move do not.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import current_thread
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.gpu.graph_capture import capture
from engine.gpu.joined_attention import TextProjections
from engine.sampling.unet import UNet
from engine.sampling.unet_call import UNetCall

MOST_GRAPHS = 8
_WEIGHTS: weakref.WeakKeyDictionary[UNet | nn.Module, list[dict[str, Any]]] = weakref.WeakKeyDictionary()
"""The weights of models' modules, by their own lists."""


class Recorded(Protocol):
    """A call that can be repeated with other values."""

    pool: Any
    """The memory its intermediate results lie in; None for the next one to have its own."""

    def replay(self, call: UNetCall) -> Tensor:
        """The output for a call of the recorded form."""
        ...


class Inputs:
    """Places for the tensors of calls of one form, `call`; what is given again is not copied again.

    Whoever gives a tensor does not change it: another value is another tensor.
    """

    def __init__(self, like: UNetCall) -> None:
        self.call = like.mapped(lambda tensor: tensor.clone(memory_format=torch.contiguous_format))
        self._given: list[weakref.ref[Tensor] | None] = [None for _ in self.call.tensors()]

    def take(self, call: UNetCall) -> bool:
        """Have the values of a call; says whether its text is another than before."""
        text = False
        for place, (mine, given) in enumerate(zip(self.call.tensors(), call.tensors(), strict=True)):
            last = self._given[place]
            if last is None or last() is not given:
                mine.copy_(given)
                self._given[place] = weakref.ref(given)
                text = text or mine is self.call.context
        return text


class CudaGraph:
    """One recorded call; its inputs and its output have memory of their own.

    What its cross-attentions make of the text is made once for all calls with it.
    """

    def __init__(self, unet: UNet, call: UNetCall, pool: Any) -> None:
        self.inputs = Inputs(call)
        self.texts = TextProjections(unet, self.inputs.call.context)
        self.graph = torch.cuda.CUDAGraph()
        with self.texts.in_use(), capture(self.graph, pool):
            self.output = self.inputs.call.on(unet)
        self.pool = self.graph.pool()

    def replay(self, call: UNetCall) -> Tensor:
        """The output for a call of the recorded form."""
        if self.inputs.take(call):
            self.texts.make(self.inputs.call.context)
        self.graph.replay()
        return self.output.clone()  # graphs share memory: the next one's work may lie where this output does


class RunOnce:
    """A kind of call that was run, and is not recorded yet.

    Libraries prepare for each thread by itself, and cannot while a call is recorded: another thread than the one that
    made this runs such a call once more before. One that ended may have had the same number: threads are told apart by
    themselves.
    """

    def __init__(self) -> None:
        self._thread = weakref.ref(current_thread())

    @property
    def by_this_thread(self) -> bool:
        """Whether it was this thread that ran it."""
        return self._thread() is current_thread()


class Graphs:
    """The graphs of the last few kinds of call, at most `most`; one pipeline's, used by its GPU thread alone.

    A kind of call is run once eagerly, which also lets libraries choose their kernels, recorded the second time and
    replayed from then on (see also `RunOnce`). `kernels` says what computes at the moment: a graph replays the kernels
    it was recorded with.
    """

    def __init__(
        self,
        most: int = MOST_GRAPHS,
        record: Callable[[UNet, UNetCall, Any], Recorded] = CudaGraph,
        kernels: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self.most, self.record, self.kernels = most, record, kernels
        self._kept: OrderedDict[tuple[Any, ...], Recorded | RunOnce] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recorded())

    def run(self, unet: UNet, call: UNetCall, place: Hashable, states: tuple[tuple[Any, Hashable], ...] = ()) -> Tensor:
        """The UNet's output for `call`.

        `place` says where the weights lie (`place_of`); `states` are the attachments with their states.
        """
        self.drop_dead()
        held = tuple((_by_value_or_weakly(attachment), state) for attachment, state in states)
        key = (weakref.ref(unet), (place, self.kernels()), call.form, held)
        if key not in self._kept:
            self._keep(key, RunOnce())
            return call.on(unet)
        recorded = self._kept[key]
        if isinstance(recorded, RunOnce):
            if not recorded.by_this_thread:
                call.on(unet)
            recorded = self.record(unet, call, self._pool())
        self._keep(key, recorded)
        return recorded.replay(call)

    def drop_dead(self) -> None:
        """Drop what was recorded of UNets, or with attachments, that are no more: nobody can ask for it again."""
        for key in [key for key in self._kept if any(_dead(part) for part in (key[0], *(a for a, _ in key[3])))]:
            del self._kept[key]

    def clear(self) -> None:
        """Drop all graphs, and with them their memory."""
        self._kept.clear()

    def _keep(self, key: tuple[Any, ...], recorded: Recorded | RunOnce) -> None:
        self._kept[key] = recorded
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def _pool(self) -> Any:
        """The memory the living graphs share; they run one after the other."""
        return next((recorded.pool for recorded in self._recorded()), None)

    def _recorded(self) -> list[Recorded]:
        return [recorded for recorded in self._kept.values() if not isinstance(recorded, RunOnce)]


def place_of(model: UNet | nn.Module) -> Hashable:
    """Where a model's weights lie: a graph is good for these addresses only.

    It is asked for before every picture, while a GPU has nothing to do, so a model's modules are looked up once.
    """
    if model not in _WEIGHTS:
        _WEIGHTS[model] = [module._parameters for module in model.modules() if module._parameters]
    found = (weight for weights in _WEIGHTS[model] for weight in weights.values() if weight is not None)
    return hash(tuple(weight.data_ptr() for weight in found))


def _by_value_or_weakly(attachment: Any) -> Hashable:
    """What stands for an attachment in a key: itself if it compares by value, else a reference that dies with it."""
    return weakref.ref(attachment) if type(attachment).__eq__ is object.__eq__ else attachment


def _dead(part: Any) -> bool:
    return isinstance(part, weakref.ref) and part() is None
