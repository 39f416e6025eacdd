"""What a Vary or Upscale method comes to."""

import numpy as np
import pytest

from engine.images.variation import (
    upscale_factor,
    upscale_strength,
    upscaled,
    varied,
    vary_strength,
)


@pytest.mark.parametrize(
    ("method", "multiple", "factor"),
    [
        ("Upscale (1.5x)", 3, 1.5),
        ("Upscale (2x)", 3, 2.0),
        ("upscale (fast 2x)", 3, 2.0),
        ("Upscale (Custom)", 3.2, 3.2),
        ("Upscale (1.2x)", 1, 1.2),
        ("Upscale (1.25x)", 1, 1.25),
        ("Upscale (3.0x)", 1, 3.0),
        ("Upscale (3.2x)", 1, 3.2),
        ("Upscale (9x)", 1, 5.0),
        ("Upscale (Custom)", 0.5, 1.0),
    ],
)
def test_the_factor_is_the_methods_number(method, multiple, factor):
    assert upscale_factor(method, multiple) == factor


def test_strengths_and_what_overwrites_them():
    assert (vary_strength("Vary (Subtle)"), vary_strength("vary (strong)")) == (0.5, 0.85)
    assert vary_strength("Vary (Strong)", 0.3) == 0.3
    assert (upscale_strength(), upscale_strength(0.6)) == (0.382, 0.6)
    with pytest.raises(ValueError, match="neither"):
        vary_strength("Upscale (2x)")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (1152, 832)),
        ((1000, 1000), (1000, 1000)),
        ((1080, 1920), (1080, 1920)),
        ((2400, 2400), (2048, 2048)),
    ],
)
def test_vary_draws_between_1024_and_2048(size, expected):
    assert varied(np.zeros((*size, 3), np.uint8)).shape == (*expected, 3)


def doubled(image):
    return np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)


@pytest.mark.parametrize(
    ("size", "method", "expected", "finished"),
    [
        ((301, 401), "Upscale (2x)", (896, 1152), False),  # smaller than 1024² even so
        ((701, 901), "Upscale (1.5x)", (1051, 1351), False),
        ((701, 901), "Upscale (Fast 2x)", (1402, 1802), True),
        ((1376, 1376), "Upscale (2x)", (2752, 2752), False),
        ((1401, 1401), "Upscale (2x)", (2802, 2802), True),  # its square's side is 2816
    ],
)
def test_sizes_and_what_is_too_large_to_be_drawn_over(size, method, expected, finished):
    larger = upscaled(np.zeros((*size, 3), np.uint8), method, 1.0, doubled)
    assert (larger.image.shape, larger.finished) == ((*expected, 3), finished)
