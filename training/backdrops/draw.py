"""Draw all backdrops into one file, which the training programs read.

python -m training.backdrops.draw --bundle training/made/bundle
"""

import argparse
import os
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from training.backdrops import places
from training.backdrops.canvas import HEIGHT, WIDTH
from training.compose import read_sprites

PROPS: dict[str, np.ndarray] = {}


def one(number: int) -> np.ndarray:
    """One backdrop, by a worker process."""
    cv2.setNumThreads(1)
    return places.drawn(number, PROPS)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"), help="where sprites.zip is")
    parser.add_argument("--out", type=Path, help=f"the file to write; {places.FILE} of the bundle if not given")
    options = parser.parse_args()
    PROPS.update(places.props_of(*read_sprites(options.bundle / "sprites.zip")))
    count = len(places.NAMES) * (places.VARIANTS + places.HELD)
    path = options.out or options.bundle / places.FILE
    found = np.lib.format.open_memmap(path, "w+", np.uint8, (count, HEIGHT, WIDTH, 3))
    with get_context("fork").Pool(os.cpu_count() or 2) as pool:
        for number, picture in enumerate(pool.imap(one, range(count), chunksize=4)):
            found[number] = picture
    print(f"{count} backdrops of {len(places.NAMES)} places, {path.stat().st_size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
