"""Synthetic pictures; the reference values in the tests of this folder were computed for them."""

import numpy as np


def pattern():
    """`A`: three ramps that wrap around."""
    y, x, c = np.indices((256, 256, 3))
    return ((3 * x + 5 * y + 40 * c) % 256).astype(np.uint8)


def bar():
    """`B`: an orange bar on black."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[64:192, 96:160] = (200, 120, 40)
    return image


def block():
    """`Mk`: a mask of one rectangle."""
    mask = np.zeros((256, 256), np.uint8)
    mask[96:160, 80:176] = 255
    return mask
