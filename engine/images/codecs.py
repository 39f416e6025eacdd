"""Pixels to PNG, JPEG and WebP with their metadata, from format to format, and safely into a file. No torch."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from engine.choices import OUTPUT_QUALITY
from engine.files.whole_file import whole_file
from engine.images.a1111 import ascii_only
from engine.images.colour import to_srgb
from engine.images.metadata import MAKER_NOTE, MOST_EXIF_BYTES, SOFTWARE, USER_COMMENT, VERSION

try:
    from isal import isal_zlib as fast_zlib
except ImportError:  # there is no build of isal for this machine; zlib does the same, slower
    import zlib as fast_zlib  # type: ignore[no-redef]

Pixels = NDArray[np.uint8]
"""A picture, `[height, width, 3]`, RGB."""

Mask = NDArray[np.uint8]
"""`[height, width]`: above 127 what is repainted."""

THUMBNAIL_QUALITY = 80
BYTES_A_PIXEL = 4
"""Of a decoded picture: Pillow keeps three channels in four bytes."""
PILLOW_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}

DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises of files that are no whole pictures."""

Each = Callable[[Callable[[bytes], bytes], Iterable[bytes]], Iterable[bytes]]
"""`map`, or an executor's, which does the same on several threads."""

PNG_MARK = b"\x89PNG\r\n\x1a\n"
AVERAGE_FILTER = 3
ZLIB_HEADER = b"\x78\x01"
STRIP = 1 << 19
"""Bytes of a PNG that are packed by themselves, so that several threads may."""
PNG_TEXTS = {"parameters": USER_COMMENT, "fooocus_scheme": MAKER_NOTE}


def encode(
    pixels: Pixels,
    output_format: str,
    texts: Mapping[str, str] | None = None,
    exif: Any = None,
    quality: int = OUTPUT_QUALITY,
    each: Each = map,
) -> bytes:
    """The picture's file; PNG carries `texts` as text chunks, JPEG and WebP carry `exif` (a Pillow `Exif`).

    `quality` is that of JPEG and WebP; `each` packs a PNG's strips.

    Raises:
        KeyError: no such format.
    """
    if PILLOW_FORMATS[output_format] == "PNG":
        return encode_png(pixels, texts, each)
    return _encode_pillow(Image.fromarray(pixels), output_format, exif, quality)


def encode_png(pixels: Pixels, texts: Mapping[str, str] | None = None, each: Each = map) -> bytes:
    """A PNG: rows predicted from the mean of left and upper neighbour, packed by isal (an order faster than zlib)."""
    height, width, channels = pixels.shape
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = _packed(_average_filtered(pixels.reshape(height, width * channels), channels), each)
    chunks = [_chunk(b"IHDR", header), *(_text_chunk(key, text) for key, text in (texts or {}).items())]
    return b"".join([PNG_MARK, *chunks, _chunk(b"IDAT", packed), _chunk(b"IEND", b"")])


def encode_mask(mask: Mask) -> bytes:
    """A mask as a PNG of greys."""
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()


def encode_small_png(pixels: Pixels, colours: int = 128) -> bytes:
    """A PNG for a preview: few colours, little work, few bytes."""
    out = io.BytesIO()
    image = Image.fromarray(pixels).quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def convert(
    source: bytes | Path, output_format: str, size: tuple[int, int] | None = None, quality: int = OUTPUT_QUALITY
) -> bytes:
    """An encoded picture in another format, metadata kept; transparent parts become white in a JPEG.

    With `size`, which is width and height, it is resampled to that.

    Raises:
        KeyError: no such format.
        PIL.UnidentifiedImageError: the source is no picture.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        image.load()
        texts, exif = _metadata_both_ways(image)
        shown, name = to_srgb(image), PILLOW_FORMATS[output_format]
        if size is not None and shown.size != size:
            shown = shown.resize(size, Image.Resampling.LANCZOS)
        if name == "PNG" and shown.mode == "RGB":
            return encode_png(np.asarray(shown), texts)
        if name == "PNG":
            return with_texts(_encode_any_png(shown), texts)
        return _encode_pillow(_opaque(shown) if name == "JPEG" else shown, output_format, exif, quality)


def thumbnail(source: Path, width: int) -> bytes:
    """A small WebP of a picture, at most this wide and never enlarged, without metadata.

    Raises:
        One of `DAMAGED`: the source is no whole picture.
    """
    with Image.open(source) as image:
        width = min(width, image.width)
        size = width, max(1, round(image.height * width / image.width))
        image.draft("RGB", size)  # a JPEG is read at a fraction of its size
        shown = to_srgb(image)
        small = shown.convert("RGBA" if shown.has_transparency_data else "RGB").resize(
            size, Image.Resampling.LANCZOS, reducing_gap=3.0
        )
    out = io.BytesIO()
    small.save(out, "WEBP", quality=THUMBNAIL_QUALITY)
    return out.getvalue()


def decoded_bytes(path: Path) -> int:
    """The memory that a picture of any size takes once it is decoded, from its header alone; 0 where it is none.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        with Image.open(path) as image:
            return image.width * image.height * BYTES_A_PIXEL
    except (UnidentifiedImageError, Image.DecompressionBombError):  # which is not decoded either
        return 0


def with_texts(png: bytes, texts: Mapping[str, str]) -> bytes:
    """A PNG with these text chunks put in behind its header."""
    end_of_header = 33
    chunks = b"".join(_text_chunk(key, text) for key, text in texts.items())
    return png[:end_of_header] + chunks + png[end_of_header:]


def write(path: Path, data: bytes) -> None:
    """Put a file under its name, whole or not at all.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    with whole_file(path) as file:
        file.write(data)


def _encode_pillow(image: Image.Image, output_format: str, exif: Any, quality: int = OUTPUT_QUALITY) -> bytes:
    out = io.BytesIO()
    name = PILLOW_FORMATS[output_format]
    options: dict[str, Any] = {"optimize": True, "progressive": True} if name == "JPEG" else {"lossless": False}
    carried = exif.tobytes() if exif is not None else b""
    if carried and not (name == "JPEG" and len(carried) > MOST_EXIF_BYTES):
        options["exif"] = carried
    image.save(out, name, quality=quality, **options)
    return out.getvalue()


def _encode_any_png(image: Image.Image) -> bytes:
    """A PNG of a picture that has more or less than three channels, without metadata."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1, exif=b"")
    return out.getvalue()


def _average_filtered(rows: NDArray[np.uint8], step: int) -> bytes:
    """The rows, each led by the filter's number, less the mean of the bytes to the left and above."""
    height, length = rows.shape
    filtered = np.empty((height, length + 1), np.uint8)
    filtered[:, 0] = AVERAGE_FILTER
    left, above = np.zeros((2, height, length), np.uint8)
    left[:, step:], above[1:] = rows[:, :-step], rows[:-1]
    # A mean in eight bits: what both have, and half of what one of them has.
    mean = (left & above) + ((left ^ above) >> 1)
    np.subtract(rows, mean, out=filtered[:, 1:])
    return filtered.tobytes()


def _packed(data: bytes, each: Each) -> bytes:
    """A zlib stream of this data, in strips that know nothing of each other; the bytes do not depend on `each`."""
    strips = (data[start : start + STRIP] for start in range(0, len(data), STRIP))
    ended = fast_zlib.compressobj(1, fast_zlib.DEFLATED, -fast_zlib.MAX_WBITS).flush()
    return b"".join([ZLIB_HEADER, *each(_deflated, strips), ended, struct.pack("!I", fast_zlib.adler32(data))])


def _deflated(strip: bytes) -> bytes:
    """A strip as deflate blocks that end at a whole byte, none of them the last."""
    pack = fast_zlib.compressobj(1, fast_zlib.DEFLATED, -fast_zlib.MAX_WBITS)
    return pack.compress(strip) + pack.flush(fast_zlib.Z_SYNC_FLUSH)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def _text_chunk(key: str, text: str) -> bytes:
    """A `tEXt` chunk, or an uncompressed `iTXt` one if Latin-1 cannot hold the text."""
    try:
        return _chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def _opaque(image: Image.Image) -> Image.Image:
    if not (image.has_transparency_data):
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _metadata_both_ways(image: Image.Image) -> tuple[dict[str, str], Image.Exif]:
    """A picture's metadata as PNG texts and as EXIF, whichever of the two it came in."""
    texts = {key: value for key, value in image.info.items() if key in PNG_TEXTS and isinstance(value, str)}
    exif = image.getexif()
    plain = dict(texts)
    if texts.get("fooocus_scheme") == "a1111" and "parameters" in texts:
        plain["parameters"] = ascii_only(texts["parameters"])  # EXIF holds no other characters
    for key, tag in PNG_TEXTS.items():
        if key in plain:
            exif[tag] = plain[key]
        elif isinstance(exif.get(tag), str):
            texts[key] = exif[tag]
    if texts:
        exif[SOFTWARE] = VERSION
    return texts, exif
