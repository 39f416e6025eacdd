"""Bytes that are sent as pictures and should not be, or are odd ones: the same each time."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.images.codecs import PNG_MARK

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
JUNK = bytes(range(7, 247, 3))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The picture's file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int = 24, height: int = 16) -> Image.Image:
    """A picture that compresses badly."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def broken() -> Iterator[tuple[str, bytes]]:
    """What no picture can be made of."""
    for kind in KINDS:
        whole = saved(noise(), kind)
        for percent in (1, 50, 80):
            yield f"{kind} of which {percent} % are there", whole[: len(whole) * percent // 100]
    yield "no bytes", b""
    yield "zeros", bytes(500)
    yield "chance", np.random.default_rng(1).bytes(1000)
    yield "a page", b"<!DOCTYPE html><html><body><img src='cat.png'></body></html>"
    yield "a drawing", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
    yield "a document", b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n"
    yield "an archive", b"PK\x03\x04" + bytes(60)
    yield "a script of PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"
    yield from bombs()


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that say, or turn out, to be large."""
    for side in (7072, 60_000, 2**31 - 1):
        yield f"PNG of {side} pixels a side", png_of(side, side, b"")
    yield "PNG of no pixels", png_of(0, 0, zlib.compress(b""))
    yield "PNG of nothing but zeros", png_of(7000, 7200, zlib.compress(bytes(7200 * 876), 9))
    yield "GIF of 65535 pixels a side", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",;"
    yield "BMP of 65535 pixels a side", with_size(saved(noise(), "BMP"), 18, "<ii", 65535, 65535)
    yield "BMP of less than no pixels", with_size(saved(noise(), "BMP"), 18, "<ii", -24, 16)
    jpeg = saved(noise(), "JPEG")
    yield "JPEG of 65535 pixels a side", with_size(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 65535, 65535)
    canvas = struct.pack("<I", 16383)[:3] * 2
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    yield "WebP of 16384 pixels a side", b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    texts = PngInfo()
    texts.add_text("parameters", "a" * 5_000_000, zip=True)
    yield "PNG with a text that unpacks to much", saved(noise(), pnginfo=texts)


def png_of(width: int, height: int, data: bytes) -> bytes:
    """A PNG of one bit with this header and these packed pixels."""
    chunks = [(b"IHDR", struct.pack("!IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [
        struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return PNG_MARK + b"".join(parts)


def with_size(data: bytes, offset: int, layout: str, *sides: int) -> bytes:
    """The file with other numbers at this place."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, *sides)
    return bytes(changed)


def damaged() -> Iterator[tuple[str, bytes]]:
    """Files with wrong bytes somewhere: some can still be read."""
    chance = np.random.default_rng(2)
    for kind in KINDS:
        whole = np.frombuffer(saved(noise(), kind), np.uint8)
        for number in range(2):
            data = whole.copy()
            data[chance.integers(0, len(data), 3)] = chance.integers(0, 256, 3)
            yield f"{kind} with wrong bytes, {number}", data.tobytes()


def odd() -> Iterator[tuple[str, bytes]]:
    """Pictures as people have them, and as programs write them that do not care."""
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "blue", "red")]
    for kind in ("GIF", "WEBP", "PNG"):
        yield f"animated {kind}", saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    yield "CMYK JPEG", saved(noise().convert("CMYK"), "JPEG")
    yield "CMYK TIFF", saved(noise().convert("CMYK"), "TIFF")
    yield "16 bits", saved(Image.fromarray(np.arange(384, dtype=np.uint16).reshape(16, 24) * 170))
    yield "1 bit", saved(noise().convert("1"))
    yield "grey with alpha", saved(noise().convert("LA"))
    yield "a palette with a clear colour", saved(noise().convert("P"), transparency=3)
    yield "broken EXIF", saved(noise(), "JPEG", exif=b"Exif\0\0" + JUNK)
    yield "broken EXIF in PNG", saved(noise(), exif=b"Exif\0\0MM\0*" + JUNK)
    yield "broken EXIF in WebP", saved(noise(), "WEBP", exif=b"II*\0" + JUNK)
    yield "a turn there is not", saved(noise(), "JPEG", exif=turned(99))
    for kind in ("PNG", "JPEG", "WEBP"):
        yield f"broken colour profile in {kind}", saved(noise(), kind, icc_profile=JUNK)
    yield "one pixel", saved(noise(1, 1))
    yield "a thread", saved(noise(1, 600))
    yield "junk behind the end", saved(noise(), "JPEG") + JUNK * 50


def turned(orientation: int) -> Image.Exif:
    """EXIF with this orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def base64_of(data: bytes) -> str:
    """The bytes as JSON holds them; a URL of none where there are none, for an empty text means no picture."""
    return base64.b64encode(data).decode() or "data:image/png;base64,"
