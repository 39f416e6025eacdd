"""Faces: the network against its formulas, places and sizes by hand, a straightened picture."""

import numpy as np
import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, interpolate, leaky_relu, max_pool2d, relu, softmax

from engine.detectors.faces import OUTSIDE, TEMPLATE, FaceDetector, aligned, anchors, box_at, landmarks_at
from engine.errors import CheckpointError

CPU = torch.device("cpu")
WIDTH = 8
BODY = ((8, 4, 12, 2), (12, 5, 16, 1), (16, 6, 20, 2), (20, 7, 24, 1))
"""Of each level: channels in, inside and out, and how many blocks."""


def conv_shapes():
    """The names and shapes of the convolutions that a norm follows, with the norm's name."""
    yield "body.conv1", "body.bn1", (8, 3, 7, 7)
    for level, (given, inner, made, count) in enumerate(BODY, 1):
        for n in range(count):
            block = f"body.layer{level}.{n}"
            yield f"{block}.conv1", f"{block}.bn1", (inner, made if n else given, 1, 1)
            yield f"{block}.conv2", f"{block}.bn2", (inner, inner, 3, 3)
            yield f"{block}.conv3", f"{block}.bn3", (made, inner, 1, 1)
        yield f"body.layer{level}.0.downsample.0", f"body.layer{level}.0.downsample.1", (made, given, 1, 1)
    for n, (_, _, made, _) in enumerate(BODY[1:], 1):
        yield f"fpn.output{n}.0", f"fpn.output{n}.1", (WIDTH, made, 1, 1)
    for n in (1, 2):
        yield f"fpn.merge{n}.0", f"fpn.merge{n}.1", (WIDTH, WIDTH, 3, 3)
    for n in (1, 2, 3):
        yield f"ssh{n}.conv3X3.0", f"ssh{n}.conv3X3.1", (WIDTH // 2, WIDTH, 3, 3)
        yield f"ssh{n}.conv5X5_1.0", f"ssh{n}.conv5X5_1.1", (WIDTH // 4, WIDTH, 3, 3)
        for name in ("conv5X5_2", "conv7X7_2", "conv7x7_3"):
            yield f"ssh{n}.{name}.0", f"ssh{n}.{name}.1", (WIDTH // 4, WIDTH // 4, 3, 3)


def detector_tensors(seed=0, class_scale=1.0):
    """Random weights of a small detector, under the names of the file."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    tensors = {}
    for conv, norm, shape in conv_shapes():
        tensors[f"{conv}.weight"] = drawn(*shape) / np.prod(shape[1:]) ** 0.5
        tensors[f"{norm}.weight"], tensors[f"{norm}.bias"] = 1 + 0.2 * drawn(shape[0]), 0.2 * drawn(shape[0])
        tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"] = (
            0.2 * drawn(shape[0]),
            drawn(shape[0]) ** 2 + 0.5,
        )
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    for head, made in (("ClassHead", 4), ("BboxHead", 8), ("LandmarkHead", 20)):
        for n in range(3):
            scale = class_scale if head == "ClassHead" else 1.0
            tensors[f"{head}.{n}.conv1x1.weight"] = drawn(made, WIDTH, 1, 1) * 0.3 * scale
            tensors[f"{head}.{n}.conv1x1.bias"] = drawn(made) * 0.1
    return tensors


@torch.inference_mode()
def written_out(tensors, picture):
    """Probabilities, boxes' and landmarks' numbers of the network in formulas."""

    def conv_norm(conv, norm, x, stride=1):
        weight = tensors[f"{conv}.weight"]
        x = conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        stats = (tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(x, *stats)

    def normed(name, x):
        return conv_norm(f"{name}.0", f"{name}.1", x)

    x = torch.from_numpy(picture[:, :, ::-1].copy()).float() - torch.tensor([104.0, 117.0, 123.0])
    x = relu(conv_norm("body.conv1", "body.bn1", x.permute(2, 0, 1)[None], 2))
    x, levels = max_pool2d(x, 3, 2, 1), []
    for level, (_, _, _, count) in enumerate(BODY, 1):
        for n in range(count):
            block, stride = f"body.layer{level}.{n}", 2 if level > 1 and n == 0 else 1
            y = relu(conv_norm(f"{block}.conv1", f"{block}.bn1", x))
            y = relu(conv_norm(f"{block}.conv2", f"{block}.bn2", y, stride))
            y = conv_norm(f"{block}.conv3", f"{block}.bn3", y)
            x = relu(y + (x if n else conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", x, stride)))
        levels.append(x)
    large, middle, small = (leaky_relu(normed(f"fpn.output{n}", levels[n]), 0.1) for n in (1, 2, 3))
    middle = leaky_relu(normed("fpn.merge2", middle + interpolate(small, size=middle.shape[2:])), 0.1)
    large = leaky_relu(normed("fpn.merge1", large + interpolate(middle, size=large.shape[2:])), 0.1)
    found = {"ClassHead": [], "BboxHead": [], "LandmarkHead": []}
    for n, level in enumerate((large, middle, small)):
        ssh = f"ssh{n + 1}"
        five = leaky_relu(normed(f"{ssh}.conv5X5_1", level), 0.1)
        seven = normed(f"{ssh}.conv7x7_3", leaky_relu(normed(f"{ssh}.conv7X7_2", five), 0.1))
        seen = relu(torch.cat([normed(f"{ssh}.conv3X3", level), normed(f"{ssh}.conv5X5_2", five), seven], 1))
        for head, parts in found.items():
            name = f"{head}.{n}.conv1x1"
            made = conv2d(seen, tensors[f"{name}.weight"], tensors[f"{name}.bias"])[0].permute(1, 2, 0)
            parts.append(made.reshape(-1, made.shape[-1] // 2))
    scores, boxes, landmarks = (torch.cat(parts) for parts in found.values())
    return softmax(scores, -1), boxes, landmarks


def picture(height=70, width=100):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def loaded(tensors, path):
    torch.save(tensors, path)
    return FaceDetector.load(path, CPU)


def test_the_network_is_its_formulas(tmp_path):
    tensors = detector_tensors()
    detector = loaded({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "faces.pth")
    image = picture()
    pixels = torch.from_numpy(image[:, :, ::-1].copy()).float() - torch.tensor([104.0, 117.0, 123.0])
    with torch.inference_mode():
        made = detector.network(pixels.permute(2, 0, 1)[None])
    for ours, expected in zip(made, written_out(tensors, image), strict=True):
        assert torch.allclose(ours[0], expected, atol=1e-4)
    assert made[0].shape[1] == len(anchors(*image.shape[:2]))
    assert detector.size == sum(t.nbytes for name, t in tensors.items() if "running" not in name and "num" not in name)


def test_the_face_is_the_anchor_with_the_highest_score(tmp_path):
    tensors, image = detector_tensors(class_scale=8), picture()
    scores, boxes, landmarks = (part.double().numpy() for part in written_out(tensors, image))
    best = scores[:, 1].argmax()
    assert scores[best, 1] > 0.97
    face = loaded(tensors, tmp_path / "faces.pth").best(image)
    anchor = anchors(70, 100)[best]
    assert face.score == pytest.approx(scores[best, 1], abs=1e-4)
    assert np.allclose(face.box, box_at(anchor, boxes[best]), atol=0.01)
    assert np.allclose(face.landmarks, landmarks_at(anchor, landmarks[best]), atol=0.01)


def test_without_a_sure_face_the_picture_stays(tmp_path):
    detector, image = loaded(detector_tensors(class_scale=0), tmp_path / "faces.pth"), picture()
    assert detector.best(image) is None
    assert detector.straightened(image) is image


def test_a_found_face_is_straightened(tmp_path):
    detector = loaded(detector_tensors(class_scale=8), tmp_path / "faces.pth")
    image = picture()
    made = detector.straightened(image)
    assert made.shape == (512, 512, 3)
    assert (made == aligned(image, detector.best(image).landmarks)).all()


def test_files_without_counters_are_read(tmp_path):
    tensors = {name: tensor for name, tensor in detector_tensors().items() if "num_batches" not in name}
    assert loaded(tensors, tmp_path / "faces.pth").size > 0


@pytest.mark.parametrize("missing", ["body.conv1.weight", "body.layer4.0.conv3.weight", "BboxHead.2.conv1x1.bias"])
def test_other_files_are_refused(tmp_path, missing):
    tensors = {name: tensor for name, tensor in detector_tensors().items() if name != missing}
    with pytest.raises(CheckpointError, match=r"faces\.pth cannot be used as a face detector"):
        loaded(tensors, tmp_path / "faces.pth")


def test_anchors_stand_in_the_middle_of_their_places():
    made = anchors(33, 20)
    assert len(made) == 2 * (5 * 3 + 3 * 2 + 2 * 1)
    assert made[:4].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16], [12, 4, 32, 32]]
    assert made[30].tolist() == [8, 8, 64, 64]
    assert made[-1].tolist() == [16, 48, 512, 512]


def test_a_box_and_landmarks_by_hand():
    anchor = np.array([100.0, 60.0, 20.0, 40.0])
    box = box_at(anchor, np.array([1.0, -0.5, 0.0, 5 * np.log(2)]))
    assert np.allclose(box, [92, 18, 112, 98])  # middle (102, 58), sides 20 and 80
    numbers = np.array([0, 0, 1, 0, 0, 1, -1, -1, 5, 5], np.float64)
    assert np.allclose(landmarks_at(anchor, numbers), [[100, 60], [102, 60], [100, 64], [98, 56], [110, 80]])


def test_landmarks_come_to_their_usual_places():
    angle, scale, shift = np.deg2rad(20), 0.6, np.array([150.0, 40.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = TEMPLATE @ turn.T + shift
    image = np.zeros((500, 500, 3), np.uint8)
    for number, (x, y) in enumerate(landmarks.round().astype(int)):
        image[y - 3 : y + 4, x - 3 : x + 4] = (50 * (number + 1), 0, 255)
    made = aligned(image, landmarks)
    for number, (x, y) in enumerate(TEMPLATE.round().astype(int)):
        assert made[y, x].tolist() == [50 * (number + 1), 0, 255]


def test_what_is_outside_the_picture_has_its_colour():
    made = aligned(np.zeros((300, 300, 3), np.uint8), TEMPLATE)
    assert made[400, 400].tolist() == list(OUTSIDE)
    assert made[100, 100].tolist() == [0, 0, 0]


def test_landmarks_all_in_one_place_change_nothing():
    image = picture()
    assert aligned(image, np.ones((5, 2))) is image
