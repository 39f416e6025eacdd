"""What lies in a models folder, and what a name may lead to."""

import os

import pytest

from engine.choices import BUILTIN_CHECKPOINT
from engine.files.catalogue import Catalogue, Folders


@pytest.fixture
def models(tmp_path):
    """A models folder with files in and below its kinds."""
    for name in ("b.safetensors", "A.ckpt", "notes.txt", "x.fooocus.patch", "sub/z.SAFETENSORS", "sub/deep/c.pth"):
        path = tmp_path / "models" / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for kind in ("loras", "vae"):
        (tmp_path / "models" / kind).mkdir()
        (tmp_path / "models" / kind / f"{kind}.safetensors").touch()
    (tmp_path / "models" / "outside.safetensors").touch()
    return tmp_path / "models"


@pytest.fixture
def catalogue(models, tmp_path):
    """Its catalogue, without a built-in model."""
    return Catalogue(Folders.below(models), tmp_path / "no-builtin.safetensors")


def test_sub_folders_come_first_and_case_does_not_count(catalogue):
    assert catalogue.checkpoints() == ["sub/deep/c.pth", "sub/z.SAFETENSORS", "A.ckpt", "b.safetensors"]
    assert (catalogue.loras(), catalogue.vaes()) == (["loras.safetensors"], ["vae.safetensors"])


def test_every_listed_name_is_found(catalogue):
    for name in catalogue.checkpoints():
        assert catalogue.find("checkpoints", name).is_file()
    assert catalogue.find("loras", "loras.safetensors") and catalogue.find("vae", "vae.safetensors")


def test_the_listing_is_of_now(catalogue, models):
    (models / "loras" / "new.safetensors").touch()
    assert catalogue.loras() == ["loras.safetensors", "new.safetensors"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../outside.safetensors",
            "sub/../../outside.safetensors",
            "..\\outside.safetensors",
            "/etc/passwd",
            "C:\\a.pth",
        ),
        *("", ".", "sub", "missing.safetensors", "notes.txt", "b.safetensors\0"),
        *("a" * 245 + ".safetensors", "é" * 125 + ".safetensors", "a/" * 3000 + "b.safetensors"),
    ],
)
def test_a_name_that_leads_out_or_nowhere_is_not_found(catalogue, name):
    assert catalogue.find("checkpoints", name) is None


def test_the_built_in_model_is_listed_last_and_found(models, tmp_path):
    builtin = tmp_path / "builtin.safetensors"
    builtin.touch()
    catalogue = Catalogue(Folders.below(models), builtin)
    assert catalogue.checkpoints()[-1] == BUILTIN_CHECKPOINT
    assert catalogue.find("checkpoints", BUILTIN_CHECKPOINT) == builtin


def test_without_a_folder_there_is_nothing(tmp_path):
    catalogue = Catalogue(Folders.below(tmp_path / "none"), tmp_path / "none.safetensors")
    assert catalogue.checkpoints() == catalogue.loras() == []
    assert catalogue.find("checkpoints", BUILTIN_CHECKPOINT) is None


def test_linked_folders_and_files_are_listed_and_circles_end(catalogue, models, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big.safetensors").touch()
    (tmp_path / "elsewhere" / "back").symlink_to(models / "loras")
    (models / "loras" / "folder").symlink_to(tmp_path / "elsewhere")
    (models / "loras" / "big.safetensors").symlink_to(tmp_path / "elsewhere" / "big.safetensors")
    (models / "loras" / "self").symlink_to(models / "loras")
    assert catalogue.loras() == ["folder/big.safetensors", "big.safetensors", "loras.safetensors"]
    assert catalogue.find("loras", "folder/big.safetensors")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("c.pth", "sub/deep/c.pth"),
        ("c", "sub/deep/c.pth"),
        ("SDXL\\c.pth", "sub/deep/c.pth"),
        ("deep/c.pth", "sub/deep/c.pth"),
        ("a.ckpt", "A.ckpt"),
        ("b [0123456789]", "b.safetensors"),
        ("b.safetensors [0123456789abcdef]", "b.safetensors"),
        ("sub\\z.SAFETENSORS", "sub/z.SAFETENSORS"),
    ],
)
def test_a_name_finds_the_only_file_that_it_can_mean(catalogue, models, name, file):
    assert catalogue.find("checkpoints", name) == models / "checkpoints" / file


def test_a_name_that_several_files_have_in_sub_folders_finds_none(catalogue, models):
    (models / "checkpoints" / "other").mkdir()
    (models / "checkpoints" / "other" / "c.pth").touch()
    assert catalogue.find("checkpoints", "c.pth") is None
    assert catalogue.find("checkpoints", "other/c.pth")


def test_a_name_that_is_not_utf_8_is_left_out_with_a_warning(catalogue, models, caplog):
    (models / "loras" / os.fsdecode(b"caf\xe9.safetensors")).touch()
    (models / "loras" / os.fsdecode(b"d\xe9j\xe0")).mkdir()
    (models / "loras" / os.fsdecode(b"d\xe9j\xe0") / "vu.safetensors").touch()
    assert catalogue.loras() == ["loras.safetensors"]
    assert "its name is not UTF-8" in caplog.text


def test_the_first_of_several_folders_wins(tmp_path):
    for folder, names in (("one", ("a.safetensors", "b.safetensors")), ("two", ("b.safetensors", "c.safetensors"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    catalogue = Catalogue(Folders({"loras": (tmp_path / "one", tmp_path / "two")}), tmp_path / "none")
    assert catalogue.loras() == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert catalogue.find("loras", "b.safetensors") == tmp_path / "one" / "b.safetensors"
    assert catalogue.find("loras", "c.safetensors") == tmp_path / "two" / "c.safetensors"
    assert catalogue.find("vae", "c.safetensors") is None


def test_folders_survive_the_way_to_another_process(tmp_path):
    folders = Folders.below(tmp_path)
    assert Folders.from_json(folders.to_json()) == folders
    assert folders["prompt_expansion"] == (tmp_path / "prompt_expansion" / "fooocus_expansion",)


def test_a_kind_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"lora$"):
        Folders({"lora": (tmp_path,)})
    with pytest.raises(ValueError, match=r"lora$"):
        Folders({})["lora"]


def test_a_new_file_goes_onto_its_copy_or_into_the_first_folder(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "sub").mkdir(parents=True)
    (second / "sub" / "old.safetensors").touch()
    catalogue = Catalogue(Folders({"loras": (first, second)}))
    assert catalogue.target("loras", "new.safetensors") == first / "new.safetensors"
    assert catalogue.target("loras", "sub/old.safetensors") == second / "sub" / "old.safetensors"
    for kind, name in (("loras", "../new.safetensors"), ("loras", "new.txt"), ("vae", "new.safetensors")):
        with pytest.raises(ValueError, match="can be called"):
            catalogue.target(kind, name)
