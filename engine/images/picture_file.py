"""A finished picture's file: its bytes, where it goes, and its line on the day's log page. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.images import codecs, log_page
from engine.images.metadata import Row


@dataclass(frozen=True)
class LogEntry:
    """How a picture was drawn, for the day's log page; `positive` and `negative` are the texts encoded for it."""

    rows: Sequence[Row]
    positive: Sequence[str] = ()
    negative: Sequence[str] = ()


@dataclass(frozen=True)
class PictureFile:
    """One picture of a task as it is to lie on the disk; without an entry the log page is left alone."""

    task_id: str
    path: str
    data: bytes
    entry: LogEntry | None = None


def write_picture(file: PictureFile) -> None:
    """Put the file under its name, whole or not at all, then the entry on the page beside it.

    Raises:
        OSError: one of them could not be written.
    """
    path = Path(file.path)
    codecs.write(path, file.data)
    if file.entry is not None:
        entry = file.entry
        log_page.add_entry(path.parent / log_page.NAME, path, entry.rows, entry.positive, entry.negative)
