"""Which file, in which state: what tells that a model file is still the one that was read."""

from __future__ import annotations

from pathlib import Path

Identity = tuple[str, int, int]
"""Path, size and time of the last change."""


def identity(path: Path) -> Identity:
    """The file's identity now; a missing one is for its reader to tell."""
    if not path.is_file():
        return str(path), 0, 0
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
