"""Folded upsampling gives what the library's layer gives."""

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn

from engine.models.folded_upsample import FoldedUpsample, fold_upsampling


@pytest.fixture
def layer():
    """The library's layer with random weights."""
    torch.manual_seed(0)
    return Upsample2D(6, use_conv=True, out_channels=10)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 12)])
@torch.inference_mode()
def test_it_equals_doubling_and_convolving(layer, size):
    x = torch.randn(2, 6, *size)
    assert torch.allclose(FoldedUpsample(layer.conv)(x), layer(x), atol=1e-5)


@torch.inference_mode()
def test_it_gives_a_row_less_when_asked(layer):
    x = torch.randn(1, 6, 4, 5)
    for size in ((8, 10), (7, 10), (7, 9)):
        assert torch.allclose(FoldedUpsample(layer.conv)(x, size), layer(x, size), atol=1e-5)


@torch.inference_mode()
def test_changed_weights_count(layer):
    x, folded = torch.randn(1, 6, 4, 5), FoldedUpsample(layer.conv)
    before = folded(x)
    layer.conv.weight.add_(0.1)
    assert not torch.allclose(folded(x), before)
    assert torch.allclose(folded(x), layer(x), atol=1e-5)


def test_weights_keep_their_names(layer):
    module = nn.Sequential(layer, nn.SiLU())
    names = set(module.state_dict())
    fold_upsampling(module)
    assert isinstance(module[0], FoldedUpsample)
    assert set(module.state_dict()) == names
