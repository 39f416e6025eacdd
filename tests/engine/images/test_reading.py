"""Pictures of every kind and mode read as what a person sees, and bytes that are none refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from engine.images import reading
from engine.images.codecs import PNG_MARK
from engine.images.reading import UnreadablePicture, convert, ending, read, read_mask, read_reduced

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(left=RED, right=BLUE, size=(8, 4), mode="RGB"):
    """A picture of two colours."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def noise(size=(61, 47)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("PNG", "png", {}),
        ("BMP", "bmp", {}),
        ("TIFF", "tiff", {}),
        ("GIF", "gif", {}),
        ("WEBP", "webp", {"lossless": True}),
        ("JPEG", "jpg", {"quality": 100, "subsampling": 0}),
        ("AVIF", "avif", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_every_kind_is_read_and_named(kind, name, options):
    data = saved(halves(), kind, **options)
    pixels = read(data)
    assert (ending(data), pixels.dtype, pixels.shape) == (name, np.uint8, (4, 8, 3))
    assert np.abs(pixels.astype(int) - np.asarray(halves()).astype(int)).max() <= 4


def corner(image, **options):
    """The first pixel after saving and reading."""
    return tuple(int(value) for value in read(saved(image, **options))[0, 0])


def test_a_palette_gives_its_colours():
    assert corner(halves().quantize(4)) == RED
    assert read(saved(halves().quantize(4), "GIF"))[0, 0].tolist() == list(RED)


def test_a_palette_with_a_clear_colour_gives_alpha():
    image = halves().quantize(4)
    assert corner(image, transparency=image.getpixel((0, 0))) == (*RED, 0)


def test_one_bit_is_black_and_white():
    pixels = read(saved(halves(255, 0, mode="L").convert("1")))
    assert pixels[0, 0].tolist() == list(WHITE) and pixels[0, 7].tolist() == list(BLACK)


def test_grey_is_three_equal_channels():
    assert corner(Image.new("L", (2, 2), 77)) == (77, 77, 77)


def test_grey_with_alpha_keeps_both():
    assert corner(Image.new("LA", (2, 2), (77, 9))) == (77, 77, 77, 9)


def test_grey_with_a_clear_value_gives_alpha():
    assert corner(Image.new("L", (2, 2), 77), transparency=77) == (77, 77, 77, 0)


def test_alpha_stays_beside_its_colour():
    assert corner(Image.new("RGBA", (2, 2), (10, 20, 30, 40))) == (10, 20, 30, 40)


@pytest.mark.parametrize(("deep", "shown"), [(0, 0), (257, 1), (32768, 128), (65535, 255), (65407, 255), (65406, 254)])
def test_sixteen_bits_are_scaled_down(deep, shown):
    image = Image.fromarray(np.full((2, 2), deep, np.uint16))
    assert corner(image) == (shown,) * 3
    assert tuple(read(saved(image, "TIFF"))[0, 0]) == (shown,) * 3


def sixteen_bit_png(colour_type, samples, *chunks):
    """A PNG of one pixel with samples of 16 bits."""

    def chunk(name, data):
        return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack("!IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0))
    row = zlib.compress(b"\0" + struct.pack(f"!{len(samples)}H", *samples))
    return PNG_MARK + header + b"".join(chunk(*one) for one in chunks) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def test_sixteen_bits_of_colour_and_alpha_are_read():
    assert read(sixteen_bit_png(2, (65535, 0, 32896)))[0, 0].tolist() == [255, 0, 128]
    assert read(sixteen_bit_png(6, (65535, 0, 32896, 65535)))[0, 0].tolist() == [255, 0, 128, 255]
    assert read(sixteen_bit_png(4, (32896, 257)))[0, 0].tolist() == [128, 128, 128, 1]


def test_a_clear_value_of_sixteen_bits_gives_alpha():
    clear = (b"tRNS", struct.pack("!H", 32896))
    assert read(sixteen_bit_png(0, (32896,), clear))[0, 0].tolist() == [128, 128, 128, 0]


def test_cmyk_is_seen_as_printed():
    pixels = read(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(pixels[4, 4].astype(int) - RED).max() <= 3
    assert corner(Image.new("CMYK", (2, 2), (0, 0, 0, 255)), kind="TIFF") == BLACK


SWAPPED = (Path(__file__).parent / "data" / "icc_swapped.png").read_bytes()
"""Red samples, and a profile in which red's primary is blue's: a picture in blue."""


def profiled(mode, kind="PNG", **options):
    """The same samples in another mode, with that profile."""
    with Image.open(io.BytesIO(SWAPPED)) as image:
        return saved(image.convert(mode), kind, icc_profile=image.info["icc_profile"], **options)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_profile_gives_the_colours_that_are_meant(mode):
    red, green, blue = read(profiled(mode))[0, 0, :3].astype(int)
    assert blue > 200 and red < 60 and green < 60


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 100}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_a_profile_counts_in_every_kind_of_file(kind, options):
    assert read(profiled("RGB", kind, **options))[4, 4, 2] > 200


def test_a_profile_leaves_alpha_alone():
    with Image.open(io.BytesIO(SWAPPED)) as image:
        profile, pixels = image.info["icc_profile"], image.convert("RGBA")
    pixels.putalpha(99)
    assert read(saved(pixels, icc_profile=profile))[0, 0, 3] == 99


@pytest.mark.parametrize(
    "profile",
    [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["broken", "sRGB"],  # the latter tells when it was made
)
def test_a_broken_profile_and_that_of_srgb_change_nothing(profile):
    pixels = noise()
    assert np.array_equal(read(saved(pixels, icc_profile=profile)), np.asarray(pixels))


def test_a_profile_about_another_kind_of_picture_changes_nothing():
    assert np.array_equal(read(profiled("L"))[0, 0], [read(profiled("L"))[0, 0, 0]] * 3)


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_conversion_applies_a_profile_once(output_format, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(SWAPPED)
    assert read(convert(path, output_format))[4, 4, 2] > 200


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_phones_heic_is_read_or_told_what_is_missing(brand):
    data = struct.pack("!I4s4sI4s4s", 24, b"ftyp", brand, 0, b"mif1", b"heic") + b"\0" * 64
    with pytest.raises(UnreadablePicture, match="pillow-heif" if reading.pillow_heif is None else "damaged|no picture"):
        read(data)


@pytest.mark.parametrize("value", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_stands_upright(kind, value):
    exif = Image.Exif()
    exif[0x0112] = value
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 8))
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    pixels = read(saved(image, kind, exif=exif, **options))
    assert pixels.shape == ((16, 32, 3) if value < 5 else (32, 16, 3))
    reds = np.argwhere(pixels[:, :, 0] > 127).mean(axis=0) < np.array(pixels.shape[:2]) / 2
    expected = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}
    assert tuple(reds.astype(int)) == expected[value]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16", "CMYK"])
def test_a_picture_is_read_small_as_it_would_be_large(kind, mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = noise((300, 200)).resize((900, 600)).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image
    try:
        data = saved(image, kind, exif=exif)
    except (OSError, KeyError):
        pytest.skip(f"{kind} has no {mode}")
    small, large = read_reduced(data, 10_000), read(data)
    assert small.shape == (-(-large.shape[0] // 8), -(-large.shape[1] // 8), large.shape[2])
    shrunk = np.asarray(Image.fromarray(large).reduce(8)).astype(int)
    assert np.abs(small - shrunk).mean() < 8
    assert (read_reduced(data, 900 * 600) == large).all()


@pytest.mark.parametrize("size", [(1, 90_000), (90_000, 1), (3, 30_000)])
def test_a_strip_is_read_small_too(size):
    assert read_reduced(saved(Image.new("L", size)), 10_000).shape[:2] == tuple(-(-side // 3) for side in size[::-1])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(
        Image.new("RGB", (8, 8), RED), kind, save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)], **options
    )
    assert read(data)[0, 0, :3].tolist() == list(RED)


def test_a_path_is_read_too(tmp_path):
    path = tmp_path / "cat"
    path.write_bytes(saved(noise()))
    assert np.array_equal(read(path), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "GIF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_picture_that_is_cut_short_is_refused(kind, part):
    data = saved(noise(), kind)
    with pytest.raises(UnreadablePicture):
        ending(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        *(b"GIF89a", PNG_MARK, b"BM", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff\xe0", b"II*\0", b"\0\0\0\x18ftypavif"),
    ],
)
def test_bytes_that_are_no_picture_are_refused(data):
    with pytest.raises(UnreadablePicture):
        ending(data)


def test_any_byte_may_be_broken():
    chance = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"):
        good = np.frombuffer(saved(noise((16, 16)), kind), np.uint8)
        for _ in range(60):
            data = good.copy()
            data[chance.integers(0, len(data), 3)] = chance.integers(0, 256, 3)
            try:
                pixels = read(data.tobytes())
            except UnreadablePicture:
                continue
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] in (3, 4)


@pytest.mark.parametrize("side", [7072, 12000, 60000])
def test_a_bomb_is_refused_by_its_header(side):
    header = struct.pack("!IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = PNG_MARK + struct.pack("!I", 13) + b"IHDR" + header + struct.pack("!I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(UnreadablePicture, match="50000000"):
        ending(data + struct.pack("!I", 0) + b"IDAT" + struct.pack("!I", zlib.crc32(b"IDAT")))


def test_a_text_that_unpacks_to_very_much_is_refused():
    texts = PngInfo()
    texts.add_text("parameters", "a" * 2_000_000, zip=True)
    with pytest.raises(UnreadablePicture):
        ending(saved(noise(), pnginfo=texts))


def test_a_file_of_too_many_bytes_is_refused():
    with pytest.raises(UnreadablePicture, match="bytes"):
        ending(saved(noise()) + b"\0" * reading.MOST_BYTES)


@pytest.mark.parametrize("image", [Image.new("F", (2, 2), 0.5), Image.new("I", (2, 2), 70000)])
def test_samples_that_are_no_usual_numbers_are_refused(image):
    with pytest.raises(UnreadablePicture, match="16 bits"):
        ending(saved(image, "TIFF"))


def test_a_mask_of_the_pictures_size_is_white_where_it_is_light():
    greys = np.array([[0, 1, 127, 128, 255]], np.uint8)
    assert read_mask(saved(Image.fromarray(greys))).tolist() == [[0, 1, 127, 255, 255]]


def test_a_masks_colours_count_by_their_mean():
    image = Image.new("RGB", (2, 1), (0, 255, 255))
    image.putpixel((1, 0), (120, 0, 0))
    assert read_mask(saved(image)).tolist() == [[255, 120]]


def test_a_masks_alpha_counts_in_the_mean():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (90, 90, 90, 255))
    assert read_mask(saved(image)).tolist() == [[0, 255]]


def test_a_mask_of_one_bit_is_not_lost():
    assert read_mask(saved(halves(255, 0, mode="L").convert("1")))[0].tolist() == [255] * 4 + [0] * 4


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "RGB", "RGBA", "P", "LA"])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_any_mode_is_converted(tmp_path, mode, output_format):
    path = tmp_path / "cat.tiff"
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 4), 32896, np.uint16))
    else:
        image = Image.new("RGB", (4, 4), (128, 128, 128)).convert("L" if mode == "LA" else "RGB")
        image = image.quantize(4) if mode == "P" else image.convert(mode)
    path.write_bytes(saved(image, "TIFF"))
    shown = Image.open(io.BytesIO(convert(path, output_format))).convert("RGB").getpixel((1, 1))
    assert max(abs(value - 128) for value in shown) <= 2


def test_a_converted_picture_keeps_its_metadata(tmp_path):
    texts, path = PngInfo(), tmp_path / "cat.png"
    texts.add_text("parameters", '{"prompt": "a cat"}')
    path.write_bytes(saved(noise(), pnginfo=texts))
    assert Image.open(io.BytesIO(convert(path, "webp"))).getexif()[0x9286] == '{"prompt": "a cat"}'
