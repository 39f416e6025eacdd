"""What model files are: told by their first bytes and by their tensors' names and shapes, in one plain line."""

import collections
import json
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from engine.files import detect, pickled, torch_files
from engine.files.detect import has_vae, is_sd15, unfit

TO_K = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
POOLED = "model.diffusion_model.label_emb.0.0.weight"
TEXTS = "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight"


def checkpoint(width, *, pooled, whole=True):
    """The names that tell a checkpoint whose UNet reads texts of this width."""
    return {TO_K: (320, width)} | ({POOLED: (4, 4)} if pooled else {}) | ({TEXTS: (4,)} if whole else {})


KINDS = {
    "a Stable Diffusion 1.5 checkpoint": checkpoint(768, pooled=False),
    "a Stable Diffusion 2 checkpoint": checkpoint(1024, pooled=False),
    "an SDXL refiner": checkpoint(1280, pooled=True),
    "a UNet alone": checkpoint(2048, pooled=True, whole=False),
    "a Stable Diffusion 3 model": {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (4, 4)},
    "a Flux model": {"double_blocks.0.img_attn.qkv.weight": (4, 4)},
    "a LoRA": {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 4)},
    "a VAE": {"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)},
    "a ControlNet": {"control_model.input_hint_block.0.weight": (4, 4)},
    "an embedding": {"clip_l": (2, 768), "clip_g": (2, 1280)},
}
BARE = {"input_blocks.0.0.weight": (320, 4, 3, 3)}


def safetensors(path, names):
    save_file({name: np.zeros(shape, np.float16) for name, shape in names.items()}, path)
    return path


def pickled_file(path, names, **beside):
    torch.save({"state_dict": {name: torch.zeros(shape) for name, shape in names.items()}, **beside}, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_another_kind_of_file_is_named_where_a_checkpoint_is_wanted(tmp_path, kind, suffix):
    write = safetensors if suffix == "safetensors" else pickled_file
    path = write(tmp_path / f"wrong.{suffix}", KINDS[kind])
    reason = unfit(path, "base_model_name")
    assert reason.startswith(f"wrong.{suffix} is {kind}") and "base_model_name takes" in reason
    assert "\n" not in reason and "\x1b" not in reason


def test_what_fits_is_not_refused(tmp_path):
    sdxl = safetensors(tmp_path / "sdxl.safetensors", checkpoint(2048, pooled=True))
    refiner = safetensors(tmp_path / "refiner.safetensors", KINDS["an SDXL refiner"])
    sd15 = pickled_file(tmp_path / "sd15.ckpt", KINDS["a Stable Diffusion 1.5 checkpoint"])
    vae = safetensors(tmp_path / "vae.safetensors", KINDS["a VAE"])
    lora = safetensors(tmp_path / "lora.safetensors", KINDS["a LoRA"])
    odd = {"model.diffusion_model.x": (1,), "first_stage_model.x": (1,), "x": (1,)}
    unknown = safetensors(tmp_path / "unknown.safetensors", odd)
    assert unfit(sdxl, "base_model_name") is None
    assert [unfit(path, "refiner_model_name") for path in (sdxl, refiner, sd15)] == [None] * 3
    assert unfit(vae, "vae_name") is unfit(lora, "loras") is unfit(sdxl, "vae_name") is None
    assert [unfit(unknown, member) for member in detect.FITTING] == [None] * 4


def test_a_vae_of_16_channels_and_a_bare_unet_are_named(tmp_path):
    wide = safetensors(tmp_path / "ae.safetensors", {"decoder.conv_in.weight": (4, 16, 3, 3)})
    assert "ae.safetensors is a VAE of 16 channels" in unfit(wide, "vae_name")
    bare = safetensors(tmp_path / "unet.safetensors", BARE)
    assert "unet.safetensors is a UNet alone" in unfit(bare, "base_model_name")
    assert "an SDXL refiner" in unfit(safetensors(tmp_path / "r.safetensors", KINDS["an SDXL refiner"]), "loras")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b'{"error": "Unauthorized"}', "a text of JSON"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (struct.pack("<Q", 500) + b'{"x": {"dtype"', "cut short"),
    ],
)
@pytest.mark.parametrize("member", detect.FITTING)
def test_what_is_no_model_file_is_told_by_what_it_is(tmp_path, content, what, member):
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(content)
    assert unfit(path, member).startswith(f"wrong.safetensors is {what}")


@pytest.mark.parametrize("member", detect.FITTING)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt", "pt", "bin"])
@pytest.mark.parametrize(
    "content", [bytes(500), b"hello, this is a text\n" * 30, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9]
)
def test_garbage_is_told_as_such(tmp_path, content, suffix, member):
    path = tmp_path / f"wrong.{suffix}"
    path.write_bytes(content)
    assert unfit(path, member).startswith(f"wrong.{suffix} is damaged, without weights, or neither")


def test_weights_of_no_known_kind_are_told_by_who_takes_them(tmp_path):
    path = safetensors(tmp_path / "odd.safetensors", {"layers.0.weight": (4, 4)})
    for member in ("base_model_name", "refiner_model_name", "vae_name"):
        assert unfit(path, member).startswith(f"odd.safetensors is a file of weights of another kind; {member} takes")
    assert unfit(path, "loras") is None, "its loader knows all formats, and notes what fits nothing"
    assert "without weights" in unfit(pickled_file(tmp_path / "none.ckpt", {}), "vae_name")


def test_a_file_whose_length_begins_like_a_text_is_no_text(tmp_path):
    tensor = {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}
    header = json.dumps({"model.diffusion_model.x": tensor}).encode().ljust(ord("{") + 256)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    assert path.read_bytes().startswith(b"{") and unfit(path, "base_model_name") is None


def test_a_file_that_ends_before_its_tensors_do_is_cut_short(tmp_path):
    path = safetensors(tmp_path / "a.safetensors", {"x": (100, 100)})
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cut short" in unfit(path, "vae_name")
    whole = pickled_file(tmp_path / "a.ckpt", {"x": (100, 100)})
    whole.write_bytes(whole.read_bytes()[:-1000])
    assert "cut short" in unfit(whole, "base_model_name")


def test_a_zip_archive_that_holds_no_tensors_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.safetensors", "w") as archive:
        archive.writestr("model.safetensors", b"x")
    assert "a zip archive" in unfit(tmp_path / "a.safetensors", "base_model_name")


class Callback:
    """What a trainer leaves beside the weights."""

    def __init__(self):
        self.best = np.float64(0.5)


class Settings(dict):
    """Likewise."""


class Evil:
    """What would run code."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (exec, (f"open({str(self.folder / 'ran')!r}, 'w').close()",))


@pytest.mark.parametrize("archive", [True, False])
def test_trainers_objects_beside_the_weights_neither_run_nor_fail(tmp_path, archive):
    content = {
        "state_dict": {TO_K: torch.ones(3, 768), "p": torch.nn.Parameter(torch.ones(2))},
        "callbacks": {Callback: Callback()},
        "hyper_parameters": Settings(a=1, b=collections.defaultdict(list)),
        "global_step": np.int64(3),
        "evil": Evil(tmp_path),
    }
    path = tmp_path / "trained.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    assert pickled.shapes(path) == {TO_K: (3, 768), "p": (2,)}
    tensors = pickled.unwrapped(torch_files.load(path))
    assert tensors[TO_K].tolist() == torch.ones(3, 768).tolist() and tensors["p"].tolist() == [1, 1]
    assert not (tmp_path / "ran").exists()
    assert is_sd15(path)


def test_an_object_of_an_absurd_number_takes_no_memory(tmp_path):
    content = b"\x80\x02}r" + (1 << 31).to_bytes(4, "little") + b"."
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(ValueError, match="2147483648"):
        pickled.shapes(tmp_path / "a.pt")


def test_a_shape_that_holds_no_numbers_is_no_shape(tmp_path):
    rebuilt = b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n(NK\x00(]ttRs."
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", rebuilt)
    with pytest.raises(ValueError, match="no whole numbers"):
        pickled.shapes(tmp_path / "a.pt")


def test_a_header_of_any_depth_is_damage(tmp_path):
    header = b"{" + b'"a":{' * 100_000
    path = tmp_path / "deep.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "is damaged" in unfit(path, "base_model_name")


def test_an_embedding_in_a_parameter_dict_is_read(tmp_path):
    held = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 16))})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": held}, tmp_path / "a.pt")
    assert torch_files.load(tmp_path / "a.pt")["string_to_param"]["*"].shape == (2, 16)


def test_a_checkpoint_without_a_vae_is_known(tmp_path):
    assert not has_vae(safetensors(tmp_path / "a.safetensors", checkpoint(2048, pooled=True)))
    assert has_vae(safetensors(tmp_path / "b.safetensors", {"first_stage_model.x": (1,)}))


def test_a_file_is_read_again_when_it_changed(tmp_path):
    path = safetensors(tmp_path / "a.safetensors", KINDS["a LoRA"])
    assert unfit(path, "loras") is None
    path.write_text(json.dumps({"error": "gone"}))
    assert "a text of JSON" in unfit(path, "loras")
