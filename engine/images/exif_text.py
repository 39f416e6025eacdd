"""The text of a comment in a picture's file, whatever encoding its writer gave it."""

from __future__ import annotations

MARK_BYTES = 8
"""The EXIF standard puts so many bytes before a user comment, which name its encoding."""

ASCII, UNICODE, JIS, UNDEFINED = b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", bytes(MARK_BYTES)
JAPANESE = ("iso2022_jp", "euc_jp", "cp932")


def comment_text(value: object) -> str:
    """The text of a comment; empty if the value is no text."""
    if isinstance(value, str):
        return _mended(value)
    if not isinstance(value, bytes):
        return ""
    mark, body = value[:MARK_BYTES], value[MARK_BYTES:]
    if mark == JIS:
        return _first_that_fits(body.rstrip(b"\0"), JAPANESE) or _decoded(body)
    return _decoded(body if mark in (ASCII, UNICODE, UNDEFINED) else value)


def _mended(text: str) -> str:
    """A text that was read as Latin-1, as bytes of unknown encoding are, in its own encoding."""
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        return text
    if data[:MARK_BYTES] in (ASCII, UNICODE, JIS, UNDEFINED):
        return comment_text(data)
    return text if data.isascii() else _first_that_fits(data, ("utf-8",)) or text


def _decoded(data: bytes) -> str:
    """UTF-8 or UTF-16, with a byte order mark or without, whatever the mark before it says; else Latin-1."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").rstrip("\0")
    if b"\0" in data.rstrip(b"\0"):
        readings = [data.decode(f"utf-16-{order}", "replace") for order in ("le", "be")]
        return max(readings, key=_ascii_characters).rstrip("\0")
    return _first_that_fits(data.rstrip(b"\0"), ("utf-8-sig", "latin-1"))


def _first_that_fits(data: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _ascii_characters(text: str) -> int:
    """How many characters are ASCII: parameters are, whatever script the prompt has; in the wrong order none is."""
    return sum(character.isascii() and character != "\0" for character in text)
