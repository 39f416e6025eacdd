"""Pictures larger than a model knows are sampled at a size it knows."""

import pytest
import torch

from engine.sampling.native_size import enlarged, sampled_size


@pytest.mark.parametrize("size", [(512, 512), (576, 448), (64, 64)])
def test_a_size_within_the_limit_stays(size):
    assert sampled_size(size, 512 * 512) == size


def test_a_model_without_a_limit_samples_every_size():
    assert sampled_size((2048, 2048), None) == (2048, 2048)


@pytest.mark.parametrize(
    ("asked", "sampled"), [((1152, 896), (576, 448)), ((1024, 1024), (512, 512)), ((704, 1408), (384, 704))]
)
def test_a_larger_one_keeps_its_shape_on_the_grid(asked, sampled):
    assert sampled_size(asked, 512 * 512) == sampled


def test_a_very_flat_one_keeps_a_grid_step_of_height():
    assert sampled_size((2048, 64), 64 * 64) == (384, 64)


def test_enlarging_keeps_flat_colours_and_gives_the_asked_size():
    latent = torch.tensor([0.5, -1.0, 2.0, 0.0])[None, :, None, None].expand(1, 4, 7, 9)
    large = enlarged(latent, 14, 20)
    assert large.shape == (1, 4, 14, 20)
    torch.testing.assert_close(large, latent[:, :, :1, :1].expand_as(large))


def test_a_latent_of_the_right_size_is_left_alone():
    latent = torch.randn(1, 4, 8, 8)
    assert enlarged(latent, 8, 8) is latent
