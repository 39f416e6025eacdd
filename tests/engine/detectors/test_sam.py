"""What stands in a box: against figures of the authors' own program with the same weights."""

import numpy as np
import pytest
import torch

from engine.detectors.sam import Sam, full_size, pixel_values, scaled_to, without_holes
from engine.errors import CheckpointError
from tests.engine.detectors.mask_files import write_sam

CPU = torch.device("cpu")
BOXES = torch.tensor([[5.0, 6.0, 40.0, 50.0], [20.0, 3.0, 80.0, 58.0]])


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return Sam.load(write_sam(tmp_path_factory.mktemp("sam") / "sam.pth"), CPU)


def noise():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_the_authors_program_says_the_same(sam):
    scaled = scaled_to(noise(), sam.side)
    assert (sam.side, scaled.shape) == (128, (85, 128, 3))
    boxes = BOXES * torch.tensor([128 / 90, 85 / 60] * 2)
    with torch.inference_mode():
        inputs = {"pixel_values": pixel_values(scaled, sam.side), "input_boxes": boxes[None]}
        found = sam.module(**inputs, multimask_output=False).pred_masks[0]
    wanted = [
        [-1.59840, -1.51885, -1.43170, -1.73486],
        [-1.58164, -1.35264, -1.48170, -1.41123],
        [-1.45620, -1.39668, -1.67249, -1.49338],
        [-1.27892, -1.68717, -1.52371, -1.28701],
    ]
    torch.testing.assert_close(found[0, 0, ::8, ::8], torch.tensor(wanted), rtol=1e-3, atol=1e-3)
    pixels = [int((mask > 0).sum()) for mask in full_size(found, scaled.shape[:2], (60, 90), sam.side)]
    np.testing.assert_allclose(pixels, [2617, 3039], atol=8)


def test_every_box_has_a_mask_of_the_pictures_size(sam):
    many = BOXES.repeat(6, 1)
    masks = list(sam.masks(noise(), many))
    assert len(masks) == 12 and {mask.shape for mask in masks} == {(60, 90)}
    assert {value for mask in masks for value in np.unique(mask)} <= {0, 255}
    for number, mask in enumerate(masks):
        assert (mask == masks[number % 2]).mean() > 0.999  # boxes are taken some at a time


def test_small_holes_are_filled_and_large_ones_stay():
    mask = np.full((100, 100), 255, np.uint8)
    mask[:30] = 0
    mask[50:60, 50:60] = 0
    mask[60:65, 60:65] = 0  # touches the other by a corner
    mask[70:95, 10:40] = 0
    filled = without_holes(mask)
    assert (filled[:30] == 0).all() and (filled[70:95, 10:40] == 0).all()
    assert (filled[50:65, 50:65] == 255).all()
    assert (without_holes(np.zeros((10, 10), np.uint8)) == 255).all()  # as Fooocus has it: one hole of 100 pixels


def test_another_file_is_refused_by_name(tmp_path):
    torch.save({"some": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth cannot be used as a SAM model"):
        Sam.load(tmp_path / "odd.pth", CPU)
