"""The fused UNet and VAE where their kernels are not in use: the library's results, weights changed in place count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.make_checkpoint import unet_module, vae_module
from engine.gpu.compiled_kernels import Kernels
from engine.gpu.fused import PARTS, fuse
from engine.gpu.joined_attention import TextProjections
from engine.sampling.unet_call import UNetCall
from tests.tiny_unet import SIZE, filled, unet_call


@pytest.fixture
def unet() -> Any:
    """A tiny UNet."""
    return filled(unet_module(SIZE))


@pytest.fixture
def call() -> UNetCall:
    """A call of it."""
    return unet_call()


@torch.inference_mode()
@pytest.mark.parametrize("part", PARTS)
def test_a_fused_unet_gives_the_librarys_output(unet: Any, call: UNetCall, part: str) -> None:
    wanted = call.on(unet)
    fuse(unet, Kernels(), [part])
    torch.testing.assert_close(call.on(unet), wanted, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_fused_vae_gives_the_librarys_pictures() -> None:
    vae = filled(vae_module(SIZE))
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = vae.decode(latent).sample
    fuse(vae, Kernels())
    torch.testing.assert_close(vae.decode(latent).sample, wanted, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_fusing_keeps_every_weight_under_its_name(unet: Any) -> None:
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    fuse(unet, Kernels())
    after = unet.state_dict()
    assert list(after) == list(before)
    assert [name for name in after if not torch.equal(after[name], before[name])] == []


@torch.inference_mode()
@pytest.mark.parametrize("layer", ["to_q", "to_k", "to_v"])
@pytest.mark.parametrize("attention", ["attn1", "attn2"])
def test_a_projection_changed_in_place_counts(unet: Any, call: UNetCall, attention: str, layer: str) -> None:
    name = f"mid_block.attentions.0.transformer_blocks.0.{attention}.{layer}"
    plain = filled(unet_module(SIZE))
    fuse(unet, Kernels())
    unchanged = call.on(unet)
    for each in (plain, unet):
        weight = each.get_submodule(name).weight
        weight.copy_(weight * -2)
    changed = call.on(unet)
    torch.testing.assert_close(changed, call.on(plain), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(changed, unchanged, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_a_text_projected_beforehand_changes_no_byte(unet: Any, call: UNetCall) -> None:
    fuse(unet, Kernels())
    wanted = call.on(unet)
    texts = TextProjections(unet, call.context)
    texts.make(call.context)
    other = replace(call, context=torch.zeros_like(call.context))
    with texts.in_use():
        assert torch.equal(other.on(unet), wanted)
    assert not torch.equal(other.on(unet), wanted)


@torch.inference_mode()
def test_a_projection_changed_in_place_counts_when_a_text_is_projected_next(unet: Any, call: UNetCall) -> None:
    fuse(unet, Kernels())
    texts = TextProjections(unet, call.context)
    texts.make(call.context)
    unet.get_parameter("mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight").mul_(2)
    texts.make(call.context)
    with texts.in_use():
        made = call.on(unet)
    assert torch.equal(made, call.on(unet))
