"""Pictures that come in: any usual file as 8-bit RGB or RGBA, upright; masks as the area they mean. No torch.

Decoding takes its time: never on the hub. What the bytes are is found in the bytes, not in a name or a header.
"""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from engine.images import codecs, whole_png
from engine.images.codecs import Mask
from engine.images.colour import to_srgb

try:
    import pillow_heif
except ImportError:  # it is an extra of this package
    pillow_heif = None
else:
    pillow_heif.register_heif_opener(thumbnails=False)

HEIF = "HEIF"

MOST_BYTES = 20_000_000
MOST_PIXELS = 50_000_000

ENDINGS = {
    PngImagePlugin.PngImageFile.format: "png",
    JpegImagePlugin.JpegImageFile.format: "jpg",
    MpoImagePlugin.MpoImageFile.format: "jpg",
    WebPImagePlugin.WebPImageFile.format: "webp",
    GifImagePlugin.GifImageFile.format: "gif",
    BmpImagePlugin.BmpImageFile.format: "bmp",
    TiffImagePlugin.TiffImageFile.format: "tiff",
    AvifImagePlugin.AvifImageFile.format: "avif",
} | ({HEIF: "heic"} if pillow_heif else {})
"""The kinds of file that are read, with the ending each is kept under."""

OPENED = tuple(kind for kind in ENDINGS if kind != MpoImagePlugin.MpoImageFile.format)  # that one comes as a JPEG

MEDIA_TYPES = codecs.MEDIA_TYPES | {kind: f"image/{kind}" for kind in ("gif", "bmp", "tiff", "avif", "heic")}

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What a file of a phone's HEIC pictures says it is, in its fifth to twelfth byte behind `ftyp`."""

NO_HEIC = (
    "this is a HEIC picture, which this server cannot read; send a JPEG or PNG, or let the operator install the extra "
    "heic: pip install pillow-heif"
)

ORIENTATION, UPRIGHT, SIDEWAYS = 0x0112, 1, (5, 6, 7, 8)
"""EXIF's tag, and its values for pictures as they are, and for those that lie on a side."""
STRIP = 1 << 20
"""Pixels that are converted at once."""

DEEP = 65535
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
PLAIN_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")

Pixels = NDArray[np.uint8]
"""`[height, width, 3]` RGB, or `[height, width, 4]` RGBA with colours not multiplied by alpha."""


class UnreadablePicture(ValueError):
    """The bytes are no picture that can be used; the text says why."""


def ending(data: bytes) -> str:
    """The ending that fits this picture's kind, once it is sure that all of it can be decoded.

    Raises:
        UnreadablePicture: it is none of the kinds, damaged, cut short, or too large.
    """
    if _opened(data).format == PngImagePlugin.PngImageFile.format and whole_png.is_whole(data):
        return ENDINGS["PNG"]
    return ENDINGS[str(_loaded(data)[1])]


def size(source: Path | bytes) -> tuple[int, int]:
    """The upright picture's width and height, from its head alone.

    Raises:
        UnreadablePicture: it has no such head, or is too large.
        OSError: there is no such file.
    """
    image = _opened(_bytes(source))
    known = image.format != PngImagePlugin.PngImageFile.format or "exif" in image.info  # else a PNG would be decoded
    try:
        turned = known and image.getexif().get(ORIENTATION) in SIDEWAYS
    except Exception:  # an orientation that cannot be read is none
        turned = False
    return (image.height, image.width) if turned else (image.width, image.height)


def decoded_bytes(source: Path | bytes) -> int:
    """The memory that the picture takes once it is decoded, at most; 0 where it will not be."""
    try:
        return head(_bytes(source))[1]
    except UnreadablePicture:
        return 0


def head(data: bytes) -> tuple[str, int]:
    """The ending that fits this picture's kind, and the memory it takes decoded at most, both as its head says.

    Raises:
        UnreadablePicture: it has no such head, or is too large.
    """
    image = _opened(data)
    return ENDINGS[str(image.format)], image.width * image.height * codecs.BYTES_A_PIXEL


def read(source: Path | bytes) -> Pixels:
    """The picture in sRGB, turned as its orientation says; of an animation the first frame.

    RGBA where it has transparency.

    Raises:
        UnreadablePicture: see `ending`.
        OSError: there is no such file.
    """
    image = to_srgb(_upright(_loaded(_bytes(source))[0]))
    pixels: Pixels | None = None
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):  # a whole copy in another mode would take as much memory again
        strip = _eight_bit(image.crop((0, top, image.width, min(top + rows, image.height))))
        if pixels is None:
            pixels = np.empty((image.height, image.width, len(strip.getbands())), np.uint8)
        pixels[top : top + rows] = np.asarray(strip)
    assert pixels is not None
    return pixels


def read_reduced(source: Path | bytes, most_pixels: int) -> Pixels:
    """The same as `read`, with sides divided by a whole number so that it has no more pixels than that.

    Beside the decoded file it takes no memory worth mentioning, and a JPEG is decoded small.

    Raises:
        UnreadablePicture: see `ending`.
        OSError: there is no such file.
    """
    data = _bytes(source)
    if (factor := _factor(_opened(data), most_pixels)) == 1:
        return read(data)
    image = _loaded(data, factor)[0]
    factor = _factor(image, most_pixels)
    rows, strips = factor * max(1, STRIP // image.width // factor), []
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strips.append(np.asarray(_eight_bit(to_srgb(strip)).reduce(factor)))
    small = Image.fromarray(np.concatenate(strips))
    with contextlib.suppress(Exception):  # an orientation that cannot be read is none
        small.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, UPRIGHT)
    return np.asarray(_upright(small))


def _factor(image: Image.Image, most_pixels: int) -> int:
    """What both sides are divided by so that the picture has at most so many pixels."""
    return max(1, math.ceil(math.sqrt(image.width * image.height / most_pixels)))


def read_mask(source: Path | bytes) -> Mask:
    """The mask that a picture means: its first channel, and white where the mean of its channels is above 127.

    Greys of at most 127 stay: they widen the area that inpainting sees, and are not repainted. Alpha is a channel too.

    Raises:
        UnreadablePicture: see `ending`.
        OSError: there is no such file.
    """
    pixels = read(source)
    light = pixels.mean(axis=2, dtype=np.float32) > 127
    return np.where(light, 255, pixels[:, :, 0]).astype(np.uint8)


def convert(path: Path, output_format: str) -> bytes:
    """A picture's file in another format, whatever kind and mode it has; metadata is kept where the kind carries it.

    Raises:
        UnreadablePicture: see `ending`.
        KeyError: no such format.
    """
    data = path.read_bytes()
    image, kind = _loaded(data)
    if kind in ("PNG", "JPEG", "WEBP") and image.mode in PLAIN_MODES:
        return codecs.convert(data, output_format)
    plain = io.BytesIO()
    _eight_bit(to_srgb(_upright(image))).save(plain, "PNG", compress_level=1, exif=b"")
    return codecs.convert(plain.getvalue(), output_format)


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _loaded(data: bytes, factor: int = 1) -> tuple[Image.Image, str | None]:
    """The decoded first frame, and its kind; a JPEG's sides may be divided by as much as this."""
    image = _opened(data)
    try:
        if factor > 1:
            image.draft(None, (image.width // factor, image.height // factor))
        image.load()
    except Exception as error:  # decoders of broken files fail in every way there is
        raise UnreadablePicture("the picture is damaged or cut short") from error
    if image.mode == "F" or (image.mode == "I" and not _is_deep(image)):
        raise UnreadablePicture("the picture's samples are no whole numbers of at most 16 bits; save it with 8 or 16")
    return image, image.format


def _opened(data: bytes) -> ImageFile:
    """The picture, of which only the head is read."""
    if len(data) > MOST_BYTES:
        raise UnreadablePicture(f"the picture has {len(data)} bytes, more than {MOST_BYTES}")
    try:
        image = Image.open(io.BytesIO(data), formats=OPENED)
        if image.width * image.height > MOST_PIXELS:
            raise UnreadablePicture(f"the picture has {image.width}×{image.height} pixels, more than {MOST_PIXELS}")
    except UnreadablePicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadablePicture(f"the picture has more than {MOST_PIXELS} pixels") from error
    except Image.UnidentifiedImageError as error:
        if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and not pillow_heif:
            raise UnreadablePicture(NO_HEIC) from error
        kinds = ", ".join(sorted(set(ENDINGS.values())))
        raise UnreadablePicture(f"this is no picture of a kind that can be read: {kinds}") from error
    except Exception as error:  # decoders of broken files fail in every way there is
        raise UnreadablePicture("the picture is damaged or cut short") from error
    return image


def _is_deep(image: Image.Image) -> bool:
    low, high = image.getextrema()
    return bool(low >= 0 and high <= DEEP)  # type: ignore[operator]


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT
        return ImageOps.exif_transpose(image) if turned else image  # which would copy it
    except Exception:  # an orientation that cannot be read is none
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture as RGB or RGBA; 16 bits are scaled down, not cut off."""
    if image.mode in DEEP_MODES:
        return _scaled_down(image)
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _scaled_down(image: Image.Image) -> Image.Image:
    deep = np.asarray(image).astype(np.int64)
    grey = Image.fromarray(((deep * 255 + DEEP // 2) // DEEP).astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey.convert("RGB")
    grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
    return grey.convert("RGBA")
