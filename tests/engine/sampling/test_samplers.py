"""Every sampler: the reference values of a toy denoiser, and the right answer for Gaussian pictures."""

import math
from itertools import pairwise

import pytest
import torch

from engine import choices
from engine.sampling.model_sampling import alphas_cumprod, model_sampling
from engine.sampling.samplers import SAMPLERS, lagrange_integrals, restart_segments
from engine.sampling.schedules import karras, sigmas_for

SPREAD = 0.7


def finished(run):
    """The steps a sampler yields, and the state it returns."""
    steps = []
    while True:
        try:
            steps.append(next(run))
        except StopIteration as end:
            return steps, end.value


class Toy:
    """A smooth denoiser that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, s):
        self.calls += 1
        return 0.25 * x / (s**2 + 0.25) + 0.1 * torch.sin(s)


def half(sigma, sigma_next):
    return torch.tensor(0.5, dtype=sigma.dtype)


def toy_levels(n):
    return karras(n, 0.03, 15.0, torch.float64)


def toy_run(name, sigmas, start=15.0, model=None):
    toy = Toy()
    steps, x = finished(SAMPLERS[name](toy, torch.tensor([start], dtype=sigmas.dtype), sigmas, half, model))
    return x.item(), toy.calls, steps


REFERENCE = {
    "euler": (0.49934646, 10),
    "ddim": (0.49934646, 10),
    "euler_ancestral": (0.56120090, 10),
    "ddpm": (0.56120090, 10),
    "heun": (0.63001837, 19),
    "heunpp2": (0.50691831, 27),
    "dpm_2": (0.61374339, 19),
    "dpm_2_ancestral": (0.91778763, 19),
    "lms": (0.56056538, 10),
    "dpmpp_2s_ancestral": (0.70444867, 19),
    "dpmpp_sde": (0.73021545, 19),
    "dpmpp_sde_gpu": (0.73021545, 19),
    "dpmpp_2m": (0.62195313, 10),
    "dpmpp_2m_sde": (0.76202645, 10),
    "dpmpp_2m_sde_gpu": (0.76202645, 10),
    "dpmpp_3m_sde": (0.82081469, 10),
    "dpmpp_3m_sde_gpu": (0.82081469, 10),
    "lcm": (0.41132678, 10),
    "dpm_fast": (0.54155570, 10),
    "dpm_adaptive": (0.59460305, 21),
    "restart": (0.63001837, 19),
}


def test_the_registry_holds_exactly_the_names_a_request_may_use():
    assert set(SAMPLERS) == set(choices.SAMPLERS)
    assert {*REFERENCE, "tcd", "uni_pc", "uni_pc_bh2"} == set(choices.SAMPLERS)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_sampler_gives_its_reference_value(name):
    x, calls, _ = toy_run(name, toy_levels(10))
    expected, evaluations = REFERENCE[name]
    assert (x, calls) == (pytest.approx(expected, abs=1e-8), evaluations)


@pytest.mark.parametrize(("steps", "expected", "evaluations"), [(30, 0.49695493, 59), (60, 0.44467533, 119)])
def test_restart_goes_up_again_in_longer_runs(steps, expected, evaluations):
    x, calls, made = toy_run("restart", toy_levels(steps))
    assert (x, calls, len(made)) == (pytest.approx(expected, abs=1e-8), evaluations, steps)


@pytest.mark.parametrize(("name", "expected"), [("uni_pc", 0.61930411), ("uni_pc_bh2", 0.60666276)])
def test_uni_pc_gives_its_reference_value(name, expected):
    levels = toy_levels(11)
    levels = torch.cat([levels[:-2], levels[-1:]])
    x, calls, _ = toy_run(name, levels, start=math.sqrt(1 + 15**2))
    assert (x, calls) == (pytest.approx(expected, abs=1e-8), 10)


def test_tcd_gives_its_reference_value():
    model = model_sampling("eps", "tcd")
    x, calls, _ = toy_run("tcd", sigmas_for(model, "tcd", "tcd", 8), model=model)
    assert (x, calls) == (pytest.approx(0.5236074, abs=1e-6), 8)


def test_tcd_aims_for_these_timesteps():
    model = model_sampling("eps", "tcd")
    timesteps = model.timestep(sigmas_for(model, "tcd", "tcd", 8)[:-1])
    assert (timesteps * 0.7).floor().int().tolist() == [699, 615, 531, 447, 363, 265, 181, 97]


def test_tcd_needs_a_discrete_model():
    for model in (None, model_sampling("eps", "edm_playground_v2.5")):
        with pytest.raises(ValueError, match="discrete"):
            toy_run("tcd", toy_levels(4), model=model)


STEP_COUNTS = {"dpm_fast": 4, "dpm_adaptive": 7}


@pytest.mark.parametrize("name", choices.SAMPLERS)
def test_a_sampler_tells_every_step_before_it_takes_it(name):
    model = model_sampling("eps", "tcd")
    levels = sigmas_for(model, "tcd", "tcd", 10) if name == "tcd" else toy_levels(10)
    _, _, steps = toy_run(name, levels, model=model)
    assert [step.index for step in steps] == list(range(STEP_COUNTS.get(name, 10)))
    assert steps[0].sigma == pytest.approx(levels[0].item())
    assert steps[0].x.item() == pytest.approx(15.0, rel=0.8 if name == "dpm_adaptive" else 1e-6)
    assert all(later.sigma <= earlier.sigma for earlier, later in pairwise(steps))


@pytest.mark.parametrize("name", choices.SAMPLERS)
def test_one_step_is_enough_for_a_sampler(name):
    model = model_sampling("eps", "tcd")
    x, _, steps = toy_run(name, torch.tensor([14.614642, 0.0]), start=15.0, model=model)
    assert len(steps) == (0 if name == "dpm_adaptive" else 1)
    residual = name in ("dpm_fast", "dpm_adaptive")
    assert x == pytest.approx(15.0 if residual else 0.1, abs=0.2)


def gaussian(x, s):
    """What a perfect network sees when pictures are drawn from N(0, SPREAD²)."""
    return x * SPREAD**2 / (SPREAD**2 + s**2)


def consistent(x, s):
    """Where the probability flow from `x` ends, which is what a consistency model learns."""
    return x * SPREAD / (SPREAD**2 + s**2) ** 0.5


def trajectory_consistent(sigmas, model):
    """The prediction with which a TCD step lands exactly on the probability flow's state at the level aimed for."""
    levels = ((1 - alphas_cumprod()) / alphas_cumprod()).sqrt().float()
    aims = levels[(0.7 * model.timestep(sigmas)).long()]
    aims[-1] = levels[0]
    aim_of = {s.item(): aim for s, aim in zip(sigmas, aims[1:], strict=False)}

    def denoise(x, s):
        aim = aim_of[s.item()]
        kept = ((SPREAD**2 + aim**2) / (SPREAD**2 + s**2)) ** 0.5
        return x * (kept - aim / s) / (1 - aim / s)

    return denoise


@pytest.mark.parametrize("name", choices.SAMPLERS)
def test_a_sampler_recovers_a_known_distribution(name):
    scheduler, steps = ("tcd", 40) if name == "tcd" else ("karras", 200)
    model = model_sampling("eps", scheduler)
    sigmas = sigmas_for(model, scheduler, name, steps)
    denoise = {"lcm": consistent, "tcd": trajectory_consistent(sigmas, model)}.get(name, gaussian)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 64, 64, generator=generator) * (SPREAD**2 + float(sigmas[0]) ** 2) ** 0.5

    def noise(sigma, sigma_next):
        return torch.randn(x.shape, generator=generator)

    _, result = finished(SAMPLERS[name](denoise, x, sigmas, noise, model))
    chooses_its_steps = name == "dpm_adaptive"
    assert result.std().item() == pytest.approx(SPREAD, rel=0.05 if chooses_its_steps else 0.03)
    assert result.mean().item() == pytest.approx(0, abs=0.03)


def test_the_stochastic_samplers_ask_for_noise_between_falling_levels():
    asked = []

    def noise(sigma, sigma_next):
        asked.append((float(sigma), float(sigma_next)))
        return torch.zeros(1)

    levels = toy_levels(5)
    finished(SAMPLERS["dpmpp_sde"](gaussian, torch.ones(1), levels, noise))
    expected = [
        pair for s, s_next in pairwise(levels[:-1].tolist()) for pair in ((s, (s * s_next) ** 0.5), (s, s_next))
    ]
    assert asked == [pytest.approx(pair) for pair in expected]


def test_a_stage_that_stops_above_zero_leaves_a_state_of_that_level():
    generator = torch.Generator().manual_seed(2)
    levels = karras(40, 0.03, 15.0)[:25]
    for name in ("euler", "euler_ancestral", "dpmpp_2m_sde", "uni_pc", "lms"):
        x = torch.randn(1, 4, 64, 64, generator=generator) * (SPREAD**2 + 15.0**2) ** 0.5
        run = SAMPLERS[name](gaussian, x, levels, lambda *_: torch.randn(1, 4, 64, 64, generator=generator))
        expected = (SPREAD**2 + float(levels[-1]) ** 2) ** 0.5
        assert finished(run)[1].std().item() == pytest.approx(expected, rel=0.05), name


def test_the_adaptive_sampler_ends_when_the_model_answers_nonsense():
    run = SAMPLERS["dpm_adaptive"](lambda x, s: x * math.nan, torch.ones(1), toy_levels(5), half)
    with pytest.raises(FloatingPointError):
        finished(run)


def test_the_basis_of_four_levels_is_integrated_exactly():
    levels, start, end = [3.0, 4.0, 6.0, 9.0], 3.0, 2.0
    for power in range(4):
        integral = sum(
            c * level**power for c, level in zip(lagrange_integrals(levels, start, end), levels, strict=True)
        )
        assert integral == pytest.approx((end ** (power + 1) - start ** (power + 1)) / (power + 1))


@pytest.mark.parametrize("steps", [19, 20, 35, 36, 60])
def test_restart_takes_as_many_segments_as_steps(steps):
    levels = toy_levels(steps)
    segments = restart_segments(levels)
    climbs = sum(float(second[0]) > 1.01 * float(first[1]) for first, second in pairwise(segments))
    assert len(segments) == steps
    assert climbs == (0 if steps < 20 else 1 if steps < 36 else 2)
    assert segments[0][0].item() == pytest.approx(levels[0].item()) and segments[-1][1] == 0
