"""Whether a PNG is whole, at a fraction of the time in which it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from engine.images.codecs import PNG_MARK, fast_zlib

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""By PNG's colour type: grey and RGB, without and with alpha."""
MOST_CHUNKS = 10_000
"""Chunks that are looked at: libpng's hold 8 KiB, and a file of chunks of one byte is left to the decoder."""
PIECE = 1 << 15
"""Packed bytes that are unpacked at once: memory for all pixels would take as long to be had as they do."""
EIGHT_BITS, ANIMATION, LAST_FILTER = 8, (b"acTL", b"fcTL", b"fdAT"), 4


def is_whole(data: bytes) -> bool:
    """Whether it is a plain PNG whose pixels are all there, sound by their checksum, and end the file.

    False says nothing: the file may be interlaced, of 16 bits, with a palette, animated or damaged. What stands before
    the pixels is not looked at; whoever opened the file has read it.
    """
    chunks = [*islice(_chunks(data), MOST_CHUNKS)]
    kinds = [kind for kind, _ in chunks]
    pixels = [content for kind, content in chunks if kind == b"IDAT"]
    if not pixels or kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or set(ANIMATION) & set(kinds):
        return False
    if kinds[-1 - len(pixels) :] != [b"IDAT"] * len(pixels) + [b"IEND"] or len(chunks[0][1]) != 13:
        return False
    width, height, bits, colours, *methods = struct.unpack("!IIBBBBB", chunks[0][1])
    if bits != EIGHT_BITS or colours not in CHANNELS or any(methods):
        return False
    return _unpack_to_rows(pixels, height, 1 + width * CHANNELS[colours])


def _unpack_to_rows(pixels: list[memoryview], height: int, stride: int) -> bool:
    """Whether they unpack to exactly so many rows of so many bytes, each led by the number of a filter."""
    unpacking, missing = fast_zlib.decompressobj(), height * stride
    for packed in pixels:
        for begin in range(0, len(packed), PIECE):
            if unpacking.eof:
                return False
            try:
                rows = unpacking.decompress(packed[begin : begin + PIECE], missing + 1)
            except Exception:  # zlib and isal have errors of their own
                return False
            if len(rows) > missing or max(rows[missing % stride :: stride], default=0) > LAST_FILTER:
                return False
            missing -= len(rows)
    return unpacking.eof and not unpacking.unused_data and missing == 0


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The kind and the content of each chunk; none, or fewer, where the file is no PNG or ends within one."""
    view, position = memoryview(data), len(PNG_MARK)
    while data.startswith(PNG_MARK) and position < len(data):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from("!I4s", data, position)
        position += 12 + length
        if position > len(data):
            return
        yield kind, view[position - 4 - length : position - 4]
