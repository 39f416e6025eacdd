"""The projections of IP-Adapters, against their formulas."""

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from engine.adapters.resampler import load_projection
from engine.detectors.clip_vision import ImageFeatures
from engine.errors import CheckpointError
from tests.engine.adapters.image_adapters import DIM, LAYERS, TOKENS, plain_projection, resampler
from tests.engine.detectors.vision_towers import PROJECTED, WIDTH

CONTEXT = 48


@pytest.fixture
def generator():
    """A fresh source of numbers."""
    return torch.Generator().manual_seed(5)


@pytest.fixture
def features(generator):
    """A picture as the tower sees it."""
    patches = torch.randn(1, 17, WIDTH, generator=generator)
    return ImageFeatures(patches, torch.randn(1, PROJECTED, generator=generator))


def load(tensors):
    """The projection with these weights."""
    return load_projection(tensors, torch.device("cpu"), torch.float32)


def resampled_by_hand(w, patches):
    """The tokens by the formulas alone, head by head."""

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    seen = patches @ w["proj_in.weight"].T + w["proj_in.bias"]
    latents = w["latents"]
    for n in range(LAYERS):
        x, own = norm(seen, f"layers.{n}.0.norm1"), norm(latents, f"layers.{n}.0.norm2")
        q = own @ w[f"layers.{n}.0.to_q.weight"].T
        key_value = torch.cat([x, own], dim=1) @ w[f"layers.{n}.0.to_kv.weight"].T
        k, v = key_value[..., :DIM], key_value[..., DIM:]
        heads = []
        for head in range(DIM // 64):
            part = slice(64 * head, 64 * head + 64)
            scores = (q[..., part] * 64**-0.25) @ (k[..., part] * 64**-0.25).transpose(1, 2)
            heads.append(scores.softmax(dim=-1) @ v[..., part])
        latents = latents + torch.cat(heads, dim=-1) @ w[f"layers.{n}.0.to_out.weight"].T
        inner = norm(latents, f"layers.{n}.1.0") @ w[f"layers.{n}.1.1.weight"].T
        latents = latents + gelu(inner) @ w[f"layers.{n}.1.3.weight"].T
    return norm(latents @ w["proj_out.weight"].T + w["proj_out.bias"], "norm_out")


@torch.inference_mode()
def test_a_plus_adapters_tokens_read_the_patches(features, generator):
    tensors = resampler(CONTEXT, generator)
    tokens = load(tensors)(features)
    assert tokens.shape == (1, TOKENS, CONTEXT)
    assert torch.allclose(tokens, resampled_by_hand(tensors, features.patches), atol=1e-4)


@torch.inference_mode()
def test_a_plain_adapters_tokens_are_made_from_the_whole(features, generator):
    w = plain_projection(CONTEXT, generator)
    projected = (features.whole @ w["proj.weight"].T + w["proj.bias"]).reshape(1, TOKENS, CONTEXT)
    expected = layer_norm(projected, (CONTEXT,), w["norm.weight"], w["norm.bias"])
    assert torch.allclose(load(w)(features), expected, atol=1e-5)


def test_other_projections_and_incomplete_ones_are_refused(generator):
    with pytest.raises(CheckpointError, match="take a Plus or a plain IP-Adapter"):
        load({"proj.0.weight": torch.zeros(2, 2)})
    for lost in ("proj_in.weight", "layers.1.0.norm2.bias"):
        tensors = resampler(CONTEXT, generator)
        del tensors[lost]
        with pytest.raises(CheckpointError, match=f"lacks .*{lost}"):
            load(tensors)
