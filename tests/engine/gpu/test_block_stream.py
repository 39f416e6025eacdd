"""A UNet some of whose blocks are there only around their own work computes what it does in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.make_checkpoint import unet_module
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.gpu.block_stream import blocks_of
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.eight_bit_arithmetic import multiply_in_eight_bits
from engine.gpu.fused import fuse
from engine.gpu.offload import ALIGNMENT, tensors_of
from engine.gpu.residency import Residency
from engine.memory_plan import MemoryPlan
from engine.models.fill import weights_size
from engine.sampling.unet_call import UNetCall
from tests.engine.gpu import row_kernels
from tests.engine.gpu.row_kernels import output
from tests.engine.gpu.test_eight_bit_arithmetic import on_processors
from tests.engine.pipeline.test_memory import lora
from tests.tiny_unet import SIZE, filled, unet_call

CPU = torch.device("cpu")
BLOCKS = 4
STREAMED = MemoryPlan("streamed", 0, BLOCKS, BLOCKS)


def unet(*, eight: bool, kernels: Any) -> Any:
    """A tiny UNet that is fused as far as `row_kernels` go, of always the same weights; products are in halves."""
    module, in_use = filled(unet_module(SIZE)).half(), Kernels()
    fuse(module, in_use, ("row", "attention"))
    if eight:
        multiply_in_eight_bits(module)
    in_use.now = kernels
    assert len(blocks_of(module)) == BLOCKS
    return module


@pytest.fixture
def call() -> UNetCall:
    """A call of it."""
    return unet_call().mapped(Tensor.half)


@pytest.mark.parametrize("kernels", [None, row_kernels], ids=["library", "kernels"])
@pytest.mark.parametrize("eight", [False, pytest.param(True, marks=on_processors)], ids=["full", "8 bits"])
@torch.inference_mode()
def test_however_many_blocks_are_streamed_no_byte_changes(call: UNetCall, eight: bool, kernels: Any) -> None:
    module, residency = unet(eight=eight, kernels=kernels), Residency(CPU)
    wanted = output(module, call)
    residency.adopt(module, work=0)
    for streamed in (BLOCKS, 1, 0, BLOCKS - 1):
        residency.follow(MemoryPlan("streamed" if streamed else "alone", 0, streamed, BLOCKS))
        assert torch.equal(output(module, call), wanted), streamed


@on_processors
@torch.inference_mode()
def test_loras_count_in_8_bits_of_blocks_that_are_away_and_come_off_whole(tmp_path: Path, call: UNetCall) -> None:
    here, streamed = (unet(eight=True, kernels=row_kernels) for _ in range(2))
    path = lora(tmp_path, here, ("attn1.to_v.weight", "ff.net.0.proj.weight", "ff.net.2.weight"))
    patched, residency = [PatchedModel(module) for module in (here, streamed)], Residency(CPU)
    residency.adopt(streamed, work=0)
    residency.follow(STREAMED)
    outputs = []
    for patches in ([], [Patch(path, 0.1)], []):
        for model in patched:
            assert model.apply(patches) == []
        outputs.append(output(here, call))
        assert torch.equal(output(streamed, call), outputs[-1])
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("eight", [False, True], ids=["full", "8 bits"])
@torch.inference_mode()
def test_a_unet_is_told_to_be_as_large_as_it_is_on_the_device(eight: bool) -> None:
    module = unet(eight=eight, kernels=None)
    told, part = weights_size(module), Residency(CPU).adopt(module, work=0)
    assert part.needed - ALIGNMENT * len(tensors_of(module)) <= told <= part.needed
