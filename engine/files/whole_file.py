"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a disk answers that cannot have another name of a file."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name, and is on the disk, once the block ends well.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    with _named_last(path) as unfinished, unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def link_whole(source: Path, path: Path) -> bool:
    """Give a file this name too, in place of whatever has it, and have it on the disk; whether its disk can have both.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    try:
        with _named_last(path) as unfinished:
            unfinished.unlink(missing_ok=True)
            os.link(source, unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


@contextmanager
def _named_last(path: Path) -> Iterator[Path]:
    """A name beside this one, of a file that gets this one once the block ends well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
