"""Memory that is freed: kept for the next request, for which as much would have to be had from the system anew."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc's malloc.h calls its settings."""
KEPT = 16 << 20
"""Bytes of freed memory that stay at the end of each of the process's heaps, of which a thread has one at most."""
LARGE = 8 << 20
"""Bytes from which on a piece of memory is the system's, and goes back to it when it is freed."""


def keep_freed() -> None:
    """Have the C library keep what is freed, where it is glibc: reading a picture of 2 MB in JSON takes half the time.

    By itself it gives back what is twice as much as the largest piece, which a body and its texts are each time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGE)
