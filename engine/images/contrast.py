"""Grey values stretched between two of their percentiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stretched(values: NDArray[np.floating], share: float) -> NDArray[np.uint8]:
    """The values from their lowest to their highest percentile (`share` percent from both ends) as 0 to 255, cut off.

    Where these are the same there is nothing to see: zeros.
    """
    low, high = np.percentile(values, share), np.percentile(values, 100 - share)
    if high == low:
        return np.zeros(values.shape, np.uint8)
    return ((values - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
