"""Weights that leave a device and come back; here both sides are a processor's memory."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from engine.gpu.host_memory import HostMemory
from engine.gpu.offload import WeightGroup, at_hand, moves, tensors_of
from engine.gpu.out_of_memory import is_out_of_memory
from engine.gpu.residency import Residency
from engine.memory_plan import MemoryPlan

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["inference", "plain"])
def module(request):
    """A channels-last convolution and a linear layer, part of whose weight is another tensor's too."""
    with torch.inference_mode(request.param):
        network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Linear(8, 16)).requires_grad_(False)
        network.to(memory_format=torch.channels_last)
        network[1].joined = torch.cat([torch.rand(4, 8), torch.rand(16, 8)])
        network[1].weight.data = network[1].joined[4:]
    return network


def group_of(module):
    return WeightGroup(tensors_of(module), CPU, HostMemory(pin=False))


def test_weights_that_left_hold_no_memory_and_come_back_as_they_were(module):
    before = [(tensor.clone(), tensor.stride()) for tensor in tensors_of(module)]
    group = group_of(module)
    assert not group.present
    assert all(tensor.untyped_storage().nbytes() == 0 for tensor in tensors_of(module))
    group.onload()
    for tensor, (content, stride) in zip(tensors_of(module), before, strict=True):
        assert torch.equal(tensor, content) and tensor.stride() == stride
    assert module[1].weight.data_ptr() == module[1].joined[4:].data_ptr()
    group.offload()
    assert all(tensor.untyped_storage().nbytes() == 0 for tensor in tensors_of(module))


def test_weights_that_leave_are_never_all_there_twice(monkeypatch):
    module, alive = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(4))), []
    there, copy = [StorageWeakRef(layer.weight.untyped_storage()) for layer in module], torch.Tensor.copy_
    monkeypatch.setattr(
        torch.Tensor,
        "copy_",
        lambda *given: (alive.append(sum(not storage.expired() for storage in there)), copy(*given))[1],
    )
    group_of(module)
    assert alive == [4, 3, 2, 1]


@torch.inference_mode()
def test_what_is_changed_at_hand_lasts_wherever_the_weight_was(module):
    group, weight = group_of(module), module[1].weight
    assert moves(weight)
    with at_hand(weight, changed=True):
        weight.copy_(torch.ones_like(weight))
    assert not group.present
    group.onload()
    with at_hand(weight, changed=True):
        weight.mul_(2)
    assert group.present
    group.offload()
    with at_hand(weight):
        assert bool((weight == 2).all())


def test_a_weight_that_never_moves_is_always_at_hand():
    weight = torch.ones(2)
    assert not moves(weight)
    with at_hand(weight, changed=True):
        weight.zero_()
    assert bool((weight == 0).all())


def test_parts_come_when_called_and_the_one_not_called_for_longest_leaves():
    parts = [nn.Linear(64, 64) for _ in range(3)]
    residency = Residency(CPU)
    adopted = [residency.adopt(part, work=0) for part in parts]
    residency.follow(MemoryPlan("alone", 2 * adopted[0].needed))
    x = torch.rand(1, 64)
    for part in parts:
        part(x)
    assert [part.present for part in adopted] == [False, True, True]
    with residency.staying(parts[1]):
        parts[0](x)
        assert [part.present for part in adopted] == [True, True, False]
        residency.clear()
        assert [part.present for part in adopted] == [False, True, False]


def test_weights_that_come_to_be_changed_have_others_leave():
    residency, parts = Residency(CPU), [nn.Linear(64, 64) for _ in range(2)]
    adopted = [residency.adopt(part, work=0) for part in parts]
    residency.follow(MemoryPlan("alone", adopted[0].needed))
    parts[0](torch.rand(1, 64))
    with at_hand(parts[1].weight, changed=True):
        assert [part.present for part in adopted] == [False, True]


def test_recorded_calls_are_dropped_with_the_plan_they_were_recorded_under():
    dropped = []
    residency = Residency(CPU, left=lambda: dropped.append(residency.plan.mode))
    for plan in (MemoryPlan(), MemoryPlan("turns", 2), MemoryPlan("turns", 1), MemoryPlan("alone", 1)):
        residency.follow(plan)
    assert dropped == ["resident", "turns"]


def test_a_part_goes_with_its_modules_however_lately_it_was_called():
    residency, module = Residency(CPU), nn.Linear(8, 8)
    part = weakref.ref(residency.adopt(module, work=0))
    residency.follow(MemoryPlan("alone", 0))
    module(torch.rand(1, 8))
    assert part().present
    del module
    gc.collect()
    assert part() is None


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.0 GB, max allowed: 9.0 GB)"), True),
        (RuntimeError("HIP error: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_a_full_gpu_is_recognised_whoever_found_out(error, full):
    assert is_out_of_memory(error) == full
