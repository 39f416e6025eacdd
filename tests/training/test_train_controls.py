"""What the training of control branch and inpaint head writes is what the engine makes of it."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.adapters.controlnet_files import ControlFile
from engine.adapters.inpaint_head import InpaintFeature, InpaintHead
from engine.adapters.inpaint_latents import latent_mask
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.files import builtin_set
from engine.models import eight_bit
from training import attached, train_canny, train_inpaint_head

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unet():
    """The built-in model's UNet."""
    return attached.engines_unet(builtin_set.CHECKPOINT, CPU)


@pytest.fixture
def call():
    """What a UNet is asked, for two pictures of 128 pixels."""
    generator = torch.Generator().manual_seed(4)

    def normal(*size):
        return torch.randn(*size, generator=generator)

    sizes = torch.tensor([[128.0, 128, 0, 0, 128, 128]] * 2)
    return normal(2, 4, 16, 16), torch.tensor([600, 300]), normal(2, 77, 192), normal(2, 128), sizes


def plain(unet, x, t, context, pooled, sizes):
    """The UNet's answer without anything on it."""
    return unet(x, t, context, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}, return_dict=False)[0]


@torch.no_grad()
def test_a_new_branch_adds_nothing_and_a_changed_one_comes_back_from_its_file(unet, call, tmp_path):
    net = train_canny.new_branch(unet)
    guided = train_canny.Guided(unet, net)
    hint = torch.randint(0, 256, (2, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    full = torch.ones(2, len(net.controlnet_down_blocks) + 1)
    assert torch.allclose(guided(*call, hint, full), plain(unet, *call), atol=1e-5)
    torch.manual_seed(2)
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.1)
    made = guided(*call, hint, full)
    assert (made - plain(unet, *call)).abs().mean() > 0.05
    path = tmp_path / "branch.safetensors"
    eight_bit.pack(net.state_dict(), path, {})
    assert path.stat().st_size < 4.5e6
    read = ControlFile.load(path, CPU).on(unet)
    again = train_canny.Guided(unet, read)(*call, hint, full)
    assert (again - made).norm() / (made - plain(unet, *call)).norm() < 0.03


@torch.no_grad()
def test_head_and_patch_come_back_from_their_files(unet, call, tmp_path):
    net = train_inpaint_head.Repainting(unet, 4)
    generator = torch.Generator().manual_seed(3)
    mask = (torch.rand(2, 1, 16, 16, generator=generator) < 0.5).float()
    grey = torch.randn(2, 4, 16, 16, generator=generator)
    assert torch.allclose(net(*call, mask, grey), plain(unet, *call), atol=1e-5)
    torch.nn.init.normal_(net.head, std=0.05)
    for name, weight in net.named_parameters():
        if name.endswith("up.weight"):
            torch.nn.init.normal_(weight, std=0.02)
    made = net(*call, mask, grey)
    save_file({"head": net.head.detach()}, tmp_path / "head.safetensors")
    eight_bit.pack(net.changes(), tmp_path / "patch.safetensors", {})
    head, model = InpaintHead.load(tmp_path / "head.safetensors", CPU), PatchedModel(unet)
    before = plain(unet, *call)
    assert model.apply([Patch(tmp_path / "patch.safetensors", 1.0, unet_only=True)]) == []
    feature = torch.cat([head.feature(mask[n : n + 1], grey[n : n + 1]) for n in range(2)])
    with InpaintFeature(feature).attached(unet):
        again = plain(unet, *call)
    model.apply([])
    assert (again - made).norm() / (made - before).norm() < 0.03
    assert torch.equal(plain(unet, *call), before)


def test_masks_are_of_every_kind_and_become_the_engines_latent_masks():
    masks = train_inpaint_head.masks(200, 64, 96, CPU, torch.Generator().manual_seed(5))
    shares = masks.mean((1, 2, 3))
    assert masks.shape == (200, 1, 64, 96) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert shares.min() > 0.005 and (shares > 0.9).float().mean() < 0.1 and 0.2 < shares.mean() < 0.6
    ours = train_inpaint_head.cells(masks[:20])
    theirs = [latent_mask((mask[0] * 255).numpy().astype(np.uint8), 8, 12)[0] for mask in masks[:20]]
    assert torch.equal(ours, torch.stack(theirs))


def test_outlines_a_little_apart_count_as_found():
    lines = torch.zeros(1, 32, 32, dtype=torch.uint8)
    lines[:, 10] = 255
    near, far = lines.roll(2, 1), lines.roll(8, 1)
    assert (
        train_canny.overlap(lines, lines)
        == train_canny.overlap(near, lines)
        == 1
        > 0.01
        > train_canny.overlap(far, lines)
    )
