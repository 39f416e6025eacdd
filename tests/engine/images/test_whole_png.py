"""A PNG that is found whole can be decoded, whatever was done to it."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.images import codecs, reading
from engine.images.codecs import PNG_MARK
from engine.images.whole_png import is_whole
from tests.engine.images.test_reading import noise, saved

WHITE = Image.new("RGB", (1, 1), "white")


def png(*chunks):
    return PNG_MARK + b"".join(codecs._chunk(kind, content) for kind, content in chunks)


def header(width=2, height=2, bits=8, colours=2, interlaced=0):
    return b"IHDR", struct.pack("!IIBBBBB", width, height, bits, colours, 0, 0, interlaced)


def rows(count=2, length=6, leading=0):
    return zlib.compress((bytes([leading]) + b"\7" * length) * count)


END = (b"IEND", b"")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_pictures_are_whole(mode):
    assert is_whole(saved(noise().convert(mode)))


def test_ours_are_whole_with_their_texts():
    assert is_whole(codecs.encode_png(np.asarray(noise()), {"parameters": "a cat"}))


def test_one_chunk_or_many_are_the_same():
    packed = rows()
    assert is_whole(png(header(), (b"IDAT", packed), END))
    assert is_whole(png(header(), *((b"IDAT", packed[at : at + 1]) for at in range(len(packed))), END))


def test_what_is_not_plain_is_left_to_the_decoder():
    late = saved(noise())[:-12] + codecs._chunk(b"tEXt", b"parameters\0a cat") + codecs._chunk(*END)
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    others = [WHITE.resize(noise().size)]
    files = (
        *(saved(noise().convert("P")), saved(noise().convert("1")), saved(deep), saved(noise(), "JPEG")),
        *(late, saved(noise(), save_all=True, append_images=others)),
    )
    for data in files:
        assert not is_whole(data)
        assert reading.ending(data) in ("png", "jpg")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", PNG_MARK, png(header()), png(header(), END), png((b"IDAT", rows()), END)),
        png(header(), (b"IDAT", rows()[:-1]), END),
        png(header(), (b"IDAT", rows()[:-4] + b"\0\0\0\0"), END),
        png(header(), (b"IDAT", rows(count=1)), END),
        png(header(), (b"IDAT", rows(count=3)), END),
        png(header(), (b"IDAT", rows(leading=5)), END),
        png(header(), (b"IDAT", rows() + b"\0"), END),
        png(header(), (b"IDAT", rows()[:5]), (b"tEXt", b"a\0b"), (b"IDAT", rows()[5:]), END),
        png(header(), header(width=9), (b"IDAT", rows()), END),
        png(header(interlaced=1), (b"IDAT", rows()), END),
        png(header(), (b"IDAT", rows())),
        png(header(), (b"IDAT", rows()), END)[:-1],
    ],
)
def test_what_lacks_something_is_not_whole(data):
    assert not is_whole(data)


def test_what_is_whole_after_any_damage_decodes_to_the_same_size():
    chance, whole = np.random.default_rng(0), 0
    texts = PngInfo()
    texts.add_text("parameters", "a cat", zip=True)
    good = np.frombuffer(saved(noise((9, 7)), pnginfo=texts, dpi=(72, 72)), np.uint8)
    for _ in range(3000):
        broken = good.copy()
        broken[chance.integers(0, len(broken))] = chance.integers(0, 256)
        data = broken.tobytes()
        try:
            name = reading.ending(data)
        except reading.UnreadablePicture:
            continue
        if is_whole(data):
            whole += 1
            assert name == "png"
            assert reading._loaded(data)[0].size == reading.size(data)
    assert whole > 20
