"""The levels each scheduler's name gives."""

import pytest
import torch

from engine.choices import SAMPLERS, SCHEDULERS
from engine.sampling.model_sampling import model_sampling
from engine.sampling.schedules import brownian_range, own_sigmas, sigmas_for, stage

REFERENCE = {
    ("karras", 30): (14.614643, 12.660604, 10.934923, 9.414913, 0.029167),
    ("karras", 8): (14.614643, 7.902934, 4.027739, 1.910356, 0.029167),
    ("exponential", 30): (14.614640, 11.794738, 9.518938, 7.682256, 0.029167),
    ("normal", 30): (14.614640, 11.917510, 9.814158, 8.158440, 0.029167),
    ("sgm_uniform", 30): (14.614640, 11.996905, 9.939082, 8.307171, 0.180126),
    ("simple", 30): (14.614641, 12.017744, 9.972039, 8.302803, 0.179259),
    ("ddim_uniform", 30): (13.925849, 11.476847, 9.543583, 8.004311, 0.041314),
    ("turbo", 8): (14.614640, 8.302803, 5.087763, 3.321083, 0.829860),
    ("align_your_steps", 30): (14.614641, 11.050848, 8.356089, 6.318449, 0.045595),
    ("lcm", 8): (14.614640, 7.391794, 4.170772, 2.562858, 0.436725),
    ("tcd", 8): (14.614640, 7.391794, 4.170772, 2.562858, 0.436725),
    ("edm_playground_v2.5", 30): (120.000023, 98.847908, 80.975639, 65.947884, 0.002000),
}


def sigmas(scheduler, steps, sampler="euler", denoise=1.0):
    return sigmas_for(model_sampling("eps", scheduler), scheduler, sampler, steps, denoise)


@pytest.mark.parametrize(("scheduler", "steps"), REFERENCE)
def test_a_scheduler_gives_its_levels(scheduler, steps):
    levels = own_sigmas(model_sampling("eps", scheduler), scheduler, "euler", steps)
    *first, last = REFERENCE[scheduler, steps]
    assert levels[:4].tolist() == pytest.approx(first, rel=2e-6)
    assert levels[-2].item() == pytest.approx(last, abs=1e-6)
    assert levels[-1] == 0 and levels.dtype == torch.float32


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("steps", "denoise"), [(1, 1.0), (2, 1.0), (7, 0.382), (30, 1.0), (60, 0.85)])
def test_a_run_has_as_many_falling_levels_as_steps(scheduler, steps, denoise):
    for sampler in SAMPLERS:
        levels = sigmas(scheduler, steps, sampler, denoise)
        assert len(levels) == steps + 1, sampler
        assert levels[-1] == 0 and bool((levels.diff() < 0).all()), sampler


@pytest.mark.parametrize("scheduler", ["turbo", "align_your_steps"])
def test_these_two_are_sampled_with_the_normal_levels(scheduler):
    assert torch.equal(sigmas(scheduler, 30), sigmas("normal", 30))
    assert not torch.equal(sigmas(scheduler, 30), own_sigmas(model_sampling("eps", scheduler), scheduler, "euler", 30))


def test_ddim_uniform_has_a_level_more_of_its_own_and_ends_in_zero_instead():
    own = own_sigmas(model_sampling("eps", "ddim_uniform"), "ddim_uniform", "euler", 30)
    assert len(own) == 32
    assert sigmas("ddim_uniform", 30).tolist() == [*own[:30].tolist(), 0]


def test_turbo_has_at_most_ten_levels_of_its_own():
    assert len(own_sigmas(model_sampling("eps", "turbo"), "turbo", "euler", 30)) == 11


def test_ten_aligned_steps_are_the_published_levels():
    model = model_sampling("eps", "align_your_steps")
    levels = own_sigmas(model, "align_your_steps", "euler", 10)
    assert levels.tolist() == pytest.approx(
        [14.614641, 6.318449, 3.768179, 2.181148, 1.340524, 0.862072, 0.555069, 0.379854, 0.233236, 0.111419, 0],
        abs=1e-6,
    )
    assert own_sigmas(model, "align_your_steps", "euler", 10, family="sd1")[1].item() == pytest.approx(6.474576)


@pytest.mark.parametrize(
    ("steps", "denoise", "first"), [(30, 0.5, 1.212386), (30, 0.85, 7.754776), (18, 0.382, 0.568973)]
)
def test_a_partial_denoise_takes_the_end_of_a_longer_schedule(steps, denoise, first):
    assert sigmas("karras", steps, denoise=denoise)[0].item() == pytest.approx(first, abs=1e-6)
    whole = int(steps / denoise)
    assert torch.equal(sigmas("karras", steps, denoise=denoise), sigmas("karras", whole)[-(steps + 1) :])


@pytest.mark.parametrize("sampler", ["dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"])
def test_second_order_samplers_leave_out_the_level_before_the_end(sampler):
    longer = sigmas("karras", 31)
    assert sigmas("karras", 30, sampler).tolist() == [*longer[:-2].tolist(), 0]


def test_the_brownian_range_spans_the_schedule_of_the_name_itself():
    low, high = brownian_range(model_sampling("eps", "karras"), "karras", "dpmpp_2m_sde_gpu", 30)
    assert (low, high) == pytest.approx((0.029167158529162407, 14.614642), rel=1e-6)
    assert brownian_range(model_sampling("eps", "turbo"), "turbo", "dpmpp_sde", 30)[0] > 0.3
    assert brownian_range(model_sampling("eps", "karras"), "karras", "dpmpp_sde", 30, 0.5)[1] < 1.3


def test_a_stage_takes_its_part_of_the_levels():
    levels = sigmas("karras", 10)
    assert stage(levels, last=4, to_zero=False).tolist() == levels[:5].tolist()
    assert stage(levels, last=4).tolist() == [*levels[:4].tolist(), 0]
    assert stage(levels, start=4, last=10).tolist() == levels[4:].tolist()
    assert len(stage(levels, start=10)) == 1
    assert levels[4] > 0


def test_no_step_and_no_denoising_are_refused():
    with pytest.raises(ValueError, match="steps"):
        sigmas("karras", 0)
    with pytest.raises(ValueError, match="denoise"):
        sigmas("karras", 30, denoise=0.0)
