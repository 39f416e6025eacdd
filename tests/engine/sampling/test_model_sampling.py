"""Noise levels, timesteps and outputs of each kind of model."""

import pytest
import torch

from engine.sampling.model_sampling import alphas_cumprod, model_sampling
from engine.sampling.schedules import sigmas_for

KINDS = {"eps": ("eps", "karras"), "v": ("v", "karras"), "lcm": ("eps", "lcm"), "tcd": ("eps", "tcd")}
KINDS["edm"] = ("eps", "edm_playground_v2.5")


def kind(name):
    return model_sampling(*KINDS[name])


def test_the_table_is_that_of_stable_diffusion():
    model = kind("eps")
    levels = [model.sigmas[t].item() for t in (0, 1, 19, 99, 250, 499, 500, 749, 998, 999)]
    published = [0.029167, 0.041314, 0.134451, 0.341674, 0.695799, 1.612886, 1.618279, 4.081729, 14.526276, 14.614641]
    assert levels == pytest.approx(published, abs=1e-6)
    assert (model.sigma_min, model.sigma_max) == pytest.approx((0.0291671585, 14.6146411896), abs=1e-8)


@pytest.mark.parametrize(("part", "sigma"), [(0.3, 3.325069), (0.5, 1.615580), (0.6, 1.162865), (0.9, 0.343705)])
def test_a_part_of_the_run_has_its_noise_level(part, sigma):
    assert kind("eps").percent_to_sigma(part) == pytest.approx(sigma, abs=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_the_ends_of_a_run_lie_outside_every_table(name):
    assert kind(name).percent_to_sigma(0.0) == 999999999.9
    assert kind(name).percent_to_sigma(1.0) == 0.0
    assert kind(name).sigma_min < kind(name).percent_to_sigma(0.5) < kind(name).sigma_max


@pytest.mark.parametrize("name", ["eps", "v", "lcm", "tcd"])
def test_every_level_of_a_table_gives_its_own_timestep_back(name):
    model = kind(name)
    steps = model.timestep(model.sigmas)
    assert steps.tolist() == list(range(model.stride - 1, 1000, model.stride))
    assert model.sigma(steps).tolist() == pytest.approx(model.sigmas.tolist(), rel=1e-6)


def test_timesteps_beyond_the_table_are_its_ends():
    model = kind("eps")
    assert model.timestep(0.0) == 0 and model.timestep(1e6) == 999
    ends = [model.sigma(-5.0).item(), model.sigma(2000.0).item()]
    assert ends == pytest.approx([model.sigma_min, model.sigma_max], rel=1e-6)


def test_between_two_timesteps_the_logarithm_of_the_level_is_linear():
    model = kind("eps")
    low, middle, high = model.sigma(torch.tensor([500.0, 500.5, 501.0])).tolist()
    assert middle**2 == pytest.approx(low * high, rel=1e-5)


def test_lcm_runs_eight_steps_on_these_timesteps():
    model = kind("lcm")
    sigmas = sigmas_for(model, "lcm", "lcm", 8)
    assert model.timestep(sigmas[:-1]).tolist() == [999, 879, 759, 639, 519, 379, 259, 139]
    assert model.sigma_min == pytest.approx(0.134451, abs=1e-6)


def test_thirty_karras_steps_run_on_these_timesteps():
    model = kind("eps")
    steps = model.timestep(sigmas_for(model, "karras", "euler", 30)[:-1])
    assert steps.tolist() == [
        *(999, 975, 949, 923, 894, 863, 830, 795, 757, 716, 672, 624, 572, 517, 458),
        *(397, 334, 273, 214, 162, 117, 80, 53, 33, 20, 11, 6, 3, 1, 0),
    ]
    progress = 1 - steps.half() / 999
    assert progress[:5].tolist() == pytest.approx([0, 0.023926, 0.050293, 0.076172, 0.104980], abs=1e-6)
    assert progress[-3:].tolist() == pytest.approx([0.997070, 0.999023, 1], abs=1e-6)


def test_edm_tells_the_network_a_quarter_of_the_logarithm():
    model = kind("edm")
    assert model.timestep(0.5).item() == pytest.approx(-0.1732868)
    assert model.sigma(model.timestep(7.0)).item() == pytest.approx(7.0)
    assert (model.sigma_min, model.sigma_max) == pytest.approx((0.002, 120.0), rel=1e-5)


def noised(name, sigma):
    """A clean picture, its noisy state, and what a perfect network of this kind answers."""
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x0 + sigma * noise
    if name == "v":
        alpha, std = (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5
        return x0, x, alpha * noise - std * x0
    if name == "edm":
        c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25) ** 0.5
        return x0, x, (x0 - c_skip * x) / c_out
    return x0, x, noise


@pytest.mark.parametrize("name", ["eps", "v", "tcd", "edm"])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 14.0])
def test_a_perfect_network_gives_the_clean_picture(name, sigma):
    x0, x, output = noised(name, sigma)
    assert torch.allclose(kind(name).denoised(x, sigma, output), x0, atol=1e-9)


def test_lcm_keeps_the_state_only_at_the_lowest_timesteps():
    model = kind("lcm")
    x, output = torch.full((1, 4, 2, 2), 2.0), torch.zeros(1, 4, 2, 2)
    tau = 10 * 999
    expected = 2.0 * (tau / (tau**2 + 0.25) ** 0.5 + 0.25 / (tau**2 + 0.25))
    assert model.denoised(x, model.sigmas[-1], output).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "spread"), [("eps", 1.0), ("v", 1.0), ("lcm", 1.0), ("tcd", 1.0), ("edm", 0.5)])
def test_the_network_sees_its_input_at_unit_variance(name, spread):
    generator = torch.Generator().manual_seed(5)
    for sigma in (0.2, 3.0, 14.0):
        x = torch.randn(200_000, generator=generator) * (spread**2 + sigma**2) ** 0.5
        assert kind(name).scale_input(x, sigma).std().item() == pytest.approx(1, rel=0.02)


def test_the_full_table_of_alphas_stays_for_tcd():
    assert len(alphas_cumprod()) == 1000 and len(kind("tcd").sigmas) == 50
