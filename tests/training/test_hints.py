"""The training's control images, held against the engine's."""

import numpy as np
import pytest
import torch

from engine.images.canny import pyra_canny
from engine.images.cpds import cpds
from training import hints


def drawing(height, width):
    """A picture with discs, bars, a gradient and grain, uint8."""
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    picture = np.stack([120 + 60 * x / width, 90 + 80 * y / height, np.full((height, width), 140.0)], 2)
    picture[(x - width * 0.4) ** 2 + (y - height * 0.5) ** 2 < (height * 0.3) ** 2] = (220, 40, 60)
    picture[(x - width * 0.7) ** 2 + (y - height * 0.3) ** 2 < (height * 0.15) ** 2] = (40, 200, 230)
    picture[int(height * 0.7) : int(height * 0.75), :] = (20, 30, 20)
    return (picture + generator.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def batch(*pictures):
    """The pictures as the training has them."""
    return torch.stack([torch.from_numpy(picture).permute(2, 0, 1).float() / 255 for picture in pictures])


@pytest.mark.parametrize(("height", "width"), [(128, 160), (99, 131)])
@pytest.mark.parametrize(("low", "high"), [(64, 128), (30, 220)])
def test_outlines_are_the_engines(height, width, low, high):
    picture = drawing(height, width)
    ours = hints.pyra_canny(batch(picture), torch.tensor([float(low)]), torch.tensor([float(high)]))[0].numpy()
    theirs = pyra_canny(picture, low, high)[:, :, 0]
    assert theirs.max() == 255 and (np.abs(ours.astype(int) - theirs) > 2).mean() < 0.005


def test_each_picture_has_its_own_thresholds():
    picture = drawing(96, 96)
    low, high = torch.tensor([64.0, 250.0]), torch.tensor([128.0, 255.0])
    both = hints.pyra_canny(batch(picture, picture), low, high)
    alone = hints.pyra_canny(batch(picture), low[:1], high[:1])
    assert torch.equal(both[0], alone[0]) and not torch.equal(both[0], both[1])


def test_a_blank_picture_has_no_outlines():
    blank = hints.pyra_canny(torch.full((1, 3, 64, 64), 0.5), torch.tensor([64.0]), torch.tensor([128.0]))
    assert not blank.any()


def test_structure_pictures_are_like_those_of_cpds():
    picture = drawing(128, 160)
    theirs = cpds(picture)[:, :, 0].astype(float).ravel()
    weights = hints.some_weights(64, torch.device("cpu"), torch.Generator().manual_seed(1))
    made = hints.structure(batch(picture).expand(64, -1, -1, -1), weights).flatten(1).numpy().astype(float)
    assert max(np.corrcoef(one, theirs)[0, 1] for one in made) > 0.9
