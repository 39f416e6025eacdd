"""The inpaint head: its convolution, and where a UNet is given the result."""

import pytest
import torch

from engine.adapters.inpaint_head import InpaintFeature, InpaintHead
from engine.errors import CheckpointError
from engine.models.checkpoint import load_checkpoint
from tests.engine.adapters.unet_calls import evaluation, output_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unet(toy):
    """The toy UNet, whose first layer is 32 wide."""
    return load_checkpoint(toy, torch.device("cpu")).unet


def written(path, content):
    """The path of a file with this content."""
    torch.save(content, path)
    return path


def test_a_file_gives_its_head_and_its_size(tmp_path):
    weight = torch.randn(32, 5, 3, 3).half()
    head = InpaintHead.load(written(tmp_path / "head.pth", {"head": weight}), CPU)
    assert torch.equal(head.weight, weight.float())
    assert head.size == 32 * 5 * 9 * 4


@pytest.mark.parametrize("content", [{"other": torch.zeros(3, 5, 3, 3)}, {"head": torch.zeros(3, 5)}])
def test_a_file_without_a_head_is_refused_by_name(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"head\.pth: not an inpaint head"):
        InpaintHead.load(written(tmp_path / "head.pth", content), CPU)


def test_the_mask_comes_first_and_borders_are_continued():
    weight = torch.zeros(5, 5, 3, 3)
    for channel in range(5):
        weight[channel, channel, 0, 1] = 1.0  # each output is the input's row above
    mask = torch.randn(1, 1, 4, 6)
    latent = torch.randn(1, 4, 4, 6)
    feature = InpaintHead(weight).feature(mask, latent)
    feed = torch.cat([mask, latent], dim=1)
    assert torch.equal(feature, torch.cat([feed[:, :, :1], feed[:, :, :-1]], dim=2))


def test_latents_of_other_channels_are_refused():
    with pytest.raises(CheckpointError, match="latents of 4 channels, not 8"):
        InpaintHead(torch.zeros(2, 5, 3, 3)).feature(torch.zeros(1, 1, 4, 4), torch.zeros(1, 8, 4, 4))


def test_the_feature_is_added_to_the_main_path_and_the_first_skip(unet):
    feature = 0.1 * torch.randn(1, 32, 8, 12, generator=torch.Generator().manual_seed(2))
    call = evaluation(unet)
    plain = output_of(unet, call)
    first = unet.conv_in(call.x) + feature
    told = unet.conv_in.register_forward_hook(lambda *_: first)
    expected = output_of(unet, call)
    told.remove()
    with InpaintFeature(feature).attached(unet):
        assert torch.equal(output_of(unet, call), expected)
    assert not torch.allclose(expected, plain, atol=1e-4)
    assert torch.equal(output_of(unet, call), plain)
    assert not unet.conv_in._forward_hooks


def test_it_comes_off_when_the_run_fails(unet):
    with pytest.raises(RuntimeError, match="stopped"), InpaintFeature(torch.zeros(1, 32, 8, 12)).attached(unet):
        raise RuntimeError("stopped")
    assert not unet.conv_in._forward_hooks


def test_attached_again_its_tensor_stays_where_it_was(unet):
    attachment = InpaintFeature(torch.zeros(1, 32, 8, 12, dtype=torch.float64))
    with attachment.attached(unet):
        place = attachment.feature.data_ptr()
    with attachment.attached(unet):
        assert attachment.feature.data_ptr() == place


def test_a_head_of_another_width_is_refused(unet):
    with pytest.raises(CheckpointError, match="starts 320 channels wide; this one starts with 32"):  # noqa: SIM117
        with InpaintFeature(torch.zeros(1, 320, 8, 12)).attached(unet):
            pass


def test_it_treats_all_evaluations_alike_and_adds_no_residuals(unet):
    attachment = InpaintFeature(torch.zeros(1, 32, 8, 12))
    assert attachment.state(evaluation(unet, t=900)) == attachment.state(evaluation(unet, t=10))
    assert attachment.residuals(evaluation(unet)) is None
