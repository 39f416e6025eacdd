"""Files of a folder in the order in which Fooocus lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.files.catalogue import named_in_text


def files_below(folder: Path, suffix: str) -> Iterator[Path]:
    """Every file with this suffix: sub-folders before their parent, within a folder sorted without case.

    Names that are not UTF-8 are left out, and so is a link to a folder that it lies in.
    """
    yield from _files_below(folder, suffix, ())


def _files_below(folder: Path, suffix: str, above: tuple[Path, ...]) -> Iterator[Path]:
    place = folder.resolve()
    if not folder.is_dir() or place in above:
        return
    entries = sorted(named_in_text(folder.iterdir()), key=lambda entry: entry.name.casefold())
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(entry, suffix, (*above, place))
    for entry in entries:
        if entry.is_file() and entry.suffix.casefold() == suffix:
            yield entry
