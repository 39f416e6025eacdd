"""FreeU: its two changes, and where in a UNet they are made."""

import pytest
import torch

from engine.models.checkpoint import load_checkpoint
from engine.sampling.freeu import FreeU, filtered, strengthened


@pytest.fixture
def unet(toy):
    """The toy UNet."""
    return load_checkpoint(toy, torch.device("cpu")).unet


@pytest.fixture
def output(unet):
    """Gives the toy UNet's output for one fixed call."""
    config = unet.config
    generator = torch.Generator().manual_seed(0)
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    given = {
        "sample": torch.randn(2, 4, 8, 12, generator=generator),
        "timestep": torch.tensor(400.0),
        "encoder_hidden_states": torch.randn(2, 77, config.cross_attention_dim, generator=generator),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, pooled, generator=generator),
            "time_ids": torch.full((2, 6), 64.0),
        },
        "return_dict": False,
    }

    @torch.inference_mode()
    def output():
        return unet(**given)[0]

    return output


def test_the_filter_has_its_reference_values():
    filtered_picture = filtered(torch.arange(64.0).reshape(1, 1, 8, 8), 0.95)
    expected = [-1.350001, -0.314645, 0.685355, 1.650000]
    assert filtered_picture.flatten()[:4].tolist() == pytest.approx(expected, abs=1e-5)
    assert filtered_picture.mean().item() == pytest.approx(29.924997, abs=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (14, 18), (2, 3)])
def test_the_filter_is_that_of_the_spectrum(size):
    skip = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip, dim=(-2, -1)), dim=(-2, -1))
    y, x = size[0] // 2, size[1] // 2
    spectrum[..., y - 1 : y + 1, x - 1 : x + 1] *= 0.3
    expected = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real
    assert torch.allclose(filtered(skip, 0.3), expected, atol=1e-5)


def test_the_backbone_is_strengthened_in_half_its_channels_where_it_is_strong():
    hidden = torch.arange(24.0).reshape(1, 4, 2, 3)
    factors = 0.5 * torch.arange(6.0).reshape(2, 3) / 5 + 1
    changed = strengthened(hidden, 1.5)
    assert torch.allclose(changed[:, :2], hidden[:, :2] * factors)
    assert torch.equal(changed[:, 2:], hidden[:, 2:])


def test_a_flat_backbone_and_a_single_pixel_stay_as_they_are():
    flat = torch.ones(1, 4, 1, 1)
    assert torch.equal(strengthened(flat, 1.5), flat)
    assert torch.equal(filtered(flat, 0.5), flat)


def test_it_changes_the_output_and_comes_off_whole(unet, output):
    plain = output()
    with FreeU(1.3, 1.4, 0.9, 0.8).attached(unet):
        assert not torch.allclose(output(), plain, atol=1e-4)
    assert torch.equal(output(), plain)


@pytest.mark.parametrize("changed", [{"b1": 1.5}, {"b2": 1.5}, {"s1": 0.5}, {"s2": 0.5}])
def test_each_of_its_numbers_counts(unet, output, changed):
    neutral = {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0}
    plain = output()
    with FreeU(**neutral).attached(unet):
        assert torch.allclose(output(), plain, atol=1e-4)
    with FreeU(**(neutral | changed)).attached(unet):
        assert not torch.allclose(output(), plain, atol=1e-4)


def test_widths_of_sdxl_and_of_other_models():
    class Unet:
        """A UNet of these widths."""

        def __init__(self, *widths):
            self.config = type("Config", (), {"block_out_channels": widths})

    freeu = FreeU(1.0, 2.0, 3.0, 4.0)
    assert freeu._by_width(Unet(320, 640, 1280)) == {1280: (1.0, 3.0), 640: (2.0, 4.0)}
    assert freeu._by_width(Unet(320, 640, 1280, 1280)) == {1280: (1.0, 3.0), 640: (2.0, 4.0)}
    assert freeu._by_width(Unet(40, 64, 128, 192)) == {192: (1.0, 3.0), 128: (2.0, 4.0)}


def test_equal_numbers_are_one_attachment():
    assert FreeU(1.0, 2.0, 3.0, 4.0) == FreeU(1.0, 2.0, 3.0, 4.0)
    assert hash(FreeU(1.0, 2.0, 3.0, 4.0)) == hash(FreeU(1.0, 2.0, 3.0, 4.0))
