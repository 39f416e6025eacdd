"""The filter: its decision, its view of a picture, and what it leaves."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from engine.detectors.safety_checker import SafetyChecker, is_shown, pixel_values
from engine.errors import CheckpointError
from tests.engine.detectors.vision_towers import PROJECTED, vision_tensors

CPU = torch.device("cpu")


def checker_tensors(concepts, special, concept_thresholds, special_thresholds):
    """A filter's tensors around a small tower of random weights."""
    tower = {
        f"vision_model.{name}" if name.startswith("vision_model.") else name: tensor
        for name, tensor in vision_tensors().items()
    }
    return tower | {
        "vision_model.vision_model.embeddings.position_ids": torch.arange(17)[None],
        "concept_embeds": concepts,
        "concept_embeds_weights": torch.tensor(concept_thresholds),
        "special_care_embeds": special,
        "special_care_embeds_weights": torch.tensor(special_thresholds),
    }


def saved(tensors, path):
    torch.save(tensors, path)
    return path


def picture(seed=0, height=50, width=40):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@torch.inference_mode()
def seen(image):
    """The tower's view of a picture."""
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        projection_dim=PROJECTED,
        num_hidden_layers=3,
        num_attention_heads=1,
        image_size=28,
        patch_size=7,
        hidden_act="gelu",
    )
    module = CLIPVisionModelWithProjection(config).eval()
    module.load_state_dict(vision_tensors())
    return module(pixel_values=pixel_values(image, 28)).image_embeds


def checker(tmp_path, image, above, special_above=-1.0):
    """A filter whose one concept is nearer to the picture than its threshold by `above`, and so for special care.

    The cosine is 1, as the concept is what is seen.
    """
    view = seen(image)
    tensors = checker_tensors(view * 3, view * 2, [1 - above], [1 - special_above])
    return SafetyChecker.load(saved(tensors, tmp_path / "pytorch_model.bin"), CPU)


@pytest.mark.parametrize(
    ("above", "special_above", "safe"),
    [
        (0.001, -1, False),
        (0.0004, -1, True),  # rounds to nothing
        (-0.005, -1, True),
        (-0.005, 0.01, False),  # special care makes it stricter by 0.01
        (-0.005, 0.0004, True),
        (-0.012, 0.01, True),
    ],
)
def test_a_picture_that_shows_a_concept_is_not_safe(tmp_path, above, special_above, safe):
    image = picture()
    assert checker(tmp_path, image, above, special_above).is_safe(image) is safe


@pytest.mark.parametrize(("threshold", "safe"), [(1.005, False), (1.015, True)])
def test_much_special_care_is_no_stricter_than_some(tmp_path, threshold, safe):
    image = picture()
    view = seen(image)
    tensors = checker_tensors(view, torch.cat([view, view]), [threshold], [0.9, 0.9])
    assert SafetyChecker.load(saved(tensors, tmp_path / "c.bin"), CPU).is_safe(image) is safe


def test_any_of_the_special_concepts_leads_to_special_care(tmp_path):
    image = picture()
    view = seen(image)
    other = torch.roll(view, 1)  # far from what is seen
    for special, safe in ((torch.cat([view, other]), False), (torch.cat([other, view]), False), (other, True)):
        tensors = checker_tensors(view, special, [1.005], [0.9] * len(special))
        assert SafetyChecker.load(saved(tensors, tmp_path / "c.bin"), CPU).is_safe(image) is safe


def test_scores_are_rounded_to_thousandths():
    assert is_shown(0.2006, 0.2, 0)
    assert not is_shown(0.2004, 0.2, 0)
    assert is_shown(0.1906, 0.2, 0.01)


def test_pictures_that_are_not_safe_become_black(tmp_path):
    bad, good = picture(), np.full((30, 60, 3), 200, np.uint8)
    cosine = torch.nn.functional.cosine_similarity(seen(bad), seen(good)).item()
    made = checker(tmp_path, bad, (1 - cosine) / 2).censor([good, bad])
    assert made[0] is good
    assert (made[1].shape, made[1].dtype, made[1].any()) == (bad.shape, np.uint8, np.False_)


def test_the_middle_square_is_looked_at():
    image = picture(height=56, width=84)
    middle = image[:, 14:70]
    assert pixel_values(middle, 28).shape == (1, 3, 28, 28)
    assert torch.equal(pixel_values(image, 28)[..., 2:-2], pixel_values(middle, 28)[..., 2:-2])
    assert pixel_values(image.transpose(1, 0, 2), 28).shape == (1, 3, 28, 28)


@pytest.mark.parametrize("size", [(29, 1000), (333, 777), (28, 28), (5, 7)])
def test_pictures_of_any_size_are_seen(size):
    assert pixel_values(np.zeros((*size, 3), np.uint8), 28).shape == (1, 3, 28, 28)


def test_grey_is_normalised_as_clip_does():
    values = pixel_values(np.full((28, 28, 3), 128, np.uint8), 28)[0, :, 0, 0]
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    assert values.tolist() == pytest.approx(
        [(128 / 255 - m) / d for m, d in zip(mean, deviation, strict=True)], abs=1e-5
    )


@pytest.mark.parametrize("missing", ["concept_embeds", "special_care_embeds_weights", "visual_projection.weight"])
def test_other_files_are_refused(tmp_path, missing):
    view = torch.ones(1, PROJECTED)
    tensors = checker_tensors(view, view, [1.0], [1.0])
    del tensors[missing]
    with pytest.raises(CheckpointError, match=r"c\.bin cannot be used as a safety checker"):
        SafetyChecker.load(saved(tensors, tmp_path / "c.bin"), CPU)
