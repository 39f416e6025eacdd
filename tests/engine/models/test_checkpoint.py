"""Checkpoints of several shapes through the one loader, and those it refuses."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.make_checkpoint import SIZES, layout, random_weights, unet_module, vae_module
from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.gpu.residency import Residency
from engine.models import weight_names
from engine.models.checkpoint import load_checkpoint, load_vae, read_tensors
from engine.models.fill import weights_size
from engine.models.unet import unet_config
from engine.models.vae import vae_config

CPU = torch.device("cpu")
TINY = SIZES["tiny"]
SHAPES = {
    "two levels, attention below": TINY,
    "three levels as SDXL, two layers, VAE attention": replace(
        TINY, widths=(32, 64, 64), depths=(0, 2, 1), layers=2, vae_layers=2, vae_attention=True
    ),
    "four levels as the miniature": replace(TINY, widths=(16, 32, 32, 64), depths=(0, 0, 1, 1)),
}


@pytest.fixture
def tensors(toy):
    """The toy checkpoint's tensors, to be spoilt."""
    return load_file(toy)


def saved(path, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_come_from_the_tensors(tmp_path, shape):
    size = SHAPES[shape]
    weights = dict(random_weights(size))
    checkpoint = load_checkpoint(saved(tmp_path / "a.safetensors", weights), CPU)
    for module, expected in ((checkpoint.unet, unet_module(size)), (checkpoint.vae.module, vae_module(size))):
        for setting in ("block_out_channels", "layers_per_block", "norm_num_groups"):
            found, wanted = module.config[setting], expected.config[setting]
            assert found == wanted or set(found) == {wanted}
    assert checkpoint.unet.config.cross_attention_dim == size.clip_l[0] + size.clip_g[0]
    assert (checkpoint.text_encoders.clip_l.layers, checkpoint.text_encoders.clip_g.layers) == (3, 2)
    ours = weight_names.unet_to_ldm(checkpoint.unet.state_dict())
    assert all(torch.equal(tensor, weights[weight_names.UNET + name].float()) for name, tensor in ours.items())


def test_a_full_size_sdxl_layout_gives_sdxls_settings():
    tensors = layout(SIZES["sdxl"])
    unet = {name: tensors[weight_names.UNET + name] for name in weight_names.part_of(tensors, weight_names.UNET)}
    config = unet_config(unet, 1280)
    assert config["block_out_channels"] == (320, 640, 1280)
    assert config["transformer_layers_per_block"] == (1, (2, 2), (10, 10))
    assert config["attention_head_dim"] == (5, 10, 20)
    assert (config["cross_attention_dim"], config["projection_class_embeddings_input_dim"]) == (2048, 2816)
    assert (config["addition_time_embed_dim"], config["norm_num_groups"]) == (256, 32)
    vae = weight_names.vae_from_ldm(
        {name: tensors[weight_names.VAE + name] for name in weight_names.part_of(tensors, weight_names.VAE)}
    )
    assert vae_config(vae)["block_out_channels"] == (128, 256, 512, 512)
    assert vae_config(vae)["mid_block_add_attention"]


def test_a_lighter_unet_with_uneven_depths_and_a_plain_middle_loads(tmp_path):
    """SSD-1B and Segmind Vega have fewer transformer blocks going up, and none in the middle."""
    weights = dict(random_weights(replace(TINY, widths=(32, 64), depths=(0, 2))))
    gone = ("middle_block.1.", "middle_block.2.", "output_blocks.1.1.transformer_blocks.1.")
    weights = {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith(tuple(weight_names.UNET + g for g in gone))
    }
    unet = load_checkpoint(saved(tmp_path / "a.safetensors", weights), CPU).unet
    assert [len(part.transformer_blocks) for part in unet.up_blocks[0].attentions] == [2, 1]
    assert not unet.mid_block.attentions or unet.mid_block.attentions[0] is None


def test_prediction_is_of_the_velocity_when_the_file_says_so(toy, tensors, tmp_path):
    assert load_checkpoint(toy, CPU).prediction == "eps"
    velocity = saved(tmp_path / "v.safetensors", {**tensors, "v_pred": torch.tensor([])})
    assert load_checkpoint(velocity, CPU).prediction == "v"


def test_a_torch_file_gives_the_same_weights(toy, tensors, tmp_path):
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.ckpt")
    first, second = load_checkpoint(toy, CPU), load_checkpoint(tmp_path / "a.ckpt", CPU)
    assert torch.equal(first.unet.conv_in.weight, second.unet.conv_in.weight)


def test_a_torch_file_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"x": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: not a readable model file"):
        read_tensors(tmp_path / "a.ckpt")


def test_trainers_left_overs_refuse_no_good_file(toy, tensors, tmp_path, caplog):
    beside = {
        weight_names.CLIP_L + "embeddings.position_ids": torch.arange(77)[None],
        weight_names.VAE + "loss.logvar": torch.ones(1),
        weight_names.VAE + "model_ema.decay": torch.ones(1),
        weight_names.UNET + "scaled_fp8": torch.zeros(0),
        "model_ema.decay": torch.ones(1),
    }
    path = saved(tmp_path / "trained.safetensors", {**tensors, **beside})
    with caplog.at_level("INFO"):
        checkpoint = load_checkpoint(path, CPU)
    assert torch.equal(checkpoint.unet.conv_in.weight, load_checkpoint(toy, CPU).unet.conv_in.weight)
    assert "5 tensors are no weights" in caplog.text


@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale"])
def test_scales_of_eight_bit_floats_are_applied(tensors, tmp_path, scale):
    name = weight_names.UNET + "time_embed.0.weight"
    small = {**tensors, name: (tensors[name].float() / 0.5).to(torch.float8_e4m3fn)}
    small[name.replace("weight", scale)] = torch.tensor(0.5)
    small[name.replace("weight", "scale_input")] = torch.tensor(1.0)
    unet = load_checkpoint(saved(tmp_path / "fp8.safetensors", small), CPU).unet
    assert torch.equal(unet.time_embedding.linear_1.weight, small[name].float() * 0.5)


def test_a_checkpoint_without_a_vae_loads_where_another_file_brings_one(tensors, tmp_path):
    path = saved(tmp_path / "bare.safetensors", REFUSED["no VAE"](tensors))
    checkpoint = load_checkpoint(path, CPU, needs_vae=False)
    assert checkpoint.own_vae is None and checkpoint.size > 0
    with pytest.raises(CheckpointError, match=r"bare\.safetensors .* vae_name"):
        checkpoint.vae  # noqa: B018


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"<html>", b"\x08\0\0\0\0\0\0\0nonsense", b"PK\3\4"])
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_a_broken_file_is_told_in_one_plain_line(tmp_path, content, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    for load in (read_tensors, lambda path: load_checkpoint(path, CPU), lambda path: load_vae(path, CPU)):
        with pytest.raises(CheckpointError, match=rf"broken\.{suffix}") as caught:
            load(path)
        text = str(caught.value)
        assert text.isprintable() and "weights_only" not in text and "Error" not in text


def with_inputs(tensors, channels):
    return {**tensors, weight_names.UNET + "input_blocks.0.0.weight": torch.zeros(32, channels, 3, 3)}


REFUSED = {
    "inpainting UNet with 9": lambda tensors: with_inputs(tensors, 9),
    "takes 8 channels": lambda tensors: with_inputs(tensors, 8),
    "SD 1.x or 2.x": lambda tensors: {n: t for n, t in tensors.items() if "label_emb" not in n},
    "a file of weights of another kind": lambda tensors: {
        n: t for n, t in tensors.items() if not n.startswith(weight_names.UNET)
    },
    "no VAE": lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(weight_names.VAE)},
    "two text encoders": lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(weight_names.CLIP_L)},
    "lacks 1 tensor": lambda tensors: {n: t for n, t in tensors.items() if n != weight_names.UNET + "out.2.bias"},
    "no known part": lambda tensors: {**tensors, weight_names.UNET + "extra.weight": torch.ones(1)},
    "size embedding does not fit": lambda tensors: {
        **tensors,
        weight_names.UNET + "label_emb.0.0.weight": torch.zeros(128, 31),
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_unfit_checkpoint_is_refused_by_name_and_reason(tensors, tmp_path, reason):
    path = saved(tmp_path / "unfit.safetensors", REFUSED[reason](tensors))
    with pytest.raises(CheckpointError, match=r"unfit\.safetensors") as caught:
        load_checkpoint(path, CPU)
    assert reason in str(caught.value)


def test_a_vae_file_is_read_in_every_layout(tmp_path):
    other = {name: tensor for name, tensor in random_weights(TINY, seed=5) if name.startswith(weight_names.VAE)}
    bare = {name.removeprefix(weight_names.VAE): tensor for name, tensor in other.items()}
    for name, tensors in (("prefixed", other), ("bare", bare), ("diffusers", weight_names.vae_from_ldm(bare))):
        path = saved(tmp_path / f"{name}.safetensors", tensors)
        vae = load_vae(path, CPU)
        assert torch.equal(vae.module.decoder.conv_in.weight, bare["decoder.conv_in.weight"].float())
    with pytest.raises(CheckpointError, match=r"toy\.txt"):
        load_vae(tmp_path / "toy.txt", CPU)


def test_a_processor_computes_in_fp32_everywhere(toy):
    checkpoint = load_checkpoint(toy, CPU)
    assert Precision.for_device(CPU) == Precision(torch.float32, torch.float32, torch.float32)
    drawing, reading = (checkpoint.unet, checkpoint.vae.module), checkpoint.text_encoders.clip_g.module
    assert {weight.dtype for module in drawing for weight in module.parameters()} == {torch.float32}
    read = reading(torch.tensor([[0, 1, 2]]))
    assert {value.dtype for value in (*read.states, read.final, read.pooled)} == {torch.float32}
    assert not any(weight.requires_grad for module in (*drawing, reading) for weight in module.parameters())


FORMATS = {
    "usual": Precision(torch.float16, torch.float16, torch.bfloat16),
    "texts in fp32": Precision(torch.float16, torch.float32, torch.float32, text=torch.float32),
    "UNet in 8 bits": Precision(torch.float8_e4m3fn, torch.float16, torch.bfloat16),
    "VAE on the processor": Precision(torch.float16, torch.float16, torch.float32, vae_on_processor=True),
}


@pytest.mark.parametrize("precision", FORMATS.values(), ids=FORMATS)
def test_where_a_checkpoint_is_loaded_is_decided_by_what_it_takes_there(toy, precision):
    residency, asked = Residency(torch.device("cpu")), []
    residency.crowded = lambda parts: bool(asked.append(parts)) or True
    checkpoint = load_checkpoint(toy, torch.device("cpu"), precision=precision, residency=residency)
    unet, texts, *vae = (weights_size(*modules) for modules in checkpoint.modules)
    [parts] = asked
    assert parts.unet == pytest.approx(unet, rel=0.02)  # vectors are never in 8 bits
    assert (parts.text_encoders, parts.vae) == (texts, vae[0] if vae else 0)
    assert bool(vae) != precision.vae_on_processor
