"""Whole runs over toy UNets: one model, the ways to a refiner, partial runs, blending."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.gpu.compiled_kernels import Kernels
from engine.models.checkpoint import load_checkpoint
from engine.sampling.conditioning import Conditioning
from engine.sampling.denoiser import Denoiser, Guidance
from engine.sampling.freeu import FreeU
from engine.sampling.graphs import Graphs
from engine.sampling.latent_format import SD15, SDXL
from engine.sampling.latent_mask import Blend
from engine.sampling.model_sampling import model_sampling
from engine.sampling.noise import noise_for, start_state, starting_noise
from engine.sampling.sample import sample
from engine.sampling.samplers import SAMPLERS
from engine.sampling.sampling_run import Model, SamplingRun, route, starts_on
from engine.sampling.schedules import brownian_range, own_sigmas, sigmas_for
from engine.sampling.stages import driven
from tests.toy import toy_checkpoint

GUIDANCE = Guidance(4.0, 7.0, 2.0, 1.5, 0.8, 0.3)
SHAPE = (1, 4, 8, 12)


def drawn(*shape, seed=0):
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TEXTS = [Conditioning(drawn(1, 77, 48, seed=n), drawn(1, 32, seed=n)) for n in (1, 2)]


class Counted:
    """A model whose UNet's calls are counted, with what they were told."""

    def __init__(self, unet, **more):
        self.model = Model(unet, **more)
        self.told = []
        unet.register_forward_pre_hook(lambda unet, args, kwargs: self.told.append((args, kwargs)), with_kwargs=True)

    @property
    def calls(self):
        """How often the UNet was called since this was last asked."""
        count = len(self.told)
        self.told.clear()
        return count


@pytest.fixture(scope="module")
def base(toy):
    """The toy model."""
    return Counted(load_checkpoint(toy, torch.device("cpu")).unet)


@pytest.fixture(scope="module")
def twin(toy):
    """The toy model again."""
    return Counted(load_checkpoint(toy, torch.device("cpu")).unet)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A toy model of other weights."""
    path = toy_checkpoint(tmp_path_factory.mktemp("other") / "other.safetensors", seed=1)
    return Counted(load_checkpoint(path, torch.device("cpu")).unet)


def small_unet(context_width, **more):
    """A UNet of random weights that are always the same."""
    torch.manual_seed(3)
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=context_width,
        attention_head_dim=4,
        **more,
    ).eval()


@pytest.fixture(scope="module")
def sd15():
    """A refiner of Stable Diffusion 1.5's kind."""
    return Counted(small_unet(16), kind="sd15", final_norm_l=torch.nn.LayerNorm(16))


@pytest.fixture(scope="module")
def sdxl_refiner():
    """A refiner of SDXL's own kind: CLIP-G alone, five size numbers."""
    unet = small_unet(
        32,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=5 * 16 + 32,
    )
    return Counted(unet, kind="sdxl_refiner")


@pytest.fixture
def run(base):
    """A run of six steps on the base alone."""
    base.told.clear()
    return SamplingRun(base.model, *TEXTS, GUIDANCE, "euler", "karras", 6, 12345, (96, 64))


def ignored(step):
    """Hears of a step."""


def steps_of(run):
    """The steps a run tells of, and what it ends in."""
    steps = []
    return steps, sample(run, steps.append)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde_gpu", "euler_ancestral", "uni_pc", "heun"])
def test_a_run_without_a_refiner_is_the_sampler_on_the_model(run, base, name):
    run = replace(run, sampler=name)
    sampling = model_sampling("eps", "karras")
    sigmas = sigmas_for(sampling, "karras", name, 6)
    x = start_state(starting_noise(12345, SHAPE), torch.zeros(SHAPE), sigmas, sampling)
    noise = noise_for(name, x, 12345, *brownian_range(sampling, "karras", name, 6))
    denoise = Denoiser(base.model.unet, sampling, GUIDANCE, *TEXTS, (96, 64))
    expected = driven(SAMPLERS[name](denoise, x, sigmas, noise, sampling), ignored)
    sampled = sample(run, ignored)
    assert sampled.whose == "base"
    assert torch.equal(sampled.latent, SDXL.to_vae(expected))


def test_both_sides_are_one_call_a_step(run, base):
    steps, _ = steps_of(run)
    assert [step.index for step in steps] == list(range(6))
    assert base.calls == 6


def test_a_seed_gives_one_latent_and_leaves_the_librarys_noise_alone(run):
    state = torch.get_rng_state()
    first, again, another = (sample(replace(run, seed=seed), ignored).latent for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, another)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("denoise", "first"), [(0.5, 1.212386), (0.85, 7.754776), (1.0, 14.614643)])
def test_a_partial_run_takes_the_end_of_a_longer_schedule(run, denoise, first):
    steps, _ = steps_of(replace(run, steps=30, denoise=denoise, guidance=replace(GUIDANCE, guidance_scale=1.0)))
    assert len(steps) == 30
    assert steps[0].sigma == pytest.approx(first, abs=1e-5)


def test_a_run_starts_from_its_latent(run):
    latent = drawn(*SHAPE, seed=9) / 0.13025
    steps, _ = steps_of(replace(run, latent=latent, denoise=0.3))
    noise = steps[0].x - latent * 0.13025
    assert torch.allclose(noise, starting_noise(12345, SHAPE) * steps[0].sigma, atol=1e-4)


def test_a_latent_of_another_size_is_an_error(run):
    with pytest.raises(ValueError, match=r"\[1, 4, 8, 8\]"):
        sample(replace(run, latent=torch.zeros(1, 4, 8, 8)), ignored)


def test_tcd_does_not_go_with_edm(run):
    with pytest.raises(ValueError, match="tcd"):
        sample(replace(run, sampler="tcd", scheduler="edm_playground_v2.5"), ignored)


def test_edm_ends_in_playgrounds_own_space(run):
    plain = sample(replace(run, scheduler="edm_playground_v2.5"), ignored).latent
    assert plain.isfinite().all()
    assert plain.mean(dim=(0, 2, 3)).tolist() != pytest.approx([0] * 4, abs=0.5)


ROUTES = [
    (None, "vae", 1.0, "base"),
    ("sdxl", "joint", 1.0, "joint"),
    ("sdxl", "vae", 0.3, "vae"),
    ("sdxl_refiner", "separate", 1.0, "separate"),
    ("sd15", "joint", 0.91, "vae"),
    ("sd15", "joint", 0.9, "base"),
    ("sd15", "joint", 0.2613, "base"),
    ("sd15", "joint", 0.2612, "refiner"),
]


@pytest.mark.parametrize(("kind", "method", "denoise", "expected"), ROUTES)
def test_kind_method_and_denoise_decide_the_route(kind, method, denoise, expected):
    assert route(kind, method, denoise, 30, 24) == expected
    assert starts_on(expected) == ("refiner" if expected == "refiner" else "base")


def refined(run, refiner, method="joint", switch=2, **changes):
    """The run with a refiner."""
    refiner.told.clear()
    return replace(run, refiner=refiner.model, swap_method=method, switch=switch, **changes)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "dpm_2_ancestral", "uni_pc"])
def test_a_joint_run_to_the_same_weights_changes_nothing(run, twin, name):
    run = replace(run, sampler=name)
    alone, joined = sample(run, ignored), sample(refined(run, twin), ignored)
    assert torch.equal(alone.latent, joined.latent)
    assert twin.calls > 0


@pytest.mark.parametrize(("name", "of_base", "of_refiner"), [("euler", 3, 3), ("heun", 5, 6)])
def test_a_joint_run_swaps_after_the_first_evaluation_of_a_step(run, base, other, name, of_base, of_refiner):
    steps, _ = steps_of(refined(run, other, sampler=name))
    assert (base.calls, other.calls) == (of_base, of_refiner)
    assert [step.index for step in steps] == list(range(6))


@pytest.mark.parametrize("method", ["joint", "separate"])
def test_a_switch_behind_the_end_never_comes(run, base, other, method):
    alone = sample(run, ignored)
    base.told.clear()
    assert torch.allclose(sample(refined(run, other, method, switch=6), ignored).latent, alone.latent, atol=1e-4)
    assert (base.calls, other.calls) == (6, 0)


@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "dpmpp_sde"])
def test_separate_calls_with_the_same_weights_come_to_the_same(run, base, twin, name):
    run = replace(run, sampler=name)
    alone = sample(run, ignored)
    base.told.clear()
    steps, parted = steps_of(refined(run, twin, "separate"))
    assert torch.allclose(alone.latent, parted.latent, atol=2e-3)
    assert [step.index for step in steps] == list(range(6))
    evaluations = 2 if name == "dpmpp_sde" else 1
    assert (base.calls, twin.calls) == (2 * evaluations, 4 * evaluations - (evaluations - 1))


def test_the_sdxl_refiner_is_told_its_own_numbers(run, sdxl_refiner):
    sample(refined(run, sdxl_refiner), ignored)
    told = sdxl_refiner.told[0][1]
    assert told["encoder_hidden_states"].shape == (2, 77, 32)
    assert told["added_cond_kwargs"]["time_ids"].tolist() == [[64, 96, 0, 0, 2.5], [64, 96, 0, 0, 6]]


def test_a_swap_through_the_vaes_begins_anew_under_more_noise(run, base, other):
    steps, sampled = steps_of(refined(run, other, "vae"))
    assert (base.calls, other.calls) == (2, 4)
    assert [step.index for step in steps] == list(range(6))
    own = own_sigmas(model_sampling("eps", "karras"), "karras", "euler", 6)
    assert [step.sigma for step in steps] == pytest.approx([*own[:2].tolist(), *(1.4 * own[2:-1]).tolist()])
    assert sampled.whose == "base"


def test_the_noise_after_a_swap_has_the_mean_the_base_last_saw(run, other):
    steps, _ = steps_of(refined(run, other, "vae"))
    last, first = steps[1], steps[2]
    seen = ((last.x - last.denoised) / last.sigma).mean(dim=1)
    # The base ends in its last step's denoised (Euler's step to 0).
    noise = (first.x - last.denoised) / first.sigma
    assert torch.allclose(noise.mean(dim=1), seen, atol=1e-3)
    drawn_again = starting_noise(12346, SHAPE)
    assert torch.allclose(noise - noise.mean(dim=1), drawn_again - drawn_again.mean(dim=1), atol=1e-3)


def test_a_swap_at_the_end_leaves_the_refiner_nothing(run, base, other):
    steps, sampled = steps_of(refined(run, other, "vae", switch=6))
    assert (base.calls, other.calls, len(steps)) == (6, 0, 6)
    assert torch.equal(sampled.latent, sample(run, ignored).latent)


def test_an_sd15_refiner_takes_over_through_the_interposer(run, base, sd15):
    given = []

    def interposer(latent):
        given.append(latent)
        return latent * 0.7

    steps, sampled = steps_of(refined(run, sd15, interposer=interposer))
    assert (base.calls, sd15.calls) == (2, 4)
    assert [step.whose for step in steps] == ["base"] * 2 + ["refiner"] * 4
    assert sampled.whose == "refiner"
    first = steps[2]
    begun = (first.x - first.x.mean(dim=1)) - (given[0] * 0.7 * 0.18215 - (given[0] * 0.7 * 0.18215).mean(dim=1))
    noise = starting_noise(12346, SHAPE)
    assert torch.allclose(begun / first.sigma, noise - noise.mean(dim=1), atol=1e-3)
    assert torch.allclose(sampled.latent, SD15.to_vae(steps[-1].denoised), atol=1e-3)


def test_an_sd15_refiner_without_its_parts_is_an_error_before_anything_is_sampled(run, base, sd15):
    with pytest.raises(ValueError, match="interposer"):
        sample(refined(run, sd15), ignored)
    with pytest.raises(ValueError, match="final norm"):
        bare = replace(sd15.model, final_norm_l=None)
        sample(replace(refined(run, sd15, interposer=lambda latent: latent), refiner=bare), ignored)
    assert base.calls == 0


@pytest.mark.parametrize(("denoise", "whose", "calls"), [(0.8, "base", (6, 0)), (0.3, "refiner", (0, 6))])
def test_a_partial_run_with_an_sd15_refiner_is_all_on_one_model(run, base, sd15, denoise, whose, calls):
    steps, sampled = steps_of(refined(run, sd15, denoise=denoise, latent=drawn(*SHAPE), switch=3))
    assert (base.calls, sd15.calls) == calls
    assert sampled.whose == whose
    assert {step.whose for step in steps} == {whose}


def half_mask():
    """A mask whose right half is repainted."""
    mask = torch.zeros(1, 1, 8, 12)
    mask[..., 6:] = 1
    return mask


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m_sde", "euler_ancestral", "lcm"])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_the_pinned_part_is_what_it_was_at_the_end(run, name, denoise):
    latent = drawn(*SHAPE, seed=4) * 5
    sampled = sample(
        replace(run, sampler=name, latent=latent, denoise=denoise, blend=Blend(latent, half_mask())), ignored
    )
    assert torch.allclose(sampled.latent[..., :6], latent[..., :6], atol=2e-2)
    assert not torch.allclose(sampled.latent[..., 6:], latent[..., 6:], atol=0.5)


def test_uni_pc_is_pinned_too(run):
    latent = drawn(*SHAPE, seed=4) * 5
    sampled = sample(replace(run, sampler="uni_pc", steps=12, blend=Blend(latent, half_mask())), ignored)
    assert torch.allclose(sampled.latent[..., :6], latent[..., :6], atol=0.05)


def test_the_pinned_latent_changes_with_the_vae(run, sd15):
    latent, swapped = drawn(*SHAPE, seed=4) * 5, drawn(*SHAPE, seed=5) * 5
    blend = Blend(latent, half_mask(), swapped)
    sampled = sample(refined(run, sd15, interposer=lambda latent: latent, blend=blend), ignored)
    assert torch.allclose(sampled.latent[..., :6], swapped[..., :6], atol=2e-2)


class Noted:
    """An attachment that notes when it is on."""

    def __init__(self):
        self.on, self.states = False, []

    @contextmanager
    def attached(self, unet):
        """On for the length of the block."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def state(self, evaluation):
        """Notes whether it is on."""
        self.states.append(self.on)

    def residuals(self, evaluation):
        """Nothing is added."""


@pytest.mark.parametrize(("method", "evaluations"), [("joint", 3), ("separate", 2), ("vae", 2)])
def test_attachments_are_the_bases_alone(run, other, method, evaluations):
    noted = Noted()
    on_at_steps = []
    sample(refined(run, other, method, attachments=[noted]), lambda step: on_at_steps.append(noted.on))
    assert noted.states == [True] * evaluations
    assert on_at_steps == [True] * evaluations + [False] * (6 - evaluations)


def test_the_base_can_refine_itself_without_its_attachments(run, base):
    noted = Noted()
    sample(refined(run, base, attachments=[noted]), ignored)
    assert noted.states == [True] * 3
    assert base.calls == 6


def test_a_stopped_run_takes_its_attachments_off(run):
    noted = Noted()

    def stop(step):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sample(replace(run, attachments=[noted]), stop)
    assert not noted.on


def test_freeu_counts_in_a_run_and_leaves_the_unet_as_it_was(run):
    plain = sample(run, ignored).latent
    assert not torch.allclose(
        sample(replace(run, attachments=[FreeU(1.2, 1.3, 0.9, 0.8)]), ignored).latent, plain, atol=1e-2
    )
    assert torch.equal(sample(run, ignored).latent, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde_gpu"])
def test_a_run_from_graphs_is_the_eager_one_and_waits_for_nothing(toy, run, name):
    unet = load_checkpoint(toy, torch.device("cuda"), Kernels()).unet
    given = replace(run, base=Model(unet), sampler=name, attachments=[FreeU(1.2, 1.3, 0.9, 0.8)])
    graphs = Graphs()
    eager, first, second = (sample(given, ignored, kept) for kept in (None, graphs, graphs))
    assert len(graphs) > 0
    assert torch.equal(eager.latent, first.latent) and torch.equal(eager.latent, second.latent)

    def watch(step):
        torch.cuda.set_sync_debug_mode("error" if step.index < 5 else "default")

    try:
        sample(given, watch, graphs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
