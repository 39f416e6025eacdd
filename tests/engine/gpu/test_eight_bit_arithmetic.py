"""Products in 8 bits on a processor: near those in full, of weights as they are now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.make_checkpoint import unet_module
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.eight_bit_arithmetic import follow_weight, multiply_in_eight_bits
from engine.gpu.eight_bit_rows import EIGHT, LARGEST, in_eight_bits
from engine.gpu.fused import fuse
from engine.gpu.offload import tensors_of
from engine.sampling.unet_call import UNetCall
from tests.engine.pipeline.test_memory import lora
from tests.tiny_unet import SIZE, filled, unet_call

on_processors = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11), reason="this torch multiplies 8-bit rows on GPUs alone"
)
BLOCK = "mid_block.attentions.0.transformer_blocks.0"


@pytest.fixture
def call() -> UNetCall:
    """A call of a tiny UNet."""
    return unet_call()


def unet(*, eight: bool) -> Any:
    """A tiny fused UNet of always the same weights."""
    module = filled(unet_module(SIZE))
    fuse(module, Kernels())
    if eight:
        multiply_in_eight_bits(module)
    return module


def distance(one: Tensor, other: Tensor) -> float:
    """‖one − other‖ / ‖other‖."""
    return float((one - other).norm() / other.norm())


@torch.inference_mode()
def test_rows_of_any_size_are_held_to_a_sixteenth() -> None:
    rows = torch.randn(5, 64) * torch.tensor([1e-6, 1.0, 3e4, 0.0, 1e9])[:, None]
    made = in_eight_bits(rows)
    assert made.values.dtype == EIGHT
    exact = (made.values.float() * made.scale - rows).abs() <= rows.abs() / 15 + made.scale / 500
    assert exact.all()


@torch.inference_mode()
def test_a_scale_is_a_product_which_all_devices_round_alike() -> None:
    rows = torch.randn(256, 64).half()
    wanted = rows.float().abs().amax(-1, keepdim=True) * torch.tensor(1 / LARGEST)
    assert torch.equal(in_eight_bits(rows).scale, wanted)


@on_processors
@torch.inference_mode()
def test_a_unet_in_eight_bits_is_near_and_not_the_same(call: UNetCall) -> None:
    wanted = call.on(unet(eight=False))
    assert 1e-4 < distance(call.on(unet(eight=True)), wanted) < 0.1


@on_processors
@torch.inference_mode()
@pytest.mark.parametrize("layer", ["attn1.to_v", "attn1.to_out.0", "attn2.to_q", "ff.net.0.proj", "ff.net.2"])
def test_a_weight_changed_in_place_counts_once_it_is_followed(call: UNetCall, layer: str) -> None:
    module, plain = unet(eight=True), unet(eight=False)
    before = call.on(module)
    for each in (module, plain):
        each.get_parameter(f"{BLOCK}.{layer}.weight").mul_(-4)
    assert torch.equal(call.on(module), before)
    follow_weight(module.get_parameter(f"{BLOCK}.{layer}.weight"))
    wanted = call.on(plain)
    assert distance(call.on(module), wanted) < distance(before, wanted) / 2


def test_what_moves_a_block_moves_its_weights_in_eight_bits_too() -> None:
    block = unet(eight=True).get_submodule(BLOCK)
    found = [tensor.dtype for tensor in tensors_of(block.attn1, block.attn2, block.ff)]
    assert found.count(EIGHT) == 6


def test_weights_keep_their_names() -> None:
    assert list(unet(eight=True).state_dict()) == list(unet(eight=False).state_dict())


@torch.inference_mode()
def test_loras_are_merged_before_weights_are_quantised_and_come_off_whole(tmp_path: Path) -> None:
    module = unet(eight=True)
    quantised = [weight for weight in module.parameters() if hasattr(weight, "eight_bits")]

    def in_force() -> list[Tensor]:
        kept = [(weight, *weight.eight_bits) for weight in quantised]
        return [owner.eight[start : start + len(weight)].float() for weight, owner, start in kept]

    before, patches = in_force(), PatchedModel(module)
    lora(tmp_path, module, ("attn1.to_v.weight", "ff.net.2.weight"))
    assert patches.apply([Patch(tmp_path / "style.safetensors", 3.0)]) == []
    merged, exact = in_force(), [in_eight_bits(weight).values.float() for weight in quantised]
    assert all(map(torch.equal, merged, exact)) and not all(map(torch.equal, merged, before))
    patches.apply([])
    assert all(map(torch.equal, in_force(), before))
