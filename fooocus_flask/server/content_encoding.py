"""Bodies that come packed (`Content-Encoding: gzip` or `deflate`): unpacked as they are read, within the limits."""

from __future__ import annotations

import zlib
from functools import partial
from typing import IO

import gevent

from fooocus_flask.errors import FooocusError

AUTOMATIC, RAW = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS
"""zlib's words for a stream that tells by its head whether it is gzip or zlib, and for one without a head."""
PLAIN, PACKED = ("", "identity"), ("gzip", "x-gzip", "deflate")
PIECE = 64 * 1024
"""Bytes that are unpacked before others get their turn."""
MOST_TIMES, ALWAYS = 100, 8 * 1024 * 1024
"""How many times as large as it came a body may become, where it is larger than what any may be."""


class UnsupportedCoding(FooocusError):
    """The body is packed in a way that nothing here unpacks."""

    status = 415

    def __init__(self, coding: str):
        text = f"The Content-Encoding {coding[:100]!r} is not read here; send the body plain, or by gzip or deflate"
        super().__init__(text, headers={"Accept-Encoding": "gzip, deflate"})


class BrokenBody(FooocusError):
    """The body is not packed as it says."""

    status = 400

    def __init__(self, coding: str):
        super().__init__(f"The body is not whole, or is no {coding}, as its Content-Encoding says")


def unpacked(stream: IO[bytes], coding: str, most: int | None) -> IO[bytes]:
    """The stream of a body without this coding; of at most so many bytes.

    Raises:
        UnsupportedCoding: nothing here unpacks it.
    """
    codings = [name for word in coding.lower().split(",") if (name := word.strip()) not in PLAIN]
    if not codings:
        return stream
    if len(codings) > 1 or codings[0] not in PACKED:
        raise UnsupportedCoding(coding)
    return UnpackedStream(stream, codings[0], most)  # type: ignore[return-value]


class UnpackedStream:
    """What a packed stream holds; a bomb ends as a body that is too large."""

    def __init__(self, stream: IO[bytes], coding: str, most: int | None) -> None:
        self._stream, self._coding, self._most = stream, coding, most
        self._unpack = zlib.decompressobj(AUTOMATIC)
        self._waiting, self._read, self._made = b"", 0, 0

    def read(self, size: int = -1) -> bytes:
        """All that is left, or some of the next bytes, at most so many; none at the end.

        Raises:
            FooocusError: there are more than may be.
            BrokenBody: the stream is not what it should be.
        """
        return b"".join(iter(partial(self._next, PIECE), b"")) if size < 0 else self._next(min(size, PIECE))

    def _next(self, size: int) -> bytes:
        while True:
            gevent.sleep(0)
            packed = self._waiting or self._stream.read(PIECE)
            if not packed:
                return self._end()
            if not self._read:
                self._unpack = zlib.decompressobj(form(packed[:2], self._coding))
            self._read += 0 if self._waiting else len(packed)
            if data := self._unpacked(packed, size):
                return data

    def _unpacked(self, packed: bytes, size: int) -> bytes:
        if self._unpack.eof:  # several packed files one after the other are one
            self._unpack = zlib.decompressobj(AUTOMATIC)
        try:
            data = self._unpack.decompress(packed, size)
        except zlib.error as error:
            raise BrokenBody(self._coding) from error
        self._waiting = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        self._made += len(data)
        if self._made > (limit := self._limit()):
            raise FooocusError(f"Unpacked, the request body is larger than {limit} bytes", status=413)
        return data

    def _limit(self) -> int:
        grown = max(ALWAYS, self._read * MOST_TIMES)
        return grown if self._most is None else min(grown, self._most)

    def _end(self) -> bytes:
        if self._read and not self._unpack.eof:
            raise BrokenBody(self._coding)
        return b""


def form(head: bytes, coding: str) -> int:
    """zlib's word for a stream that begins so: some clients call it deflate where they leave out zlib's head."""
    has_head = head[:1] and head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0
    return RAW if coding == "deflate" and not has_head else AUTOMATIC
