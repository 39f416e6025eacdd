"""A processor's networks by oneDNN: the library's results, and nothing kept that no longer holds."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.make_checkpoint import SIZES, unet_module, vae_module
from engine.gpu.onednn import OneDnnConv2d, OneDnnResnet, available, begin_run, use_onednn
from engine.models.folded_upsample import fold_upsampling
from engine.sampling.freeu import FreeU
from engine.sampling.unet_call import UNetCall
from tests.engine.gpu.test_fused import filled

SIZE = SIZES["tiny"]

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no oneDNN products")


class Owner:
    """Whoever calls a UNet."""


def by_onednn(module: Any) -> Any:
    """A copy of the module as a processor has it."""
    copy = deepcopy(module)
    fold_upsampling(copy)
    copy.to(memory_format=torch.channels_last)
    use_onednn(copy)
    return copy


@pytest.fixture
def unet() -> Any:
    """A tiny UNet."""
    return filled(unet_module(SIZE))


def call_with(seed: int = 1, side: int = 16) -> UNetCall:
    """A call of it."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    width = SIZE.clip_l[0] + SIZE.clip_g[0]
    pooled, sizes = random(2, SIZE.clip_g[0]), random(2, 6)
    return UNetCall(random(2, 4, side, side), torch.tensor(500.0), random(2, 77, width), pooled, sizes)


def assert_alike(one: Tensor, other: Tensor) -> None:
    """The two differ by rounding."""
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("side", [8, 16, 18])
def test_a_unet_gives_the_librarys_output(unet: Any, side: int, owned: bool) -> None:
    fast, call, owner = by_onednn(unet), call_with(side=side), Owner()
    if owned:
        begin_run(fast, owner)
    assert_alike(call.on(fast), call.on(unet))
    assert torch.equal(call.on(fast), call.on(fast))


@torch.inference_mode()
@pytest.mark.parametrize("owned", [False, True])
def test_the_smallest_picture_is_one_pixel_at_the_bottom(unet: Any, owned: bool) -> None:
    fast, call, owner = by_onednn(unet), call_with(side=2), Owner()
    if owned:
        begin_run(fast, owner)
    # norms of so few values make more of rounding
    torch.testing.assert_close(call.on(fast), call.on(unet), rtol=1e-2, atol=1e-3)


@torch.inference_mode()
def test_a_vae_gives_the_librarys_pictures() -> None:
    vae = filled(vae_module(SIZE))
    fast, latent = by_onednn(vae), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert any(isinstance(part, OneDnnResnet) for part in fast.decoder.up_blocks.modules())
    assert_alike(fast.decode(latent).sample, vae.decode(latent).sample)
    pixels = torch.rand(1, 3, 64, 64)
    assert_alike(fast.encode(pixels).latent_dist.mean, vae.encode(pixels).latent_dist.mean)


@torch.inference_mode()
def test_what_hooks_give_in_another_layout_is_taken(unet: Any) -> None:
    fast, call, freeu = by_onednn(unet), call_with(), FreeU(1.1, 1.2, 0.9, 0.2)
    with freeu.attached(unet), freeu.attached(fast):
        assert_alike(call.on(fast), call.on(unet))


@torch.inference_mode()
def test_every_weight_keeps_its_name(unet: Any) -> None:
    fast = by_onednn(unet)
    assert list(fast.state_dict()) == list(unet.state_dict())
    assert all(torch.equal(weight, unet.state_dict()[name]) for name, weight in fast.state_dict().items())


def test_no_weight_has_its_memory_twice(unet: Any) -> None:
    weights = by_onednn(unet).parameters()
    assert not any(isinstance(kept, Tensor) for weight in weights for kept in vars(weight).values())


@torch.inference_mode()
@pytest.mark.parametrize("name", ["conv_in", "up_blocks.0.upsamplers.0.conv", "mid_block.resnets.0.conv2"])
def test_weights_changed_between_two_runs_count(unet: Any, name: str) -> None:
    fast, call = by_onednn(unet), call_with()
    for _ in range(2):
        owner = Owner()  # the one of the first run dies here
        begin_run(fast, owner)
        assert_alike(call.on(fast), call.on(unet))
        for each in (fast, unet):
            each.get_submodule(name).weight.mul_(-2)


@torch.inference_mode()
def test_weights_changed_where_nobody_runs_count_at_once(unet: Any) -> None:
    fast, call = by_onednn(unet), call_with()
    begin_run(fast, Owner())  # nobody holds it
    for _ in range(2):
        assert_alike(call.on(fast), call.on(unet))
        for each in (fast, unet):
            each.conv_in.weight.mul_(-2)


@torch.inference_mode()
def test_each_text_of_a_run_is_read(unet: Any) -> None:
    fast, owner = by_onednn(unet), Owner()
    begin_run(fast, owner)
    for seed in (1, 2, 1):
        call = call_with(seed)
        assert_alike(call.on(fast), call.on(unet))


@torch.inference_mode()
def test_a_run_after_another_s_begins_anew(unet: Any) -> None:
    fast, call = by_onednn(unet), call_with()
    first, second = Owner(), Owner()
    for owner in (first, second, first):
        begin_run(fast, owner)
        assert_alike(call.on(fast), call.on(unet))
        for each in (fast, unet):
            each.conv_in.weight.mul_(-2)


def test_only_convolutions_that_it_knows_are_taken() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.Conv2d(4, 4, 3, groups=2),
        torch.nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    )
    use_onednn(layers)
    assert [type(layer) is OneDnnConv2d for layer in layers] == [True, False, False]
