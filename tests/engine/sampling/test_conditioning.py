"""What a UNet of each kind is told."""

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn

from engine.models.checkpoint import load_checkpoint
from engine.sampling.conditioning import Conditioning, equally_long_soon, for_kind, row, size_numbers, stacked

CPU, FP32 = torch.device("cpu"), torch.float32


@pytest.fixture
def conditioning():
    """Two chunks of SDXL's text: 768 numbers of CLIP-L and 1280 of CLIP-G a token."""
    generator = torch.Generator().manual_seed(1)
    return Conditioning(torch.randn(1, 154, 2048, generator=generator), torch.randn(1, 1280, generator=generator))


def test_size_numbers_are_those_of_the_default_picture():
    assert size_numbers(1152, 896, 1.5) == ([1344, 1728, 0, 0, 896, 1152], [896, 1152, 0, 0, 896, 1152])
    assert size_numbers(1152, 896, 0.8)[0] == [716, 921, 0, 0, 896, 1152]
    assert [size_numbers(side, 64, 1)[1][1] for side in (1184, 1120, 672, 1056)] == [1152, 1152, 640, 1024]


def test_the_unet_embeds_a_size_number_as_sdxl_was_trained(toy):
    unet = load_checkpoint(toy, CPU).unet
    assert (unet.add_time_proj.flip_sin_to_cos, unet.add_time_proj.downscale_freq_shift) == (True, 0)
    embedded = get_timestep_embedding(torch.tensor([1344.0]), 256, flip_sin_to_cos=True, downscale_freq_shift=0)[0]
    assert embedded[:3].tolist() == pytest.approx([0.824400, 0.944421, 0.103933], abs=1e-4)
    assert embedded[128:131].tolist() == pytest.approx([-0.566008, 0.328738, 0.994584], abs=1e-4)


def test_a_second_sdxl_model_reads_what_the_first_does(conditioning):
    assert for_kind(conditioning, "sdxl", 2048) is conditioning


def test_the_sdxl_refiner_reads_the_clip_g_part(conditioning):
    told = for_kind(conditioning, "sdxl_refiner", 1280)
    assert torch.equal(told.context, conditioning.context[:, :, 768:])
    assert told.pooled is conditioning.pooled


def test_sd15_reads_the_normed_clip_l_part_chunk_by_chunk(conditioning):
    norm = nn.LayerNorm(768)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(2))
    seen = []
    told = for_kind(conditioning, "sd15", 768, lambda chunk: seen.append(chunk.shape) or norm(chunk))
    assert seen == [(1, 77, 768)] * 2
    assert torch.allclose(told.context, norm(conditioning.context[:, :, :768]))


def test_sd15_without_its_norm_is_an_error(conditioning):
    with pytest.raises(ValueError, match="final norm"):
        for_kind(conditioning, "sd15", 768)


def test_the_sdxl_refiner_is_told_how_beautiful_the_picture_is(conditioning):
    sides = [row(conditioning, "sdxl_refiner", (1152, 896), 1.5, positive, CPU, FP32) for positive in (False, True)]
    both = stacked(sides)
    assert both.emphasised.tolist() == [[896, 1152, 0, 0, 2.5], [896, 1152, 0, 0, 6]]
    assert torch.equal(both.emphasised, both.consistent)
    assert both.positive == (False, True)


def test_sd15_is_told_the_context_alone(conditioning):
    both = stacked([row(conditioning, "sd15", (64, 64), 1.0, positive, CPU, FP32) for positive in (False, True)])
    assert both.context.shape == (2, 154, 2048)
    assert (both.pooled, both.emphasised, both.consistent) == (None, None, None)


def test_contexts_become_equally_long_if_few_repeats_do_it():
    def side(tokens):
        return row(Conditioning(torch.zeros(1, tokens, 4), torch.zeros(1, 2)), "sdxl", (64, 64), 1, True, CPU, FP32)

    assert stacked([side(77), side(231)]).context.shape == (2, 231, 4)
    assert equally_long_soon([side(77), side(308)], 4)
    assert not equally_long_soon([side(154), side(385)], 4)
