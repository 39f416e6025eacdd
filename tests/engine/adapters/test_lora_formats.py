"""LoRA files of every format change the right weight by the right amount."""

import pytest
import torch

from engine.adapters.lora_formats import match, patched, text_bases, unet_bases
from engine.adapters.lora_names import usual

NAMES = {
    "down_blocks.0.attentions.0.to_q.weight": "input_blocks.1.1.to_q.weight",
    "conv_in.bias": "input_blocks.0.0.bias",
}
WEIGHT = "down_blocks.0.attentions.0.to_q.weight"


def rand(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def change(tensors, weight, strength=1.0):
    """What a file adds to the one weight it names."""
    found = match(tensors, unet_bases(NAMES))
    assert found.unmatched == []
    return patched(weight, [(strength, found.deltas[WEIGHT])]) - weight


@pytest.mark.parametrize(
    "base",
    [
        "lora_unet_input_blocks_1_1_to_q",
        "lora_unet_down_blocks_0_attentions_0_to_q",
        "down_blocks.0.attentions.0.processor.to_q",
        "unet.down_blocks.0.attentions.0.processor.to_q",
        "down_blocks.0.attentions.0.to_q",
        "diffusion_model.input_blocks.1.1.to_q",
        "input_blocks.1.1.to_q",
    ],
)
def test_every_spelling_of_a_name_finds_its_weight(base):
    up, down = rand(8, 2), rand(2, 6)
    tensors = {f"{base}.lora_up.weight": up, f"{base}.lora_down.weight": down, f"{base}.alpha": torch.tensor(1.0)}
    torch.testing.assert_close(change(tensors, rand(8, 6)), 0.5 * up @ down)


BASE = "lora_unet_input_blocks_1_1_to_q"


def test_without_alpha_the_factor_is_one():
    up, down = rand(8, 2), rand(2, 6)
    tensors = {f"{BASE}_lora.up.weight": up, f"{BASE}_lora.down.weight": down}
    torch.testing.assert_close(change(tensors, rand(8, 6), strength=-2.0), -2 * up @ down)


PEFT, DIFFUSERS = ("lora_B", "lora_A"), ("lora.up", "lora.down")


@pytest.mark.parametrize(("up_name", "down_name"), [PEFT, DIFFUSERS])
@pytest.mark.parametrize(("alpha", "factor"), [(None, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3, 3)])
def test_files_of_peft_and_newer_diffusers_change_what_the_usual_ones_do(up_name, down_name, alpha, factor, shape):
    base, kernel = "unet.down_blocks.0.attentions.0.to_q", shape[2:]
    up, down = rand(8, 2, *(1 for _ in kernel)), rand(2, 6, *kernel)
    tensors = {f"{base}.{up_name}.weight": up, f"{base}.{down_name}.weight": down}
    if alpha is not None:
        tensors[f"{base}.alpha"] = torch.tensor(alpha)
    expected = factor * torch.einsum("or,ri...->oi...", up.flatten(1), down)
    torch.testing.assert_close(change(tensors, rand(*shape)), expected)


@pytest.mark.parametrize(("up_name", "down_name"), [PEFT, DIFFUSERS])
def test_the_output_of_an_attention_keeps_its_number_in_newer_names(up_name, down_name):
    name, base = "mid_block.attentions.0.to_out.0.weight", "unet.mid_block.attentions.0.to_out.0"
    tensors = {f"{base}.{up_name}.weight": rand(8, 2), f"{base}.{down_name}.weight": rand(2, 8)}
    found = match(tensors, unet_bases({name: "middle_block.1.to_out.0.weight"}))
    assert list(found.deltas) == [name]
    assert found.unmatched == []


@pytest.mark.parametrize(("up_name", "down_name"), [PEFT, DIFFUSERS])
@pytest.mark.parametrize(("prefix", "encoder"), [("text_encoder", "clip_l"), ("text_encoder_2", "clip_g")])
def test_newer_names_reach_each_text_encoder(up_name, down_name, prefix, encoder):
    base = f"{prefix}.text_model.encoder.layers.1.self_attn.out_proj"
    up, down = rand(6, 2), rand(2, 6)
    tensors = {f"{base}.{up_name}.weight": up, f"{base}.{down_name}.weight": down}
    found = match(tensors, text_bases({"clip_l": 2, "clip_g": 2}))
    weight = f"{encoder}.encoder.layers.1.self_attn.out_proj.weight"
    assert list(found.deltas) == [weight]
    assert found.unmatched == []
    torch.testing.assert_close(found.deltas[weight](rand(6, 6)), up @ down)


@pytest.mark.parametrize("half", ["lora_A", "lora_B", "lora.up", "lora.down"])
def test_half_a_pair_changes_nothing_and_is_reported(half):
    key = f"unet.down_blocks.0.attentions.0.to_q.{half}.weight"
    found = match({key: rand(8, 2)}, unet_bases(NAMES))
    assert found.deltas == {}
    assert found.unmatched == [key]


def test_a_convolution_with_a_mid_tensor_contracts_it_into_the_down_tensor():
    up, down, middle = rand(8, 2, 1, 1), rand(2, 6, 1, 1), rand(2, 2, 3, 3)
    tensors = {
        f"{BASE}.lora_up.weight": up,
        f"{BASE}.lora_down.weight": down,
        f"{BASE}.lora_mid.weight": middle,
        f"{BASE}.alpha": torch.tensor(2.0),
    }
    expected = torch.einsum("oa,abuv,bi->oiuv", up[:, :, 0, 0], middle, down[:, :, 0, 0])
    torch.testing.assert_close(change(tensors, rand(8, 6, 3, 3)), expected)


def test_loha_multiplies_two_low_rank_products_elementwise():
    parts = {"w1_a": rand(8, 2), "w1_b": rand(2, 6), "w2_a": rand(8, 3)[:, :2], "w2_b": rand(3, 6)[:2]}
    tensors = {f"{BASE}.hada_{name}": part for name, part in parts.items()} | {f"{BASE}.alpha": torch.tensor(4.0)}
    expected = 2 * (parts["w1_a"] @ parts["w1_b"]) * (parts["w2_a"] @ parts["w2_b"])
    torch.testing.assert_close(change(tensors, rand(8, 6)), expected)


def test_lokr_is_a_kronecker_product_and_scales_only_a_factor_it_decomposed():
    w1, a, b = rand(2, 2), rand(4, 2), rand(2, 3)
    whole = {f"{BASE}.lokr_w1": w1, f"{BASE}.lokr_w2": a @ b, f"{BASE}.alpha": torch.tensor(1.0)}
    torch.testing.assert_close(change(whole, rand(8, 6)), torch.kron(w1, a @ b))
    split = {f"{BASE}.lokr_w1": w1, f"{BASE}.lokr_w2_a": a, f"{BASE}.lokr_w2_b": b, f"{BASE}.alpha": torch.tensor(1.0)}
    torch.testing.assert_close(change(split, rand(8, 6)), 0.5 * torch.kron(w1, a @ b))


def test_glora_sees_the_weight_it_changes():
    a1, a2, b1, b2 = rand(2, 6), rand(6, 2), rand(2, 6), rand(8, 2)
    tensors = {f"{BASE}.{name}.weight": part for name, part in {"a1": a1, "a2": a2, "b1": b1, "b2": b2}.items()}
    weight = rand(8, 6)
    torch.testing.assert_close(change(tensors, weight), b2 @ b1 + weight @ a2 @ a1)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3, 3)])
@pytest.mark.parametrize("axis", ["rows", "columns", "vector"])
def test_dora_brings_the_changed_weight_to_learnt_lengths(shape, axis):
    weight, ones = rand(*shape), (1,) * (len(shape) - 2)
    up, down = rand(8, 2, *ones), rand(2, 6, *shape[2:])
    magnitude = {"rows": rand(8, 1, *ones), "columns": rand(1, 6, *ones), "vector": rand(8)}[axis].abs()
    tensors = {f"{BASE}.lora_up.weight": up, f"{BASE}.lora_down.weight": down, f"{BASE}.dora_scale": magnitude}
    whole = weight + torch.einsum("or,ri...->oi...", up.flatten(1), down)
    others = [axis_ for axis_ in range(len(shape)) if axis_ != (1 if axis == "columns" else 0)]
    lengths = whole.square().sum(others, keepdim=True).sqrt()
    expected = magnitude.reshape(lengths.shape) * whole / lengths - weight
    torch.testing.assert_close(change(tensors, weight), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(change(tensors, weight, 0.5), 0.5 * expected, atol=1e-5, rtol=1e-4)


def test_pefts_magnitudes_of_a_square_convolution_are_of_rows():
    weight, up, down = rand(6, 6, 3, 3), rand(6, 2, 1, 1), rand(2, 6, 3, 3)
    magnitude = rand(1, 6, 1, 1).abs()
    pair = {f"{BASE}.lora_B.weight": up, f"{BASE}.lora_A.weight": down}
    given = change(usual(pair | {f"{BASE}.lora_magnitude_vector": magnitude}, {}), weight)
    rows = {f"{BASE}.lora_up.weight": up, f"{BASE}.lora_down.weight": down, f"{BASE}.dora_scale": magnitude.flatten()}
    torch.testing.assert_close(given, change(rows, weight))


def test_comfyuis_names_reach_the_text_encoders():
    bases = text_bases({"clip_l": 2, "clip_g": 3})
    name = "transformer.text_model.encoder.layers.1.mlp.fc1"
    assert bases[f"clip_g.{name}"] == "clip_g.encoder.layers.1.mlp.fc1.weight"


def test_a_full_difference_is_added_as_it_is_and_a_wrong_shape_is_refused():
    weight, difference = rand(8, 6), rand(8, 6)
    torch.testing.assert_close(change({f"{BASE}.diff": difference}, weight, 0.5), 0.5 * difference)
    found = match({f"{BASE}.diff": rand(3, 3)}, unet_bases(NAMES))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        patched(weight, [(1.0, found.deltas[WEIGHT])])


def test_the_sum_is_taken_in_single_precision_and_rounded_once():
    weight = torch.full((1, 1), 1.0, dtype=torch.float16)
    tiny = match({f"{BASE}.diff": torch.full((1, 1), 2**-12)}, unet_bases(NAMES)).deltas[WEIGHT]
    assert patched(weight, [(1.0, tiny)] * 4).item() == 1 + 2**-10


def test_text_encoder_names_of_both_encoders_are_found():
    bases = text_bases({"clip_l": 2, "clip_g": 3})
    assert bases["lora_te1_text_model_encoder_layers_1_mlp_fc1"] == "clip_l.encoder.layers.1.mlp.fc1.weight"
    assert (
        bases["lora_te2_text_model_encoder_layers_2_self_attn_q_proj"]
        == "clip_g.encoder.layers.2.self_attn.q_proj.weight"
    )
    assert bases["text_encoder_2.text_model.encoder.layers.0.mlp.fc2"] == "clip_g.encoder.layers.0.mlp.fc2.weight"


def test_what_fits_nothing_is_reported():
    tensors = {f"{BASE}.diff": rand(8, 6), "lora_unet_other.diff": rand(1)}
    assert match(tensors, unet_bases(NAMES)).unmatched == ["lora_unet_other.diff"]
