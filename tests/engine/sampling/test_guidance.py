"""Classifier-free guidance, its adaptive scale and the sharpness filter."""

import math

import pytest
import torch
from torch.nn.functional import pad

from engine.sampling.guidance import _by_rows, bilateral, guided


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(value):
    return torch.full((1, 4, 8, 8), value)


def eps_of(progress, scale, adaptive):
    """The noise that guidance leaves when the positive prediction says 0.5 and the negative one 0.2."""
    x = plain(3.0)
    return (x - guided(x, x - 0.5, x - 0.2, progress, scale, adaptive, 0.0)).mean().item()


def test_the_scale_goes_from_the_adaptive_one_to_the_asked_one():
    assert eps_of(0.25, 10.0, 7.0) == pytest.approx(2.525, abs=1e-5)
    assert eps_of(0.0, 10.0, 7.0) == pytest.approx(0.2 + 7 * 0.3, abs=1e-5)
    assert eps_of(1.0, 10.0, 7.0) == pytest.approx(0.2 + 10 * 0.3, abs=1e-5)


def test_a_scale_up_to_the_adaptive_one_is_used_as_it_is():
    for progress in (0.0, 0.5, 1.0):
        assert eps_of(progress, 4.0, 7.0) == pytest.approx(0.2 + 4 * 0.3, abs=1e-5)


def test_a_scale_of_one_is_the_positive_prediction_untouched():
    x, positive = randn(1, 4, 16, 16), randn(1, 4, 16, 16, seed=1)
    assert guided(x, positive, None, 0.5, 1.0, 7.0, 20.0) is positive


def test_any_other_scale_needs_the_negative_prediction():
    with pytest.raises(ValueError, match="negative"):
        guided(plain(0.0), plain(0.0), None, 0.5, 4.0, 7.0, 2.0)


def test_sharpness_smooths_the_positive_noise_by_its_share_of_progress():
    x, positive, negative = (randn(1, 4, 16, 16, seed=seed) for seed in (1, 2, 3))
    share = 0.001 * 2.0 * 0.5
    eps = share * bilateral(x - positive, positive) + (1 - share) * (x - positive)
    expected = x - ((x - negative) + 4.0 * (eps - (x - negative)))
    assert torch.allclose(guided(x, positive, negative, 0.5, 4.0, 7.0, 2.0), expected, atol=1e-5)


def test_sharpness_has_no_effect_at_the_start():
    x, positive, negative = (randn(1, 4, 16, 16, seed=seed) for seed in (1, 2, 3))
    sharp, plain_one = (guided(x, positive, negative, 0.0, 4.0, 7.0, sharpness) for sharpness in (30.0, 0.0))
    assert torch.equal(sharp, plain_one)


def reference_pair():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(1, 4, 32, 32, generator=generator) for _ in range(2))


def test_the_filter_gives_its_reference_values():
    smooth = bilateral(*reference_pair())
    assert smooth[0, 0, 0, :3].tolist() == pytest.approx([-0.0620163, -0.0164950, -0.0495484], abs=1e-6)
    assert smooth[0, 3, 16, 16].item() == pytest.approx(0.0130730, abs=1e-6)
    assert smooth.abs().mean().item() == pytest.approx(0.104254, abs=1e-6)


def by_definition(value, guide, row, column):
    """One pixel of the filter, added up neighbour by neighbour."""
    guide = (guide - guide.mean()) / (guide.std() + 1e-5)
    height, width = value.shape[2:]

    def mirrored(place, size):
        place = abs(place)
        return 2 * (size - 1) - place if place >= size else place

    total, weights = torch.zeros(value.shape[1]), 0.0
    for dy in range(-6, 7):
        for dx in range(-6, 7):
            y, x = mirrored(row + dy, height), mirrored(column + dx, width)
            colour = (guide[0, :, y, x] - guide[0, :, row, column]).abs().sum().item()
            weight = math.exp(-(dy**2 + dx**2) / 18) * math.exp(-(colour**2) / 18)
            total, weights = total + weight * value[0, :, y, x], weights + weight
    return total / weights


@pytest.mark.parametrize(("row", "column"), [(0, 0), (10, 16), (5, 8), (10, 0), (3, 15)])
def test_a_filtered_pixel_is_the_weighted_mean_of_its_neighbours(row, column):
    value, guide = randn(1, 4, 11, 17, seed=4), randn(1, 4, 11, 17, seed=5)
    smooth = bilateral(value, guide)[0, :, row, column]
    assert torch.allclose(smooth, by_definition(value, guide, row, column), atol=1e-5)


def test_pictures_of_a_batch_are_filtered_alone():
    value, guide = randn(2, 4, 12, 12, seed=6), randn(2, 4, 12, 12, seed=7)
    alone = torch.cat([bilateral(value[i : i + 1], guide[i : i + 1]) for i in range(2)])
    assert torch.allclose(bilateral(value, guide), alone, atol=1e-6)


def test_the_filter_for_graphics_cards_gives_the_same_picture():
    value, guide = randn(1, 4, 20, 30, seed=8), randn(1, 4, 20, 30, seed=9)
    standard = (guide - guide.mean()) / (guide.std() + 1e-5)
    padded = (pad(tensor, (6,) * 4, mode="reflect") for tensor in (value, standard))
    assert torch.allclose(_by_rows(*padded), bilateral(value, guide), atol=1e-5)
