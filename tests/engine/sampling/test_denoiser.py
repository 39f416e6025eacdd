"""The guided denoiser over the toy UNet: sides, sizes, guidance."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from engine.models.checkpoint import load_checkpoint
from engine.sampling.attachments import Residuals
from engine.sampling.conditioning import Conditioning, equally_long_soon, stacked
from engine.sampling.denoiser import MOST_REPEATS, Denoiser, Guidance
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

    def denoiser(guidance=PLAIN, positive=positive, negative=negative, **more):
        sampling = model_sampling("eps", "karras")
        return Denoiser(checkpoint.unet, sampling, guidance, positive, negative, (128, 96), **more)

    return denoiser


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


class Control:
    """Adds a constant to every skip connection of the toy UNet, and notes what it is shown."""

    def __init__(self, amount):
        self.amount, self.seen = amount, []

    def attached(self, unet):
        """Nothing to put on."""
        return nullcontext()

    def state(self, evaluation):
        """Nothing changes."""
        self.seen.append(evaluation)
        return ()

    def residuals(self, evaluation):
        """`amount` everywhere."""
        shapes = [(32, 12, 16)] * 2 + [(32, 6, 8), (64, 6, 8)]
        rows = len(evaluation.x)
        skips = tuple(torch.full((rows, *shape), self.amount) for shape in shapes)
        return Residuals(skips, torch.full((rows, *shapes[-1]), self.amount))


def test_control_is_added_and_adds_up(make, x):
    plain, none = make()(x, LATE), make(attachments=[Control(0.0)])(x, LATE)
    assert torch.allclose(plain, none, atol=1e-4)
    once, twice = make(attachments=[Control(2.0)])(x, LATE), make(attachments=[Control(1.0), Control(1.0)])(x, LATE)
    assert torch.equal(once, twice)
    assert not torch.allclose(plain, once, atol=1e-3)


def test_attachments_see_the_evaluation_as_the_unet_does(make, x):
    control = Control(0.0)
    denoiser = make(attachments=[control])
    denoiser(x, EARLY), denoiser(x, LATE)
    early, late = control.seen
    assert early.positive == (False, True)
    assert early.context.shape[:2] == (2, 231) and early.x.shape == (2, 4, 12, 16)
    assert (float(early.t), early.sigma) == (float(denoiser.sampling.timestep(EARLY)), 10.0)
    assert late.progress == pytest.approx(1 - float(late.t) / 999)
    assert early.sizes.tolist() == [[76, 102, 0, 0, 128, 128], [144, 192, 0, 0, 128, 128]]
    assert late.sizes.tolist() == [[128, 128, 0, 0, 128, 128]] * 2


def test_nothing_can_be_attached_to_other_kinds_of_unet(make):
    with pytest.raises(ValueError, match="sd15"):
        make(attachments=[Control(1.0)], kind="sd15")


def test_the_noise_seen_is_that_of_the_last_evaluation(make, x):
    denoiser = make()
    with pytest.raises(RuntimeError):
        denoiser.noise_seen()
    denoiser(x, EARLY)
    assert torch.equal(denoiser.noise_seen(), (x - denoiser(x, EARLY)) / EARLY)
