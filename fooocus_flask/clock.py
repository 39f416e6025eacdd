"""What time it is, as records tell it."""

from __future__ import annotations

import time


def mills() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
