"""A process that holds a GPU's memory but for so many GiB, so that a large card draws as a small one would.

`python -m benchmarks.ballast 8` is that process, until its standard input ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.memory_plan import GIB


@contextmanager
def ballast(gib: float | None) -> Iterator[None]:
    """A second process holds all of the GPU's memory but so many GiB; None: there is no such process."""
    if gib is None:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.ballast", str(gib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        print(process.stdout.readline().strip(), flush=True)
        try:
            yield
        finally:
            process.stdin.close()


def hold(gib: float) -> None:
    """Be that second process, until standard input ends."""
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - int(gib * GIB)), dtype=torch.uint8, device="cuda")
    print(f"ballast of {held.nbytes / GIB:.1f} GiB, {torch.cuda.mem_get_info()[0] / GIB:.2f} GiB are free", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    hold(float(sys.argv[1]))
