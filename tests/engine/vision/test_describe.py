"""Which model describes a picture: the files of the folder, or else the built-in set's tags."""

import numpy as np
import pytest
import torch

from engine.errors import CheckpointError
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.model_store import ModelStore
from engine.vision.describe import describe
from tests.engine.detectors import caption_files, onnx_files
from tests.engine.detectors.tag_heads import tag_head
from tests.engine.detectors.vision_towers import vision_file

PICTURE = np.full((40, 60, 3), (255, 50, 50), np.uint8)


@pytest.fixture
def store(tmp_path):
    """Over an empty models folder."""
    return ModelStore(torch.device("cpu"), Catalogue(Folders.below(tmp_path / "models")))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A built-in set with a small encoder and a small head."""
    sure = torch.zeros(10)
    sure[[0, 4, 6, 9]] = 90  # an apple, one thing, red, on the grass
    files = vision_file(tmp_path / "encoder.safetensors"), tag_head(tmp_path / "head.safetensors", bias=sure)
    for name, path in zip(("IMAGE_ENCODER", "TAG_HEAD"), files, strict=True):
        monkeypatch.setattr(builtin_set, name, path)
    monkeypatch.setattr(builtin_set, "DESCRIBING", files)


def test_a_fresh_machine_says_its_tags_and_that_they_are_its_own(store, shipped, caplog):
    caplog.set_level("INFO")
    told = [describe(store, PICTURE, kind) for kind in ("Photo", "Anime")]
    assert [one.model for one in told] == ["head.safetensors"] * 2
    assert [one.text for one in told] == ["a red apple on the grass", "apple, red, on the grass"]
    assert caplog.messages.count("a picture is described by head.safetensors") == 2


def test_own_files_go_before_the_tags(store, shipped, tmp_path):
    folder = tmp_path / "models" / "clip_vision"
    onnx_files.tagger(folder / "wd-v1-4-moat-tagger-v2.onnx", np.eye(3) / 255)
    assert describe(store, PICTURE, "Anime").model == "head.safetensors"  # its list of tags is not there
    names = "tag_id,name,category,count\n1,blue,0,1\n2,green,0,1\n3,red,0,1\n"
    (folder / "wd-v1-4-moat-tagger-v2.csv").write_text(names)
    told = describe(store, PICTURE, "Anime")
    assert (told.text, told.model) == ("blue, green, red", "wd-v1-4-moat-tagger-v2.onnx")
    assert describe(store, PICTURE, "Photo").model == "head.safetensors"
    caption_files.write_captioner(folder / "model_base_caption_capfilt_large.pth")
    assert describe(store, PICTURE, "Photo").model == "model_base_caption_capfilt_large.pth"


def test_without_either_the_missing_file_is_named(store, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_set, "DESCRIBING", (tmp_path / "none.safetensors",))
    with pytest.raises(CheckpointError, match=r"model_base_caption_capfilt_large\.pth is not in the models folder"):
        describe(store, PICTURE, "Photo")


def test_there_are_two_kinds_of_picture(store):
    with pytest.raises(ValueError, match="cannot be described as 'Cat'"):
        describe(store, PICTURE, "Cat")
