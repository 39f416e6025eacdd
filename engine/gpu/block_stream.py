"""A UNet's transformer blocks, some of which come from the host's memory for each call, ahead of their use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from engine.gpu.capabilities import Features
from engine.gpu.offload import WeightGroup, tensors_of
from engine.memory_plan import AHEAD

LARGE = 0.5
"""Blocks of at least this part of the largest one's size can be streamed."""

_SIZES: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()
"""Those of loaded UNets' blocks; a task asks for them before it draws, while a GPU has nothing to do."""


def block_sizes(unet: Any) -> list[int]:
    """Bytes of the weights of each block that can be streamed."""
    if unet not in _SIZES:
        _SIZES[unet] = [sum(tensor.nbytes for tensor in streamable(block)) for block in blocks_of(unet)]
    return _SIZES[unet]


def blocks_of(unet: Any) -> list[Any]:
    """The blocks that can be streamed, in the order in which they compute."""
    ways = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    blocks = [part for way in ways if way is not None for part in way.modules() if _is_block(part)]
    sizes = [sum(tensor.nbytes for tensor in streamable(block)) for block in blocks]
    return [block for block, size in zip(blocks, sizes, strict=True) if size >= LARGE * max(sizes)]


def streamable(block: Any) -> list[Tensor]:
    """A block's weights without those that a fused transformer uses out of the block's own turn.

    They are its norms', before it; and in 8 bits its last bias, after it.
    """
    last = block.ff.net[2].bias
    return [tensor for tensor in tensors_of(block.attn1, block.attn2, block.ff) if tensor is not last]


def _is_block(part: nn.Module) -> bool:
    return isinstance(part, BasicTransformerBlock) and part.attn2 is not None


class BlockStream:
    """Blocks with their weights; `streamed` of them, spread evenly, are on the device only around their own work.

    The copies run on a stream of their own, `AHEAD` blocks before the one that computes. What a block leaves behind is
    taken by a later one, whose copy waits for the work that was queued with the former.
    """

    def __init__(self, blocks: Sequence[Any], groups: Sequence[WeightGroup], device: torch.device) -> None:
        self.groups, self.device = list(groups), device
        self._streamed, self._places = 0, list[int]()
        self._copies = torch.cuda.Stream(device) if Features.for_device(device).streams else None
        for number, block in enumerate(blocks):
            # Fused or not, a transformer calls these two of a block's layers first and last.
            block.attn1.register_forward_pre_hook(lambda *_, number=number: self._begin(number))
            block.ff.register_forward_hook(lambda *_, number=number: self._end(number))

    @property
    def streamed(self) -> int:
        """How many blocks are streamed."""
        return self._streamed

    @streamed.setter
    def streamed(self, count: int) -> None:
        total = len(self.groups)
        self._streamed = min(count, total)
        self._places = [n for n in range(total) if (n + 1) * count // total > n * count // total]

    @property
    def needed(self) -> int:
        """Bytes that the blocks hold on the device while the UNet works."""
        staying = sum(group.size for number, group in enumerate(self.groups) if number not in self._places)
        largest = max((self.groups[number].size for number in self._places), default=0)
        return staying + min(AHEAD + 1, self._streamed) * largest

    @property
    def present(self) -> bool:
        """Whether all blocks that are not streamed are on the device."""
        return all(group.present for number, group in enumerate(self.groups) if number not in self._places)

    def onload(self) -> None:
        """Bring all blocks that are not streamed."""
        for number, group in enumerate(self.groups):
            if number not in self._places:
                group.onload()

    def settle(self) -> None:
        """Wait for copies and calls under way, before memory that they use is given back."""
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(self.device))
            self._copies.synchronize()

    def _begin(self, number: int) -> None:
        """Have a block's weights there when its work begins, and those of the next ones on their way."""
        if number not in self._places:
            return
        place = self._places.index(number)
        self._fetch(number)
        self.groups[number].wait()
        for ahead in range(1, min(AHEAD, len(self._places) - 1) + 1):
            self._fetch(self._places[(place + ahead) % len(self._places)])

    def _end(self, number: int) -> None:
        """Give a streamed block's memory back once its work is done."""
        if number not in self._places:
            return
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(self.device))
        self.groups[number].offload()

    def _fetch(self, number: int) -> None:
        group = self.groups[number]
        if group.present:
            return
        if self._copies is None:
            group.onload()
            return
        with torch.cuda.stream(self._copies):
            group.onload()
            group.arrived = torch.cuda.Event()
            group.arrived.record(self._copies)
