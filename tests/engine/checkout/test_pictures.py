"""Pictures on their way to a Fooocus and from it."""

import errno
import os
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from engine.checkout.pictures import decoded, store
from tests.engine.images.test_reading import noise, saved


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pixels_are_the_files_as_rgb(mode):
    image = noise().convert(mode)
    assert np.array_equal(decoded(saved(image)), np.asarray(image.convert("RGB")))


def test_colours_under_transparency_stay():
    image = noise()
    image.putalpha(0)
    assert np.array_equal(decoded(saved(image)), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_turned_as_it_says(kind):
    turned = Image.Exif()
    turned[0x0112] = 6  # to the right
    upright = decoded(saved(noise(), kind))
    assert np.array_equal(decoded(saved(noise(), kind, exif=turned)), np.rot90(upright, -1))


@pytest.mark.parametrize("one_disk", [True, False])
def test_a_file_gets_its_name_in_place_of_an_earlier_one_and_stays_where_it_was(tmp_path, monkeypatch, one_disk):
    if not one_disk:
        monkeypatch.setattr(os, "link", Mock(side_effect=OSError(errno.EXDEV, "Invalid cross-device link")))
    source, path = tmp_path / "scratch.png", tmp_path / "outputs" / "2024-07-05" / "a.png"
    source.write_bytes(b"new")
    store(b"earlier", path)
    path.with_name(".a.png.part").write_bytes(b"left by a killed process")
    store(source, path)
    assert path.samefile(source) is one_disk
    source.unlink()
    assert path.read_bytes() == b"new" and [*path.parent.iterdir()] == [path]


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    source, path = tmp_path / "scratch.png", tmp_path / "outputs" / "a.png"
    source.write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        store(source, path)
    assert [*path.parent.iterdir()] == []
