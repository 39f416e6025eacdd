"""Files of a folder in the order in which Fooocus lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path, suffix: str) -> Iterator[Path]:
    """Every file with this suffix: sub-folders before their parent, within a folder sorted without case."""
    if not folder.is_dir():
        return
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name.casefold())
    for entry in entries:
        if entry.is_dir():
            yield from files_below(entry, suffix)
    for entry in entries:
        if entry.is_file() and entry.suffix.casefold() == suffix:
            yield entry
