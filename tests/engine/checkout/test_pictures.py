"""What a Fooocus is given as a picture's pixels."""

import numpy as np
import pytest
from PIL import Image

from engine.checkout.pictures import decoded
from tests.engine.images.test_reading import noise, saved


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pixels_are_the_files_as_rgb(mode):
    image = noise().convert(mode)
    assert np.array_equal(decoded(saved(image)), np.asarray(image.convert("RGB")))


def test_colours_under_transparency_stay():
    image = noise()
    image.putalpha(0)
    assert np.array_equal(decoded(saved(image)), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_turned_as_it_says(kind):
    turned = Image.Exif()
    turned[0x0112] = 6  # to the right
    upright = decoded(saved(noise(), kind))
    assert np.array_equal(decoded(saved(noise(), kind, exif=turned)), np.rot90(upright, -1))
