"""The page's files, read once: a few hundred kilobytes that are answered from memory."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).with_name("static")
MEDIA_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".webmanifest": "application/manifest+json",
}
"""Types of the files that are served; others, such as licences, lie beside them for people."""

LATER = frozenset({"js/copy.js", "js/deliveries.js", "js/zip.js"})
"""Modules that the page imports at the press of a button."""


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    data: bytes
    media_type: str
    digest: str

    @cached_property
    def packed(self) -> bytes | None:
        """The file in gzip, None where that is no shorter; packed when it is first asked for, not at each start."""
        packed = gzip.compress(self.data, 9, mtime=0)
        return packed if len(packed) < len(self.data) else None


@dataclass(frozen=True)
class Assets:
    """All files of the page by their names, with one digest of all of them."""

    files: dict[str, Asset]
    digest: str

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Assets:
        """Read them."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix in MEDIA_TYPES)
        files = {path.relative_to(folder).as_posix(): read_asset(path) for path in paths}
        names = "\n".join(f"{name} {asset.digest}" for name, asset in files.items())
        return cls(files, digest_of(names.encode()))

    def modules(self) -> list[str]:
        """The script modules of a first visit, which a browser should ask for all at once and not one by one."""
        return [name for name in self.files if name.endswith(".js") and name not in LATER]

    def languages(self) -> list[str]:
        """The languages that the page speaks: one file each."""
        return [Path(name).stem for name in self.files if name.startswith("languages/")]


def read_asset(path: Path) -> Asset:
    """One file."""
    data = path.read_bytes()
    return Asset(data, MEDIA_TYPES[path.suffix], digest_of(data))


def digest_of(data: bytes) -> str:
    """A short name of these bytes."""
    return hashlib.sha256(data).hexdigest()[:16]
