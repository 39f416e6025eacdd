"""Pictures written by our codecs and read back by Pillow."""

import struct
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from engine.images import codecs, reading
from engine.images.metadata import MAKER_NOTE, SOFTWARE, USER_COMMENT
from engine.images.metadata_reading import read


@pytest.fixture
def picture():
    """A detailed picture with sides of no round number."""
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.fixture
def smooth():
    """A picture that lossy formats keep well."""
    rows, columns = np.mgrid[0:64, 0:96]
    return np.stack([rows * 3, columns * 2, rows + columns], -1).astype(np.uint8)


def opened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def exif_of(text):
    exif = Image.Exif()
    exif[USER_COMMENT], exif[SOFTWARE], exif[MAKER_NOTE] = text, "Fooocus", "fooocus"
    return exif


def test_what_a_picture_takes_is_known_from_its_header_however_large_it_is(tmp_path):
    path = tmp_path / "grid.png"
    header = codecs._chunk(b"IHDR", struct.pack("!IIBBBBB", 9000, 8000, 8, 2, 0, 0, 0))
    path.write_bytes(codecs.PNG_MARK + header + codecs._chunk(b"IDAT", b""))
    assert reading.MOST_PIXELS < 9000 * 8000
    assert codecs.decoded_bytes(path) == 9000 * 8000 * 4
    path.write_bytes(b"no picture")
    assert codecs.decoded_bytes(path) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (37, 53), (64, 64)])
def test_a_png_has_the_same_pixels(shape):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(opened(codecs.encode_png(pixels))), pixels)


def test_a_large_png_is_the_same_file_on_several_threads() -> None:
    pixels = np.random.default_rng(1).integers(0, 60, (700, 601, 3), np.uint8)
    data = codecs.encode_png(pixels)
    assert len(pixels.tobytes()) > 2 * codecs.STRIP
    assert np.array_equal(np.asarray(opened(data)), pixels)
    with ThreadPoolExecutor(3) as threads:
        assert codecs.encode_png(pixels, each=threads.map) == data


def test_png_texts_come_back_in_order_and_in_any_script(picture):
    texts = {"parameters": '{"prompt": "a café"}', "fooocus_scheme": "赤い猫"}
    image = opened(codecs.encode(picture, "png", texts))
    assert list(image.text.items()) == list(texts.items())
    data = codecs.encode(picture, "png", texts)
    assert data.count(b"tEXt") == 1 and data.count(b"iTXt") == 1


@pytest.mark.parametrize(("output_format", "name"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_jpeg_and_webp_are_near_the_picture_and_carry_exif(smooth, output_format, name):
    image = opened(codecs.encode(smooth, output_format, exif=exif_of("how it was made")))
    assert image.format == name
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - smooth).mean() < 3
    assert image.getexif()[USER_COMMENT] == "how it was made"


@pytest.mark.parametrize("output_format", ["jpg", "webp"])
def test_less_quality_gives_smaller_files_and_none_named_the_usual_one(smooth, output_format):
    noisy = (smooth.astype(int) + np.random.default_rng(0).integers(-20, 20, smooth.shape)).clip(0, 255)
    pixels = noisy.astype(np.uint8)
    sizes = [len(codecs.encode(pixels, output_format, quality=quality)) for quality in (0, 50, 95, 100)]
    assert sizes == sorted(set(sizes))
    assert codecs.encode(pixels, output_format) == codecs.encode(pixels, output_format, quality=95)


def test_jpeg_is_progressive_and_does_without_exif_that_is_too_long(smooth):
    image = opened(codecs.encode(smooth, "jpg", exif=exif_of("x" * 70_000)))
    assert image.info["progressive"]
    assert not image.getexif()


def test_an_unknown_format_is_an_error(picture):
    with pytest.raises(KeyError):
        codecs.encode(picture, "gif")


def test_a_small_png_is_small_and_alike(smooth):
    data = codecs.encode_small_png(smooth)
    assert len(data) < smooth.size / 3
    assert np.abs(np.asarray(opened(data).convert("RGB")).astype(int) - smooth).mean() < 12


@pytest.mark.parametrize("target", ["png", "jpg", "webp"])
@pytest.mark.parametrize("source", ["png", "jpg", "webp"])
def test_conversion_keeps_pixels_and_metadata(smooth, tmp_path, source, target):
    path = tmp_path / f"source.{source}"
    path.write_bytes(codecs.encode(smooth, source, {"parameters": "how"}, exif_of("how")))
    for given in (path, path.read_bytes()):
        image = opened(codecs.convert(given, target))
        assert image.format == codecs.PILLOW_FORMATS[target]
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - smooth).mean() < 4
        assert (image.text["parameters"] if target == "png" else image.getexif()[USER_COMMENT]) == "how"


def test_a_picture_can_be_resampled_on_the_way(smooth):
    source = codecs.encode(smooth, "png", {"parameters": "how"})
    height, width = smooth.shape[:2]
    image = opened(codecs.convert(source, "webp", (width // 2, height // 2), 50))
    assert image.size == (width // 2, height // 2) and image.getexif()[USER_COMMENT] == "how"
    assert codecs.convert(source, "png", (width, height)) == codecs.convert(source, "png")


def test_jpg_and_jpeg_are_one_format(smooth):
    files = [codecs.encode(smooth, ending, {"parameters": "how"}, exif_of("how")) for ending in ("jpg", "jpeg")]
    assert files[0] == files[1]
    assert codecs.convert(files[0], "jpg") == codecs.convert(files[0], "jpeg")


def test_transparent_parts_become_white_in_a_jpeg_and_stay_in_a_png():
    out = BytesIO()
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(out, "PNG")
    assert opened(codecs.convert(out.getvalue(), "jpg")).getpixel((8, 8)) == (255, 255, 255)
    assert opened(codecs.convert(out.getvalue(), "png")).getpixel((8, 8)) == (255, 0, 0, 0)


def test_converting_what_is_no_picture_is_an_error():
    with pytest.raises(UnidentifiedImageError):
        codecs.convert(b"no picture", "png")


def test_a_file_is_written_whole_with_its_folder(tmp_path):
    path = tmp_path / "2024-01-01" / "a.png"
    codecs.write(path, b"one")
    codecs.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [found.name for found in path.parent.iterdir()] == ["a.png"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError):
        codecs.write(tmp_path / "a.png", b"data")
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]


def test_a_prompt_in_chinese_survives_conversion_in_both_schemes():
    pixels = np.zeros((8, 8, 3), np.uint8)
    text = 'a cat\nSteps: 30, Sampler: Euler, Seed: 1, Raw prompt: "一只猫, 水彩"'
    png = codecs.encode(pixels, "png", texts={"parameters": text, "fooocus_scheme": "a1111"})
    jpeg = codecs.convert(png, "jpeg")
    assert read(jpeg)["prompt"] == "一只猫, 水彩"
    assert opened(jpeg).getexif()[MAKER_NOTE] == "a1111"
    png = codecs.encode(pixels, "png", texts={"parameters": '{"prompt": "\\u732b"}', "fooocus_scheme": "fooocus"})
    assert read(codecs.convert(png, "webp"))["prompt"] == "猫"
