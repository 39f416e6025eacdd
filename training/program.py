"""What every training program begins with: its log, on the screen and in files, and processes that plan pictures."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path


def logged(*files: Path, mode: str = "a") -> None:
    """Log to the screen and to these files, whose folders are made; the mode is `open`'s."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, mode))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)


@contextmanager
def planners(count: int | None = None) -> Iterator[Pool]:
    """Processes that plan, ended with the block; as many as there are cores, but for the one that trains."""
    pool = get_context("fork").Pool(count or max(1, (os.cpu_count() or 2) - 1))
    try:
        yield pool
    finally:
        pool.terminate()
