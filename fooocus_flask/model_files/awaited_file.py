"""A model file that a request waits for, as its task's row keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.files.known_files import KnownFile


@dataclass(frozen=True)
class Awaited(KnownFile):
    """`spare` names the member of the request that works without the file; None if the file is required."""

    spare: str | None = None

    @classmethod
    def of(cls, file: KnownFile, spare: str | None = None) -> Awaited:
        """A known file that a task waits for."""
        return cls(file.kind, file.name, file.url, file.size, file.md5, spare)


def to_row(files: Iterable[Awaited]) -> list[dict[str, Any]] | None:
    """What a row keeps: null where nothing is waited for."""
    return [asdict(file) for file in files] or None


def from_row(kept: Iterable[Mapping[str, Any]] | None) -> list[Awaited]:
    """The inverse of `to_row`."""
    return [Awaited(**file) for file in kept or ()]
