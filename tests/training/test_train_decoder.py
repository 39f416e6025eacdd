"""What the decoder's training compares: crops of pictures and of their latents, and how strong edges are."""

import pytest
import torch
import torch.nn.functional as F

from training import train_decoder
from training.train_decoder import CROP, Pairs, Weights, edges, strengths

NO_LIKENESS = Weights(edges=1.0, shares=1.0)


def grained(strength):
    """A grey picture with grain, in -1..1."""
    generator = torch.Generator().manual_seed(1)
    return 0.2 + strength * torch.randn(1, 3, 145, 145, generator=generator)


def test_a_crop_of_latents_lies_where_the_crop_of_the_picture_does():
    pictures = torch.randint(0, 256, (3, 3, 8 * 30, 8 * 40), dtype=torch.uint8)
    latents = F.avg_pool2d(pictures.float() / 127.5 - 1, 8)
    some, crops = Pairs(pictures, latents).crops(6, 0.0, torch.Generator())
    assert some.shape == (6, 3, CROP, CROP) and crops.shape == (6, 3, 8 * CROP, 8 * CROP)
    assert torch.allclose(F.avg_pool2d(crops, 8), some, atol=1e-5)


def test_half_of_the_crops_carry_noise():
    pairs = Pairs(torch.zeros(1, 3, 8 * CROP, 8 * CROP, dtype=torch.uint8), torch.zeros(1, 4, CROP, CROP))
    noisy = pairs.crops(200, 1.0, torch.Generator().manual_seed(1))[0].flatten(1).std(1) > 0
    assert 60 < int(noisy.sum()) < 140


def test_texture_that_is_gone_is_missed_however_faint_it_was():
    plain, misses = grained(0.0), []
    for strength in (0.02, 0.2):
        picture = grained(strength)
        assert strengths(picture, picture, NO_LIKENESS) == 0
        assert strengths(picture.flip(3), picture, NO_LIKENESS) < 0.5 * strengths(plain, picture, NO_LIKENESS)
        misses.append(float(strengths(plain, picture, Weights(edges=0.0, shares=1.0))))
    assert misses[0] > 0.5 * misses[1]  # though it is a tenth as strong


def test_grain_on_a_plain_picture_is_a_fault():
    plain = grained(0.0)
    assert float(edges(plain).abs().max()) == 0
    assert strengths(grained(0.02), plain, NO_LIKENESS) > 0.1


@pytest.mark.parametrize("size", [(128, 128), (200, 300)])
def test_abstract_tiles_fill_any_size(size):
    tiles = train_decoder.clutter(2, *size, torch.device("cpu"))
    assert tiles.shape == (2, 3, *size) and 0 <= float(tiles.min()) < float(tiles.max()) <= 1
