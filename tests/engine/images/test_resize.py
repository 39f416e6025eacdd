"""Conversions and sizes, against the reference values."""

import numpy as np
import pytest

from engine.images.resize import cover, fitted_size, resample, rgb, shape_ceil, with_shape_ceil
from tests.engine.images.samples import pattern


@pytest.mark.parametrize(("alpha", "value"), [(0, 255), (128, 177), (200, 133), (255, 100)])
def test_transparency_is_laid_on_white(alpha, value):
    assert rgb(np.array([[[100, 100, 100, alpha]]], np.uint8)).tolist() == [[[value] * 3]]


def test_grey_becomes_three_channels_and_rgb_stays():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert rgb(grey).tolist() == rgb(grey[:, :, None]).tolist() == [[[v] * 3 for v in row] for row in grey.tolist()]
    assert rgb(pattern()).tolist() == pattern().tolist()


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), np.zeros(4, np.uint8)]
)
def test_other_shapes_and_types_are_refused(image):
    with pytest.raises(ValueError, match="a picture"):
        rgb(image)


@pytest.mark.parametrize(
    ("size", "side"),
    [((1000, 1000), 1024), ((768, 512), 640), ((1080, 1920), 1472), ((2160, 3840), 2880), ((64, 1000), 256)],
)
def test_the_side_of_a_square_as_large(size, side):
    assert shape_ceil(*size) == side


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((768, 512), (1216, 832)),
        ((1080, 1920), (768, 1344)),
        ((300, 400), (832, 1152)),
        ((640, 480), (1152, 832)),
        ((1500, 700), (1472, 704)),
        ((3000, 200), (3712, 256)),
        ((64, 1000), (256, 3968)),
        ((1000, 1000), (1000, 1000)),
        ((4, 4000), (64, 15680)),
    ],
)
def test_sizes_fitted_to_1024(size, fitted):
    assert fitted_size(*size, 1024) == fitted


def test_a_picture_fitted_to_1024():
    image = with_shape_ceil(pattern(), 1024)
    assert (image.shape, int(image.sum())) == ((1024, 1024, 3), 401_080_178)


def test_a_picture_stretched():
    assert int(resample(pattern(), 224.9, 224).sum()) == 19_210_692


def test_a_picture_that_covers_a_frame():
    image = cover(pattern(), 320, 192)
    assert (image.shape, int(image.sum())) == ((192, 320, 3), 23_534_481)
    assert image[96, 160].tolist() == [35, 40, 80]


def test_covering_a_tall_frame_keeps_the_middle():
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 255
    assert (cover(wide, 10, 10) > 200).mean() > 0.9
