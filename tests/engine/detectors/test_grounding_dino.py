"""Boxes around what words name: against figures of the authors' own program with the same weights."""

import numpy as np
import pytest
import torch

from engine.detectors import grounding_dino
from engine.detectors.grounding_dino import GroundingDino, caption, corners, pixel_values, scaled_size
from engine.detectors.word_pieces import tokenizer
from engine.errors import CheckpointError
from tests.engine.detectors.mask_files import write_grounding_dino

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return GroundingDino.load(write_grounding_dino(tmp_path_factory.mktemp("dino") / "dino.pth"), CPU)


def noise(height=96, width=128):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_authors_program_says_the_same(detector):
    pixels = torch.from_numpy(noise()).permute(2, 0, 1)[None].float() / 128 - 1
    tokens = torch.tensor([tokenizer().encode("eye. red hair.").ids])
    with torch.inference_mode():
        found = detector.module(pixel_values=pixels, input_ids=tokens)
    logits = [
        [-6.90250, -6.56883, -6.83511, -6.97226, -6.92349, -6.90295, -6.73022],
        [-6.27496, -5.76369, -6.01410, -6.50377, -6.38273, -6.43260, -6.05693],
        [-0.79611, -0.41929, -0.89051, -1.12787, -1.11175, -1.16701, -0.56902],
    ]
    boxes = [
        [0.07725, 0.50913, 0.23982, 0.05530],
        [0.02294, 0.44909, 0.33221, 0.06920],
        [0.18234, 0.97906, 0.36247, 0.05593],
    ]
    torch.testing.assert_close(found.logits[0, :3, :7], torch.tensor(logits), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.pred_boxes[0, :3], torch.tensor(boxes), rtol=1e-3, atol=1e-4)


def test_boxes_are_in_pixels_and_the_surer_the_fewer(detector, monkeypatch):
    monkeypatch.setattr(grounding_dino, "SHORTER", 128)
    image = noise(90, 60)
    many, some, none = (detector.boxes(image, "Red hair", threshold) for threshold in (0.0, 0.4, 1.0))
    assert many.shape == (20, 4) and 0 < len(some) < 20 and none.shape == (0, 4)
    rows = {tuple(row) for row in many.tolist()}
    assert [tuple(row) in rows for row in some.tolist()] == [True] * len(some)
    assert (many[:, 0] <= many[:, 2]).all() and many[:, 2].max() > 1
    assert torch.equal(many, detector.boxes(image, "red hair. ", 0.0))


def test_red_and_blue_are_exchanged(detector, monkeypatch):
    monkeypatch.setattr(grounding_dino, "SHORTER", 128)
    seen = []
    monkeypatch.setattr(grounding_dino, "pixel_values", lambda image: seen.append(image) or pixel_values(image))
    image = noise(64, 64)
    detector.boxes(image, "eye", 0.5)
    assert (seen[0] == image[:, :, ::-1]).all()


@pytest.mark.parametrize(
    ("height", "width", "scaled"),
    [(600, 600, (800, 800)), (480, 640, (1066, 800)), (640, 480, (800, 1066)), (500, 2000, (1332, 333))],
)
def test_pictures_are_scaled_to_a_side(height, width, scaled):
    assert scaled_size(height, width) == scaled


def test_words_are_made_a_caption():
    assert [caption(words) for words in (" Eye", "a. B.", "")] == ["eye.", "a. b.", "."]


def test_boxes_have_corners():
    assert corners(torch.tensor([[10.0, 20.0, 4.0, 6.0]])).tolist() == [[8.0, 17.0, 12.0, 23.0]]


def test_another_file_is_refused_by_name(tmp_path):
    torch.save({"model": {"some": torch.zeros(1)}}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth cannot be used as Grounding DINO"):
        GroundingDino.load(tmp_path / "odd.pth", CPU)
