"""Settings of the process that must be made before torch is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def tune_process(kernels: Path | None) -> None:
    """Settings of the libraries under torch, before it is imported; compiled GPU kernels are kept in that folder.

    Those of the C libraries make drawing on a processor faster.

    OpenMP's threads spin a moment and then sleep: always asleep they start late (a UNet call of 48 ms takes 87), always
    spinning they make each other ten times slower when another program runs.
    glibc keeps the memory of large tensors: given back and asked for again it costs a third of a decode.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if kernels is not None:
        os.environ.setdefault("TRITON_CACHE_DIR", str(kernels))
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, 1 << 30)
            mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
