"""What a picture's entry in the day's log costs: `python -m benchmarks.day_log [--pictures 5000]`."""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from engine.images.log_page import NAME, add_entry
from engine.images.metadata import Row

ROWS = [Row(f"Label {number}", f"key_{number}", "a value of the usual length") for number in range(24)]
"""As many as a picture has."""
PROMPT = ["a cat on a roof, golden hour, mist, highly detailed, cinematic, " * 4]
PARTS = 5
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of what the system counts memory in."""


def main() -> None:
    """Add the entries, and print a line for each part of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / NAME
        for first in range(0, count, count // PARTS):
            numbers = range(first, first + count // PARTS)
            times = [timed(log, Path(folder) / f"{number:06}.png") for number in numbers]
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 2**20
            print(
                f"pictures {first + 1:5} to {numbers[-1] + 1:5}: p50 {statistics.median(times):6.2f} ms, "
                f"p99 {sorted(times)[len(times) * 99 // 100]:6.2f} ms; page {log.stat().st_size / 1e6:5.1f} MB; "
                f"memory at most {most:.1f} MiB"
            )


def timed(log: Path, picture: Path) -> float:
    """Milliseconds of one entry."""
    begun = perf_counter()
    add_entry(log, picture, ROWS, PROMPT, PROMPT)
    return (perf_counter() - begun) * 1e3


if __name__ == "__main__":
    main()
