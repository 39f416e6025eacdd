"""Model space and VAE space."""

import pytest
import torch

from engine.sampling.latent_format import PLAYGROUND, SD15, SDXL, latent_format


@pytest.fixture
def latent():
    """A latent of a VAE."""
    return torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0)) * 7


@pytest.mark.parametrize(
    ("kind", "scheduler", "expected"),
    [
        ("sdxl", "karras", SDXL),
        ("sdxl_refiner", "lcm", SDXL),
        ("sd15", "karras", SD15),
        ("sdxl", "edm_playground_v2.5", PLAYGROUND),
    ],
)
def test_kind_and_scheduler_decide(kind, scheduler, expected):
    assert latent_format(kind, scheduler) is expected


def test_scales(latent):
    assert torch.equal(SDXL.to_model(latent), latent * 0.13025)
    assert torch.equal(SD15.to_vae(latent), latent / 0.18215)
    assert PLAYGROUND.to_vae(torch.ones(1, 4, 1, 1)).flatten().tolist() == pytest.approx(
        [8.4927 / 0.5 - 1.6574, 5.9022 / 0.5 + 1.886, 6.5498 / 0.5 - 1.383, 5.2299 / 0.5 + 2.5155]
    )


@pytest.mark.parametrize("form", [SDXL, SD15, PLAYGROUND])
def test_there_and_back(form, latent):
    assert torch.allclose(form.to_vae(form.to_model(latent)), latent, atol=1e-5)


def test_an_empty_latent_stays_empty(latent):
    empty = torch.zeros_like(latent)
    assert torch.equal(PLAYGROUND.to_model(empty), empty)
    assert not torch.equal(PLAYGROUND.to_model(latent), latent)
