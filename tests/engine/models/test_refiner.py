"""Refiners of the three kinds, told by what their UNets read."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

from benchmarks.make_checkpoint import SIZES, random_weights
from engine.adapters.interposer import Interposer, InterposerNetwork
from engine.errors import CheckpointError
from engine.files.detect import is_sd15
from engine.models import weight_names
from engine.models.checkpoint import load_checkpoint
from engine.models.refiner import load_refiner
from engine.models.unet import refiner_config

CPU = torch.device("cpu")
TINY = SIZES["tiny"]
LEFT, RIGHT = TINY.clip_l[0], TINY.clip_g[0]


@pytest.fixture(scope="module")
def encoders(toy):
    return load_checkpoint(toy, CPU).text_encoders


def saved(path, module, vae=None):
    """A single file with this UNet, and this VAE, in the original layout."""
    parts = {weight_names.UNET: weight_names.unet_to_ldm(module.state_dict())}
    if vae is not None:
        parts[weight_names.VAE] = weight_names.vae_to_ldm(vae.state_dict())
    tensors = {prefix + name: tensor.contiguous() for prefix, part in parts.items() for name, tensor in part.items()}
    save_file(tensors, path)
    return path


def sdxl_refiner():
    """Attention in the middle levels only, and in the middle; five numbers."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=2,
        cross_attention_dim=RIGHT,
        attention_head_dim=(1, 1, 1),
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=5 * 16 + RIGHT,
        use_linear_projection=True,
    )


def sd15():
    """Convolutional projections, eight heads, no pooled text and no sizes."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=LEFT,
        attention_head_dim=8,
    )


def tiny_vae():
    torch.manual_seed(1)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=8, **kinds)


@torch.inference_mode()
def output(unet, width, numbers=None):
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(1, 4, 16, 16, generator=generator), torch.randn(1, 7, width, generator=generator)
    told = {}
    if numbers:
        told = {"text_embeds": torch.ones(1, RIGHT), "time_ids": torch.arange(float(numbers))[None]}
    return unet(x, torch.tensor(500.0), encoder_hidden_states=context, added_cond_kwargs=told).sample


def test_a_second_base_model_gives_its_unet(toy, encoders):
    refiner = load_refiner(toy, CPU, encoders)
    assert (refiner.kind, refiner.vae, refiner.prediction) == ("sdxl", None, "eps")
    assert refiner.size == sum(weight.nbytes for weight in refiner.unet.parameters())


def test_sdxls_refiner_is_the_network_of_its_file(tmp_path, encoders):
    theirs = sdxl_refiner()
    refiner = load_refiner(saved(tmp_path / "refiner.safetensors", theirs), CPU, encoders)
    assert (refiner.kind, refiner.vae) == ("sdxl_refiner", None) and not is_sd15(refiner.path)
    assert torch.allclose(output(refiner.unet, RIGHT, 5), output(theirs, RIGHT, 5), atol=1e-5)


def test_sd15_is_the_network_of_its_file_and_keeps_its_vae(tmp_path, encoders):
    theirs = sd15()
    refiner = load_refiner(saved(tmp_path / "sd15.safetensors", theirs, tiny_vae()), CPU, encoders)
    assert refiner.kind == "sd15" and refiner.vae is not None and is_sd15(refiner.path)
    assert torch.allclose(output(refiner.unet, LEFT), output(theirs, LEFT), atol=1e-5)


LEVEL = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
PLAIN = ("DownBlock2D", "UpBlock2D")
PUBLIC = {
    "SD 1.5": (
        {
            "block_out_channels": (320, 640, 1280, 1280),
            "transformer_layers_per_block": 1,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        (LEVEL, LEVEL, LEVEL, PLAIN),
        686,
    ),
    "SDXL's refiner": (
        {
            "block_out_channels": (384, 768, 1536, 1536),
            "transformer_layers_per_block": 4,
            "cross_attention_dim": 1280,
            "attention_head_dim": (6, 12, 24, 24),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2560,
            "use_linear_projection": True,
        },
        (PLAIN, LEVEL, LEVEL, PLAIN),
        1220,
    ),
}
"""The published settings of the two, their levels, and how many tensors a UNet of each has."""


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_refiners_settings_are_read_off_their_layout(name):
    settings, levels, count = PUBLIC[name]
    down, up = [level[0] for level in levels], [level[1] for level in reversed(levels)]
    with torch.device("meta"):
        theirs = UNet2DConditionModel(down_block_types=tuple(down), up_block_types=tuple(up), **settings)
        tensors = weight_names.unet_to_ldm(theirs.state_dict())
        # The lowest level has no attention, so its upsampler comes first behind the resnet.
        assert {"output_blocks.2.1.conv.weight", "output_blocks.5.2.conv.weight", "input_blocks.9.0.op.bias"} <= set(
            tensors
        )
        assert len(tensors) == count
        ours = UNet2DConditionModel(**refiner_config(tensors, 1280))
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == {
        name: tensor.shape for name, tensor in theirs.state_dict().items()
    }
    heads = [
        [module.heads for module in unet.modules() if hasattr(module, "heads") and hasattr(module, "to_q")]
        for unet in (ours, theirs)
    ]
    assert heads[0] == heads[1]


def test_a_unet_that_reads_other_texts_is_refused_with_what_would_fit(tmp_path, encoders):
    stranger = sd15()
    path = saved(tmp_path / "wide.safetensors", stranger, tiny_vae())
    tensors = {name: tensor for name, tensor in random_weights(SIZES["mini"]) if name.startswith(weight_names.UNET)}
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=rf"wide\.safetensors.*192 wide.*{LEFT + RIGHT} \(SDXL\)"):
        load_refiner(path, CPU, encoders)


def test_an_interposer_is_the_network_of_its_file(tmp_path):
    torch.manual_seed(0)
    network = InterposerNetwork().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    save_file(network.state_dict(), tmp_path / "interposer.safetensors")
    interposer = Interposer.load(tmp_path / "interposer.safetensors", CPU)
    latent = torch.randn(1, 4, 6, 10)
    with torch.inference_mode():
        expected = network(latent)
    assert torch.allclose(interposer(latent), expected, atol=1e-5)
    assert interposer(latent).shape == latent.shape and interposer.size > 0


def test_the_interposers_names_are_those_of_its_public_file():
    names = set(InterposerNetwork().state_dict())
    assert {"head.short.weight", "head.long.0.weight", "head.long.4.bias", "core.1.norm.running_mean"} <= names
    assert {"core.12.long.2.weight", "core.13.weight", "tail.bias"} <= names
