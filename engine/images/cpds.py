"""CPDS: a picture's structure, as brightness that keeps the contrast between colours (Lu, Xu and Jia 2012)."""

from __future__ import annotations

import cv2
import numpy as np

from engine.images.codecs import Pixels
from engine.images.contrast import stretched
from engine.images.resize import rgb

BLUR = 0.8
PERCENT = 4


def cpds(image: Pixels) -> Pixels:
    """The picture's structure in grey, in its size.

    OpenCV's decolorisation takes its channels as BGR and is given RGB: the control net was made with that.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), BLUR)
    density, boosted = cv2.decolor(smooth)
    apart = np.square(smooth.astype(np.float32) - boosted.astype(np.float32)).sum(axis=2)
    return rgb(stretched(density.astype(np.float32) + np.sqrt(apart), PERCENT))
