"""Masks of subjects: what the networks see, and what becomes of what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from engine.detectors.segmentation import INPUT_FORMATS, Segmenter, network_input, stretched
from engine.errors import CheckpointError
from tests.engine.detectors import onnx_files

CPU = torch.device("cpu")
RED = np.array([[1.0, 0, 0]])


def picture():
    """Grey, with a red part on the left half."""
    image = np.full((40, 60, 3), 50, np.uint8)
    image[:, :30] = (200, 50, 50)
    return image


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *((name, 320) for name in ("u2net", "u2netp", "u2net_human_seg", "silueta")),
        ("u2net_cloth_seg", 768),
        *((name, 1024) for name in ("isnet-general-use", "isnet-anime")),
    ],
)
def test_each_network_sees_pictures_as_it_was_trained(name, side):
    white = np.full((10, 20, 3), 80, np.uint8)
    seen = network_input(white, INPUT_FORMATS[name])
    assert seen.shape == (1, 3, side, side) and seen.dtype == np.float32
    deviation = (1, 1, 1) if name.startswith("isnet") else (0.229, 0.224, 0.225)
    wanted = [(1 - mean) / by for mean, by in zip((0.485, 0.456, 0.406), deviation, strict=True)]
    np.testing.assert_allclose(seen[0, :, 5, 5], wanted, rtol=1e-6)  # the brightest value counts as white


def test_a_black_picture_is_seen_as_black():
    seen = network_input(np.zeros((8, 8, 3), np.uint8), INPUT_FORMATS["u2net"])
    np.testing.assert_allclose(seen[0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)


def test_a_subject_is_found_in_greys_of_the_pictures_size(tmp_path):
    path = onnx_files.segmenter(tmp_path / "u2netp.onnx", RED)
    mask = Segmenter.load(path, CPU).mask(picture())
    assert mask.shape == (40, 60) and mask.dtype == np.uint8
    assert mask[:, :28].min() > 220 and mask[:, 32:].max() < 30
    assert 30 < mask[20, 29] < 220 or 30 < mask[20, 30] < 220  # soft edges


def test_scores_are_stretched_and_cut_off():
    scores = np.array([[-1.0, 0.0, 1.0]], np.float32)
    assert stretched(scores).tolist() == [[0, 127, 255]]
    assert stretched(np.full((2, 2), 0.7, np.float32)).tolist() == [[0, 0], [0, 0]]


def test_clothes_are_found_by_their_kind(tmp_path):
    # Classes: nothing (grey), upper (red), lower (green), full (blue).
    path = onnx_files.segmenter(tmp_path / "u2net_cloth_seg.onnx", np.vstack([np.full((1, 3), 0.1), np.eye(3)]))
    image = np.zeros((30, 90, 3), np.uint8)
    for number in range(3):
        image[:, 30 * number : 30 * number + 30, number] = 255
    network = Segmenter.load(path, CPU)
    for number, kind in enumerate(("upper", "lower", "full")):
        mask = network.mask(image, kind)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask[:, 30 * number + 3 : 30 * number + 27] == 255).all()
        assert (mask[:, 30 * number + 33 :] == 0).all()


def test_the_same_picture_gives_the_same_mask(tmp_path):
    path = onnx_files.segmenter(tmp_path / "silueta.onnx", np.array([[0.3, -0.2, 0.5]]))
    noise = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    first, second = (Segmenter.load(path, CPU).mask(noise) for _ in range(2))
    assert (first == second).all() and first.max() > 200 and first.min() < 50
    assert (np.asarray(Image.fromarray(first)) == first).all()


@pytest.mark.parametrize(("content", "says"), [(None, "there is no such file"), (b"nothing", "not a readable ONNX")])
def test_a_file_that_is_no_network_is_named(tmp_path, content, says):
    path = tmp_path / "u2net.onnx"
    if content:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"u2net\.onnx: {says}"):
        Segmenter.load(path, CPU)


def test_a_network_of_another_kind_is_told(tmp_path):
    path = onnx_files.tagger(tmp_path / "u2net.onnx", np.ones((3, 2)))
    with pytest.raises(CheckpointError, match="takes no input of"):
        Segmenter.load(path, CPU).mask(picture())
