"""The seed's noise, noise inside samplers, and the state a run starts from."""

import math
from itertools import pairwise

import pytest
import torch
import torchsde

from engine.sampling.model_sampling import model_sampling
from engine.sampling.noise import brownian_noise, noise_for, start_state, starting_noise
from engine.sampling.schedules import sigmas_for

LOW, HIGH = 0.029167158529162407, 14.614642


def test_a_seed_gives_this_noise():
    noise = starting_noise(12345, (1, 4, 112, 144))
    first = [-1.479808, 0.487306, -3.012794, 0.443855, 0.359756, -0.012348]
    assert noise.flatten()[:6].tolist() == pytest.approx(first, abs=1e-6)
    assert noise.dtype == torch.float32


def test_the_noise_is_that_of_seeding_the_whole_library():
    state = torch.get_rng_state()
    torch.manual_seed(99)
    start, first, second = (torch.randn(1, 4, 16, 16) for _ in range(3))
    torch.set_rng_state(state)
    assert torch.equal(starting_noise(99, (1, 4, 16, 16)), start)
    noise = noise_for("euler_ancestral", torch.zeros(1, 4, 16, 16), 99, LOW, HIGH)
    assert torch.equal(noise(9.0, 8.0), first) and torch.equal(noise(8.0, 7.0), second)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_largest_seed_is_a_seed():
    assert starting_noise(2**63 - 1, (1, 4, 8, 8)).std() > 0.5
    assert brownian_noise(torch.zeros(1, 4, 8, 8), 2**63 - 1, LOW, HIGH)(2.0, 1.0).std() > 0.5


def test_brownian_noise_gives_its_reference_values_in_any_order():
    first = [1.049327, -0.417800, -0.336962, -0.260375]
    second = [-0.832852, 0.747544, 1.128703, 0.153095]
    for order in (1, -1):
        noise = brownian_noise(torch.zeros(1, 4, 8, 8), 12345, LOW, HIGH)
        asked = {pair: noise(*pair).flatten()[:4].tolist() for pair in [(14.614642, 12.660604), (1.0, 0.5)][::order]}
        assert asked[14.614642, 12.660604] == pytest.approx(first, abs=1e-5)
        assert asked[1.0, 0.5] == pytest.approx(second, abs=1e-5)


def test_brownian_noise_is_that_of_the_librarys_tree():
    tree = torchsde.BrownianTree(t0=LOW, w0=torch.zeros(1, 4, 8, 8), t1=HIGH, entropy=3)
    noise = brownian_noise(torch.zeros(1, 4, 8, 8), 3, LOW, HIGH)
    levels = sigmas_for(model_sampling("eps", "karras"), "karras", "dpmpp_2m_sde", 30)[1:-1].tolist()
    for high, low in pairwise(levels):
        assert torch.equal(noise(high, low), -tree(low, high) / math.sqrt(high - low))


def test_brownian_noise_stands_still_beyond_its_range():
    noise = brownian_noise(torch.zeros(1, 4, 8, 8), 1, LOW, HIGH)
    assert noise(20.0, 15.0).abs().max() == 0
    partly = noise(20.0, 10.0) * math.sqrt(10) - noise(HIGH, 10.0) * math.sqrt(HIGH - 10)
    assert partly.abs().max() < 1e-5


def test_brownian_increments_add_up():
    noise = brownian_noise(torch.zeros(1, 4, 32, 32), 7, LOW, HIGH)
    whole = noise(4.0, 1.0) * math.sqrt(3)
    parts = noise(4.0, 2.0) * math.sqrt(2) + noise(2.0, 1.0)
    assert torch.allclose(whole, parts, atol=1e-4)
    assert noise(4.0, 1.0).std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_both_spellings_of_an_sde_sampler_have_the_same_noise(name):
    x = torch.zeros(1, 4, 8, 8)
    plain, gpu = (noise_for(spelling, x, 5, LOW, HIGH) for spelling in (name, f"{name}_gpu"))
    assert torch.equal(plain(2.0, 1.0), gpu(2.0, 1.0))
    assert torch.equal(plain(2.0, 1.0), brownian_noise(x, 5, LOW, HIGH)(2.0, 1.0))


def test_a_full_run_starts_from_noise_and_the_latent_as_its_own_spread():
    model = model_sampling("eps", "karras")
    noise, latent = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 0.5)
    sigmas = sigmas_for(model, "karras", "euler", 30)
    assert start_state(noise, latent, sigmas, model).mean().item() == pytest.approx(math.hypot(1, 14.614643) + 0.5)
    partial = sigmas_for(model, "karras", "euler", 30, 0.5)
    assert start_state(noise, latent, partial, model).mean().item() == pytest.approx(1.212386 + 0.5, abs=1e-5)


def test_a_schedule_that_begins_below_the_highest_level_starts_from_that_level():
    model = model_sampling("eps", "ddim_uniform")
    sigmas = sigmas_for(model, "ddim_uniform", "euler", 30)
    start = start_state(torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), sigmas, model)
    assert start.mean().item() == pytest.approx(13.925849, rel=1e-6)


@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_the_start_is_also_uni_pcs_whose_state_is_scaled(denoise):
    model = model_sampling("eps", "karras")
    sigmas = sigmas_for(model, "karras", "uni_pc", 10, denoise)
    noise, latent = torch.full((1, 4, 2, 2), 1.5), torch.full((1, 4, 2, 2), 0.7)
    s = float(sigmas[0])
    alpha = (1 + s * s) ** -0.5
    expected = 0.7 * alpha + 1.5 * (1.0 if denoise == 1 else s * alpha)
    assert (start_state(noise, latent, sigmas, model) * alpha).mean().item() == pytest.approx(expected, rel=1e-5)
