"""LoRAs in a real model's weights: in force, exchanged, and out again without a trace."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapters import lora_formats
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.errors import CheckpointError
from engine.models.checkpoint import load_checkpoint

UNET_BASE = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"
UNET_WEIGHT = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
TEXT_BASE = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture(scope="module")
def checkpoint(toy):
    return load_checkpoint(toy, torch.device("cpu"))


@pytest.fixture
def model(checkpoint):
    patched = PatchedModel(checkpoint.unet, checkpoint.text_encoders)
    yield patched
    patched.apply([])


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def low_rank(base, like, seed, rank=2):
    rows, columns = like.shape[0], like.shape[1]
    return {
        f"{base}.lora_up.weight": random(seed, rows, rank),
        f"{base}.lora_down.weight": random(seed + 1, rank, columns),
        f"{base}.alpha": torch.tensor(1.0),
    }


def lora_file(folder, checkpoint, name="style", seed=0):
    """A LoRA of one weight of the UNet and one of the first text encoder."""
    unet = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    text = checkpoint.text_encoders.clip_l.module.state_dict()
    fc1 = next(weight for key, weight in text.items() if key.endswith("layers.0.mlp.fc1.weight"))
    tensors = low_rank(UNET_BASE, unet, seed) | low_rank(TEXT_BASE, fc1, seed + 10)
    path = folder / f"{name}.safetensors"
    save_file(tensors, path)
    return path


def snapshot(checkpoint):
    modules = (checkpoint.unet, checkpoint.text_encoders.clip_l.module, checkpoint.text_encoders.clip_g.module)
    return [weight.clone() for module in modules for weight in module.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_lora_adds_its_product_to_the_weight_in_place(tmp_path, checkpoint, model):
    weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    before, address = weight.clone(), weight.data_ptr()
    path = lora_file(tmp_path, checkpoint)
    assert model.apply([Patch(path, 0.5)]) == []
    product = 0.5 * 0.5 * random(0, len(weight), 2) @ random(1, 2, weight.shape[1])
    assert torch.allclose(weight, before + product, atol=1e-6)
    assert weight.data_ptr() == address


def test_weights_of_text_encoders_are_what_half_precision_holds(tmp_path, checkpoint, model):
    model.apply([Patch(lora_file(tmp_path, checkpoint), 1.0)])
    weights = dict(checkpoint.text_encoders.clip_l.module.named_parameters())
    fc1 = next(weight for name, weight in weights.items() if name.endswith("layers.0.mlp.fc1.weight"))
    assert torch.equal(fc1, fc1.half().float())


def test_taking_loras_out_leaves_every_byte_as_it_was(tmp_path, checkpoint, model):
    before = snapshot(checkpoint)
    one, two = lora_file(tmp_path, checkpoint, "one"), lora_file(tmp_path, checkpoint, "two", seed=50)
    for patches in ([Patch(one, 1.0)], [Patch(one, 0.3), Patch(two, -1.7)], [Patch(two, 2.0)]):
        model.apply(patches)
        assert not same(snapshot(checkpoint), before)
    model.apply([])
    assert same(snapshot(checkpoint), before)
    assert model.size == 0


def test_a_list_gives_the_same_weights_whatever_was_in_force_before(tmp_path, checkpoint, model):
    one, two = lora_file(tmp_path, checkpoint, "one"), lora_file(tmp_path, checkpoint, "two", seed=50)
    both = [Patch(one, 0.3), Patch(two, -1.7)]
    model.apply(both)
    direct = snapshot(checkpoint)
    model.apply([Patch(two, 1.0)])
    model.apply(both)
    assert same(snapshot(checkpoint), direct)


def test_texts_are_remembered_for_each_list(tmp_path, checkpoint, model):
    encoders = checkpoint.text_encoders
    plain = encoders.encode(["a cat"], 1, 2).context
    model.apply([Patch(lora_file(tmp_path, checkpoint), 2.0)])
    changed = encoders.encode(["a cat"], 1, 2).context
    assert not torch.equal(plain, changed)
    model.apply([])
    assert torch.equal(encoders.encode(["a cat"], 1, 2).context, plain)


def test_texts_are_kept_while_only_the_unet_changes(tmp_path, checkpoint, model):
    encoders = checkpoint.text_encoders
    kept = encoders._of_text("kept", 2)
    unet_weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    save_file(low_rank(UNET_BASE, unet_weight, 0), tmp_path / "unet.safetensors")
    model.apply([Patch(tmp_path / "unet.safetensors", 1.0)])
    assert encoders._of_text("kept", 2) is kept
    model.apply([Patch(lora_file(tmp_path, checkpoint), 1.0, unet_only=True)])
    assert encoders._of_text("kept", 2) is kept


def test_a_unets_patches_know_text_encoders_names_and_leave_them_alone(tmp_path, checkpoint):
    model = PatchedModel(checkpoint.unet, checkpoint.text_encoders, texts=False)
    names = dict(checkpoint.text_encoders.clip_g.module.named_parameters())
    texts = [f"lora_te2_text_model_encoder_layers_{n}_mlp_fc1.diff_b" for n in range(2)]
    bias = next(weight for name, weight in names.items() if name.endswith("layers.0.mlp.fc1.bias"))
    tensors = dict.fromkeys(texts, torch.ones(len(bias)))
    unet_weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    save_file(
        {name: t.clone() for name, t in tensors.items()} | low_rank(UNET_BASE, unet_weight, 0),
        tmp_path / "a.safetensors",
    )
    before, unet_before = bias.clone(), unet_weight.clone()
    assert model.apply([Patch(tmp_path / "a.safetensors", 1.0)]) == []
    assert torch.equal(bias, before) and not torch.equal(unet_weight, unet_before)
    assert model.encoders is None
    model.apply([])
    assert torch.equal(unet_weight, unet_before)


def test_what_is_kept_for_a_lora_counts(tmp_path, checkpoint, model):
    path = lora_file(tmp_path, checkpoint)
    model.apply([Patch(path, 1.0)])
    weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    assert model.size > weight.nbytes + path.stat().st_size / 2


def test_a_change_of_a_bias_that_is_not_there_is_told(tmp_path, checkpoint, model):
    before = snapshot(checkpoint)
    save_file({f"{UNET_BASE}.diff_b": torch.ones(3)}, tmp_path / "bias.safetensors")
    (note,) = model.apply([Patch(tmp_path / "bias.safetensors", 1.0)])
    assert UNET_WEIGHT.replace(".weight", ".bias") in note
    assert same(snapshot(checkpoint), before)


def test_a_changed_file_is_read_again(tmp_path, checkpoint, model):
    model.apply([Patch(lora_file(tmp_path, checkpoint), 1.0)])
    first = snapshot(checkpoint)
    model.apply([Patch(lora_file(tmp_path, checkpoint, seed=99), 1.0)])
    assert not same(snapshot(checkpoint), first)


def test_a_file_made_for_another_kind_of_model_is_left_out_with_a_note(tmp_path, checkpoint, model):
    before = snapshot(checkpoint)
    strangers = {f"lora_unet_double_blocks_{n}_img_attn_qkv.diff": torch.ones(1) for n in range(13)}
    save_file(strangers, tmp_path / "flux.safetensors")
    (note,) = model.apply([Patch(tmp_path / "flux.safetensors", 1.0)])
    assert "flux.safetensors" in note and "13 of its 13" in note
    assert same(snapshot(checkpoint), before)


def test_a_few_leftovers_are_told_and_the_rest_applied(tmp_path, checkpoint, model):
    path = lora_file(tmp_path, checkpoint)
    save_file(load_file(path) | {"lora_unet_other.diff": torch.ones(1)}, path)
    before = snapshot(checkpoint)
    (note,) = model.apply([Patch(path, 1.0)])
    assert "1 tensors" in note and not same(snapshot(checkpoint), before)


@pytest.mark.parametrize("bounds", [(torch.tensor(-1.0), torch.tensor(3.0)), (-1.0, 3.0)])
def test_a_fooocus_patch_is_read_between_its_bounds(tmp_path, checkpoint, model, bounds):
    weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    before = weight.clone()
    values = torch.randint(0, 256, weight.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    torch.save({name: (values, *bounds)}, tmp_path / "inpaint.fooocus.patch")
    assert model.apply([Patch(tmp_path / "inpaint.fooocus.patch", 1.0, unet_only=True)]) == []
    assert torch.allclose(weight, before + values.float() / 255 * 4 - 1, atol=1e-6)


def test_a_weight_of_another_shape_is_told_and_stays(tmp_path, checkpoint, model):
    before = snapshot(checkpoint)
    save_file({f"{UNET_BASE}.diff": torch.ones(3, 3)}, tmp_path / "odd.safetensors")
    (note,) = model.apply([Patch(tmp_path / "odd.safetensors", 1.0)])
    assert UNET_WEIGHT in note
    assert same(snapshot(checkpoint), before)


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.fooocus.patch"])
def test_a_missing_file_is_an_error(tmp_path, model, name):
    with pytest.raises(CheckpointError, match="missing"):
        model.apply([Patch(tmp_path / name, 1.0)])


def test_a_file_that_only_pretends_is_an_error(tmp_path, model):
    (tmp_path / "bad.fooocus.patch").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"bad\.fooocus\.patch"):
        model.apply([Patch(tmp_path / "bad.fooocus.patch", 1.0)])


def test_one_note_names_the_file_whatever_the_number_of_weights(tmp_path, checkpoint, model):
    bases = [f"lora_unet_middle_block_1_transformer_blocks_0_attn1_to_{part}" for part in "qkv"]
    save_file({f"{base}.diff": torch.ones(3, 3) for base in bases}, tmp_path / "odd.safetensors")
    before = snapshot(checkpoint)
    (note,) = model.apply([Patch(tmp_path / "odd.safetensors", 1.0)])
    assert note.startswith("3 weights that odd.safetensors changes") and note.isprintable()
    assert same(snapshot(checkpoint), before)
    assert model.apply([Patch(tmp_path / "odd.safetensors", 1.0)]) == [note]


def test_a_lora_that_does_not_fit_takes_no_other_along(tmp_path, checkpoint, model):
    save_file(
        {f"{UNET_BASE}.lora_up.weight": torch.ones(3, 2), f"{UNET_BASE}.lora_down.weight": torch.ones(2, 3)},
        tmp_path / "odd.safetensors",
    )
    good = Patch(lora_file(tmp_path, checkpoint), 1.0)
    model.apply([good])
    alone = snapshot(checkpoint)
    (note,) = model.apply([Patch(tmp_path / "odd.safetensors", 1.0), good])
    assert "odd.safetensors" in note and same(snapshot(checkpoint), alone)


def test_a_file_with_values_that_are_no_numbers_is_named_and_left_out(tmp_path, checkpoint, model):
    path = lora_file(tmp_path, checkpoint, "nan")
    tensors = load_file(path)
    tensors[f"{UNET_BASE}.lora_up.weight"][0, 0] = torch.nan
    save_file(tensors, path)
    before = snapshot(checkpoint)
    (note,) = model.apply([Patch(path, 1.0)])
    assert "nan.safetensors is left out" in note and "lora_up" in note
    assert same(snapshot(checkpoint), before)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("oft_blocks", (2, 4, 4), "OFT"),
        ("oft_blocks", (2, 2, 4, 4), "BOFT"),
        ("on_input", (1,), "IA³"),
        ("lambda_layer", (1, 2), "T-LoRA"),
    ],
)
def test_a_kind_that_is_not_applied_is_named(tmp_path, checkpoint, model, name, shape, kind):
    save_file({f"{UNET_BASE}.{name}": torch.ones(shape)}, tmp_path / "other.safetensors")
    (note,) = model.apply([Patch(tmp_path / "other.safetensors", 1.0)])
    assert f"other.safetensors is left out: it is of the kind {kind}," in note


PEFT_BASE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    "base", [f"base_model.model.{PEFT_BASE}", f"base_model.model.unet.{PEFT_BASE}", PEFT_BASE, f"unet.{PEFT_BASE}"]
)
@pytest.mark.parametrize("adapter", ["", ".default"])
def test_pefts_names_change_the_weight_by_the_alpha_of_the_files_settings(tmp_path, checkpoint, model, base, adapter):
    weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    before = weight.clone()
    up, down = random(0, len(weight), 2), random(1, 2, weight.shape[1])
    tensors = {f"{base}.lora_B{adapter}.weight": up, f"{base}.lora_A{adapter}.weight": down}
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 8})}
    save_file(tensors, tmp_path / "peft.safetensors", metadata)
    assert model.apply([Patch(tmp_path / "peft.safetensors", 1.0)]) == []
    assert torch.allclose(weight, before + 4 * up @ down, atol=1e-5)


def test_rank_stabilised_settings_scale_by_the_root_of_the_rank(tmp_path, checkpoint, model):
    weight = dict(checkpoint.unet.named_parameters())[UNET_WEIGHT]
    before = weight.clone()
    up, down = random(0, len(weight), 4), random(1, 4, weight.shape[1])
    tensors = {f"unet.{PEFT_BASE}.lora_B.weight": up, f"unet.{PEFT_BASE}.lora_A.weight": down}
    settings = {"unet.lora_alpha": 1, "unet.use_rslora": True, "unet.alpha_pattern": {"attn1.to_q": 3}}
    save_file(tensors, tmp_path / "rs.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    assert model.apply([Patch(tmp_path / "rs.safetensors", 1.0)]) == []
    assert torch.allclose(weight, before + 1.5 * up @ down, atol=1e-5)


def test_a_lora_that_there_is_no_memory_for_is_none_that_does_not_fit(model, checkpoint, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(lora_formats, "patched", full)
    with pytest.raises(RuntimeError, match="ALLOC_FAILED"):
        model.apply([Patch(lora_file(tmp_path, checkpoint), 1.0)])
