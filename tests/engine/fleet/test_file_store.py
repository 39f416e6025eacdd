"""The model files of one machine of the fleet: found wherever they lie, copied whole or not at all."""

from dataclasses import replace

import pytest

from engine.files.catalogue import Catalogue, Folders
from engine.files.hashes import HashCache
from engine.fleet.file_store import FileStore, FileView, TransferError
from engine.fleet.needed import HeadFiles, input_pictures
from engine.messages import Draw, Look
from tests.toy import toy_draw

CONTENT = b"weights" * 100


@pytest.fixture
def head(tmp_path):
    """The head's folders, with two checkpoints, a LoRA, a wildcard and a style."""
    for kind, name in (
        ("checkpoints", "toy.safetensors"),
        ("checkpoints", "below/other.safetensors"),
        ("loras", "red.safetensors"),
        ("embeddings", "good.safetensors"),
        ("vae_approx", "preview.pth"),
        ("wildcards", "colour.txt"),
        ("styles", "mine.json"),
    ):
        path = tmp_path / "head" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT + name.encode())
    folders = {kind.name: (kind,) for kind in (tmp_path / "head").iterdir()}
    return HeadFiles(Catalogue(Folders(folders)), HashCache(tmp_path / "hashes"))


@pytest.fixture
def far(head, tmp_path):
    """The head's files as a machine gets to know them that cannot see its disk."""
    return [
        replace(file, path=f"/elsewhere/{file.name}")
        for file in (head.checkpoint(known.path) for known in head.checkpoints())
    ]


def content(file):
    return CONTENT + file.name.encode()


def copied(store, file):
    store.write(file, 0, content(file))
    store.finish(file)


def test_a_machine_that_sees_the_heads_disk_copies_nothing(head, tmp_path):
    store = FileStore(tmp_path / "fleet")
    file = head.checkpoint(head.checkpoints()[0].path)
    assert str(store.find(file)) == file.path and store.seems_here(file)


def test_a_copy_goes_on_where_it_broke_off(far, tmp_path):
    store, file = FileStore(tmp_path / "fleet"), far[0]
    assert store.find(file) is None and store.received(file) == 0
    store.write(file, 0, content(file)[:100])
    again = FileStore(tmp_path / "fleet")
    assert again.received(file) == 100 and again.find(file) is None
    again.write(file, 100, content(file)[100:])
    again.finish(file)
    assert again.find(file).read_bytes() == content(file) and again.received(file) == 0
    assert again.hashes.known(again.find(file)) == file.hash


def test_a_copy_that_is_not_the_heads_file_is_dropped(far, tmp_path):
    store, file = FileStore(tmp_path / "fleet"), far[0]
    store.write(file, 0, content(file).replace(b"w", b"v"))
    with pytest.raises(TransferError, match=r"did not come whole to the card"):
        store.finish(file)
    assert store.find(file) is None and store.received(file) == 0


def test_a_machines_own_file_is_used_if_it_is_the_same(far, tmp_path):
    models, file = tmp_path / "own", far[0]
    own = models / "checkpoints" / file.name
    own.parent.mkdir(parents=True)
    own.write_bytes(content(file)[::-1])
    store = FileStore(tmp_path / "fleet", models)
    assert store.seems_here(file) and store.find(file) is None
    own.write_bytes(content(file) + b"!")
    assert not store.seems_here(file)
    own.write_bytes(content(file))
    assert FileStore(tmp_path / "fleet", models).find(file) == own


def test_a_view_shows_what_the_task_uses_and_nothing_else(far, tmp_path):
    store = FileStore(tmp_path / "fleet")
    view = FileView(store, tmp_path / "view")
    for file in far:
        copied(store, file)
    view.show(far)
    assert Catalogue(view.folders).names("checkpoints") == ["below/other.safetensors", "toy.safetensors"]
    view.show(far[:1])
    assert Catalogue(view.folders).names("checkpoints") == [far[0].name]
    assert view.path(*far[0].place).read_bytes() == content(far[0])
    store.find(far[0]).unlink()
    with pytest.raises(TransferError, match=r"send the request again"):
        view.show(far[:1])


def test_what_a_look_uses_stays_shown_while_another_task_begins(far, tmp_path):
    store = FileStore(tmp_path / "fleet")
    view = FileView(store, tmp_path / "view")
    for file in far:
        copied(store, file)
    look, task = far
    with view.besides([look]), view.besides([look]):
        view.show([task])
        assert view.path(*look.place).read_bytes() == content(look)
    with view.besides([look]):
        view.show([look])
    view.show([task])
    assert Catalogue(view.folders).names("checkpoints") == [task.name]


def test_a_task_brings_what_it_may_use(head, tmp_path):
    checkpoint = next(file.path for file in head.checkpoints() if file.name == "toy.safetensors")
    draw = toy_draw(tmp_path, checkpoint=checkpoint, prompt="a cat <lora:red:0.5>")
    files = head.of_task(draw)
    assert files[0] == head.checkpoint(str(checkpoint))
    assert {file.place for file in files[1:]} == {
        ("loras", "red.safetensors"),
        ("embeddings", "good.safetensors"),
        ("vae_approx", "preview.pth"),
        ("wildcards", "colour.txt"),
        ("styles", "mine.json"),
    }
    plain = {file.place for file in head.of_task(toy_draw(tmp_path))}
    assert plain == {("wildcards", "colour.txt"), ("styles", "mine.json")}


def test_a_look_brings_its_networks(head):
    folder = head.catalogue.folders["checkpoints"][0].parent
    assert head.of_look(Look("1", "mask", {"model": "isnet-general-use"})) == []
    (folder / "inpaint").mkdir()
    (folder / "inpaint" / "isnet-general-use.onnx").write_bytes(CONTENT)
    folders = Folders({**head.catalogue.folders.by_kind, "inpaint": (folder / "inpaint",)})
    more = HeadFiles(Catalogue(folders), head.hashes)
    assert [file.name for file in more.of_look(Look("1", "mask", {"model": "isnet-general-use"}))] == [
        "isnet-general-use.onnx"
    ]


def test_input_pictures_travel_with_the_task(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    params = {"uov_input_image": "/inputs/a.png", "controlnet_image": [{"cn_img": "/inputs/gone.png"}], "prompt": "x"}
    assert input_pictures(Draw("t", params, [], inputs=str(tmp_path))) == {"a.png": b"picture"}
