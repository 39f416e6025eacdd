"""The guided denoiser over the toy UNet: sides, sizes, guidance."""

from dataclasses import replace

import pytest
import torch

from engine.models.checkpoint import load_checkpoint
from engine.models.text_encoders import Conditioning
from engine.sampling.denoiser import MOST_REPEATS, Denoiser, Guidance, equally_long_soon, size_numbers, stacked
from engine.sampling.model_sampling import model_sampling

PLAIN = Guidance(4.0, 7.0, 0.0, 1.5, 0.8, 0.3)
EARLY, LATE = torch.tensor(10.0), torch.tensor(0.5)


@pytest.fixture(scope="module")
def checkpoint(toy):
    """The toy checkpoint."""
    return load_checkpoint(toy, torch.device("cpu"))


@pytest.fixture
def x():
    """A noisy latent of a 128×96 picture."""
    return torch.randn(1, 4, 12, 16, generator=torch.Generator().manual_seed(3)) * 5


@pytest.fixture(scope="module")
def make(checkpoint):
    """Makes denoisers of two texts."""
    positive = checkpoint.text_encoders.encode(["a red cat"], 1, 2)
    negative = checkpoint.text_encoders.encode(["ugly", "blurred", "dark"], 3, 2)

    def denoiser(guidance=PLAIN, positive=positive, negative=negative):
        return Denoiser(checkpoint.unet, model_sampling("eps", "karras"), guidance, positive, negative, (128, 96))

    return denoiser


def test_size_numbers_are_those_of_the_default_picture():
    assert size_numbers(1152, 896, 1.5) == ([1344, 1728, 0, 0, 896, 1152], [896, 1152, 0, 0, 896, 1152])
    assert size_numbers(1152, 896, 0.8)[0] == [716, 921, 0, 0, 896, 1152]
    assert [size_numbers(side, 64, 1)[1][1] for side in (1184, 1120, 672, 1056)] == [1152, 1152, 640, 1024]


def test_guidance_leads_from_the_negative_past_the_positive(make, x):
    both = make()
    positive = make(replace(PLAIN, guidance_scale=1.0))(x, LATE)
    _, negative_texts = conditionings(both)
    negative_side = make(replace(PLAIN, guidance_scale=1.0), positive=negative_texts)(x, LATE)
    expected = negative_side + 4 * (positive - negative_side)
    assert torch.allclose(both(x, LATE), expected, atol=1e-4)


def conditionings(denoiser):
    """The two sides of a denoiser as they were given, positive first."""
    negative, positive = denoiser.batches
    return [Conditioning(side.context, side.pooled) for side in (positive, negative)]


def test_without_guidance_the_negative_side_is_not_needed(make, x):
    alone = make(replace(PLAIN, guidance_scale=1.0), negative=None)
    assert len(alone.batches) == 1
    assert alone(x, LATE).shape == x.shape
    with pytest.raises(ValueError, match="negative"):
        make(negative=None)


def test_size_emphasis_holds_in_the_first_part_only(make, x):
    strong = replace(PLAIN, adm_scaler_positive=3.0)
    assert not torch.equal(make(strong)(x, EARLY), make()(x, EARLY))
    assert torch.equal(make(strong)(x, LATE), make()(x, LATE))


def test_sharpness_changes_late_steps_more_than_early_ones(make, x):
    sharp = replace(PLAIN, sharpness=30.0)
    changes = [(make(sharp)(x, sigma) - make()(x, sigma)).norm() / sigma for sigma in (EARLY, LATE)]
    assert changes[1] > changes[0] > 0


def test_progress_is_computed_in_the_networks_number_format(make):
    denoiser = make()
    denoiser.dtype = torch.float16
    assert [round(denoiser.progress(torch.tensor(t)), 6) for t in (999, 975, 949, 0)] == [0, 0.023926, 0.050293, 1]


def test_one_batch_of_repeated_contexts_gives_the_same_as_two(make, x):
    separate = make()
    together = make()
    together.batches = [stacked(separate.batches)]
    assert together.batches[0].context.shape[:2] == (2, 231)
    assert torch.allclose(together(x, LATE), separate(x, LATE), atol=1e-4)


def test_contexts_that_need_many_repeats_stay_apart(make):
    [negative, positive] = make().batches
    assert equally_long_soon([negative, positive], MOST_REPEATS)
    five = replace(negative, context=negative.context.repeat(1, 2, 1)[:, : 5 * 77])
    assert not equally_long_soon([five, replace(positive, context=positive.context.repeat(1, 2, 1))], MOST_REPEATS)
