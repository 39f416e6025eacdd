"""Texts that people wrote, in whatever encoding their editor saved them."""

from __future__ import annotations

import codecs
import logging
from functools import lru_cache
from pathlib import Path

from charset_normalizer import from_bytes

log = logging.getLogger(__name__)

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks and their encodings; UTF-32's begins as UTF-16's does, so it is looked for first."""
EVERYDAY: dict[str, tuple[range, int]] = {
    "gb18030": (range(0xB0, 0xD8), 0xA1),
    "cp932": (range(0x82, 0x98), 0x40),
    "big5": (range(0xA4, 0xC7), 0x40),
    "euc_kr": (range(0xB0, 0xC9), 0xA1),
}
"""Encodings of two bytes a character: the first bytes of the characters of everyday texts, which each of these
standards lists first, and the least second byte."""
COMMON = (*EVERYDAY, "cp1252", "cp1251")
"""What editors save in without asking, by the language of the system; texts are too short to tell rarer ones."""
LAST_RESORT = "cp1252"


def read_text(path: Path) -> str:
    """The text of a file, its lines ended by newlines; the log says so where it is not UTF-8.

    Raises:
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    encoding = encoding_of(data)
    if encoding not in ("utf-8", "utf-8-sig"):
        _tell(path, encoding)
    return data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(data: bytes) -> str:
    """The encoding of a text: as its byte order mark says, else UTF-8 where it fits, else the likeliest one."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return _without_mark(data)
    return "utf-8" if b"\0" not in data else _without_mark(data)


def _without_mark(data: bytes) -> str:
    zeros = data[0::2].count(0), data[1::2].count(0)
    if any(zeros) and len(data) % 2 == 0:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    matches = from_bytes(data, cp_isolation=list(COMMON), threshold=1.0)
    rank = {match.encoding: (match.chaos + _rare(data, match.encoding), -match.coherence) for match in matches}
    return min(rank, key=lambda encoding: (*rank[encoding], COMMON.index(encoding)), default=LAST_RESORT)


def _rare(data: bytes, encoding: str) -> float:
    """Which part of the characters of two bytes no everyday text has: short texts tell encodings by little else."""
    if encoding not in EVERYDAY:
        return 0.0
    leads, least = EVERYDAY[encoding]
    pairs = [
        pair for character in data.decode(encoding, "replace") if len(pair := character.encode(encoding, "replace")) > 1
    ]
    rare = sum(not (pair[0] in leads and pair[1] >= least) for pair in pairs)
    return rare / max(1, len(pairs))


@lru_cache(maxsize=1000)
def _tell(path: Path, encoding: str) -> None:
    """Say it once for each file."""
    log.info("%s is read as %s; saved as UTF-8 it needs no guessing", path, encoding)
