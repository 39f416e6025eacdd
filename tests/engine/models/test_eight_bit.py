"""Packed checkpoints: 8 bits a weight on disk, an ordinary SDXL-layout state dict once opened."""

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import CheckpointError
from engine.models import eight_bit, weight_names

LINEAR = weight_names.UNET + "time_embed.2.weight"
CONV = weight_names.UNET + "input_blocks.1.0.in_layers.2.weight"
NORM = weight_names.UNET + "out.0.weight"
VAE_CONV = weight_names.VAE + "decoder.conv_in.weight"


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    table = (normal(300, 128) * 40).round() * 0.01
    return {
        LINEAR: normal(96, 64) * normal(96, 1).exp(),
        CONV: normal(64, 32, 3, 3),
        NORM: normal(64),
        VAE_CONV: normal(64, 16, 3, 3),
        eight_bit.TABLE_G: table,
        eight_bit.TABLE_L: table[:, :64].contiguous(),
    }


@pytest.fixture
def path(tensors, tmp_path):
    file = tmp_path / "mini.safetensors"
    eight_bit.pack(tensors, file, {"name": "mini", "licence": "GPL-3.0-or-later"})
    return file


def test_unpacking_gives_every_tensor_back_in_its_shape(tensors, path):
    opened = eight_bit.unpack(path)
    assert {n: t.shape for n, t in opened.items()} == {n: t.shape for n, t in tensors.items()}


@pytest.mark.parametrize("name", [LINEAR, CONV])
def test_eight_bits_keep_a_matrix_within_one_percent(tensors, path, name):
    error = (eight_bit.unpack(path)[name] - tensors[name]).norm() / tensors[name].norm()
    assert 0 < error < 0.012


def test_every_row_has_a_scale_of_its_own(tensors, path):
    opened = eight_bit.unpack(path)
    errors = (opened[LINEAR] - tensors[LINEAR]).norm(dim=1) / tensors[LINEAR].norm(dim=1)
    assert errors.max() < 0.02


def test_vectors_and_the_vae_are_kept_in_fp16(tensors, path):
    opened = eight_bit.unpack(path)
    assert torch.equal(opened[NORM], tensors[NORM].half())
    assert torch.equal(opened[VAE_CONV], tensors[VAE_CONV].half())


def test_the_two_text_encoders_share_one_stored_token_table(path, tensors):
    opened = eight_bit.unpack(path)
    assert torch.equal(opened[eight_bit.TABLE_L], opened[eight_bit.TABLE_G][:, :64])
    assert (opened[eight_bit.TABLE_G] - tensors[eight_bit.TABLE_G]).abs().max() < 0.01
    assert path.stat().st_size < sum(t.numel() for t in tensors.values()) * 1.6


def test_packing_twice_gives_the_same_weights(path, tmp_path):
    first = eight_bit.unpack(path)
    again = tmp_path / "again.safetensors"
    eight_bit.pack(first, again, {})
    second = eight_bit.unpack(again)
    assert all(torch.allclose(first[n].float(), second[n].float(), rtol=0.02, atol=1e-2) for n in first)


def test_weights_that_go_with_a_checkpoint_need_no_table(tensors, tmp_path):
    file = tmp_path / "part.safetensors"
    eight_bit.pack({"image_proj.proj_in.weight": tensors[LINEAR], "norm.weight": tensors[NORM]}, file, {"name": "part"})
    opened = eight_bit.unpack(file)
    assert eight_bit.manifest(file) == {"name": "part"} and set(opened) == {"image_proj.proj_in.weight", "norm.weight"}
    assert (opened["image_proj.proj_in.weight"] - tensors[LINEAR]).norm() < 0.012 * tensors[LINEAR].norm()


def test_a_checkpoint_that_lost_its_table_is_refused(tensors, tmp_path):
    file = tmp_path / "lost.safetensors"
    eight_bit.pack({LINEAR: tensors[LINEAR]}, file, {"clip_l_columns": 64})
    with pytest.raises(CheckpointError, match="token table is missing"):
        eight_bit.unpack(file)


def test_tables_that_differ_are_refused(tensors, tmp_path):
    tensors[eight_bit.TABLE_L] = tensors[eight_bit.TABLE_L] + 1
    with pytest.raises(ValueError, match="token tables differ"):
        eight_bit.pack(tensors, tmp_path / "no.safetensors", {})


def test_the_manifest_tells_what_was_packed(path):
    assert eight_bit.is_packed(path)
    assert eight_bit.manifest(path) == {"name": "mini", "licence": "GPL-3.0-or-later", "clip_l_columns": 64}


def test_an_ordinary_file_is_not_taken_for_a_packed_one(tensors, tmp_path):
    plain = tmp_path / "plain.safetensors"
    save_file(tensors, plain)
    assert not eight_bit.is_packed(plain)
    with pytest.raises(CheckpointError, match="packing None is unknown"):
        eight_bit.unpack(plain)


def test_a_file_of_a_newer_packing_is_refused_by_name(tmp_path):
    newer = tmp_path / "newer.safetensors"
    save_file({"x": torch.zeros(1)}, newer, {"packing": "2"})
    with pytest.raises(CheckpointError, match=r"newer\.safetensors: packing '2' is unknown"):
        eight_bit.unpack(newer)
