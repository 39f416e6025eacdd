"""Weight names survive the way into a checkpoint and back, and agree with the library's own converter."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.models import weight_names


def unet(levels, layers, attention_from):
    """A UNet of `levels` levels with attention in all levels from `attention_from` on."""
    down = ["CrossAttnDownBlock2D" if level >= attention_from else "DownBlock2D" for level in range(levels)]
    return UNet2DConditionModel(
        block_out_channels=tuple(32 * (level + 1) for level in range(levels)),
        layers_per_block=layers,
        down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        transformer_layers_per_block=[1 + level % 2 for level in range(levels)],
        cross_attention_dim=48,
        attention_head_dim=1,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=16 * 6 + 32,
        use_linear_projection=True,
    ).state_dict()


def vae(widths, layers, attention):
    levels = len(widths)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=layers,
        norm_num_groups=8,
        mid_block_add_attention=attention,
    ).state_dict()


def clip_config():
    return CLIPTextConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=1, intermediate_size=32, projection_dim=16
    )


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


SHAPES = pytest.mark.parametrize(("levels", "layers", "attention_from"), [(3, 2, 1), (4, 1, 2), (2, 1, 0), (3, 3, 3)])


@SHAPES
def test_a_unet_of_any_shape_comes_back_from_a_checkpoint(levels, layers, attention_from):
    weights = unet(levels, layers, attention_from)
    assert same(weight_names.unet_from_ldm(weight_names.unet_to_ldm(weights)), weights)


def test_unet_names_are_those_the_library_reads():
    weights = unet(3, 2, 1)
    checkpoint = {weight_names.UNET + name: tensor for name, tensor in weight_names.unet_to_ldm(weights).items()}
    config = {"layers_per_block": 2, "addition_embed_type": "text_time", "class_embed_type": None}
    assert same(single_file_utils.convert_ldm_unet_checkpoint(checkpoint, config), weights)


@pytest.mark.parametrize(
    ("widths", "layers", "attention"), [((8, 16, 16), 2, True), ((8, 8, 16, 16), 1, False), ((8, 16), 3, True)]
)
def test_a_vae_of_any_shape_comes_back_and_is_what_the_library_reads(widths, layers, attention):
    weights = vae(widths, layers, attention)
    ldm = weight_names.vae_to_ldm(weights)
    assert same(weight_names.vae_from_ldm(ldm), weights)
    checkpoint = {weight_names.VAE + name: tensor for name, tensor in ldm.items()}
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
    }
    library = single_file_utils.convert_ldm_vae_checkpoint(checkpoint, config)
    single_file_utils.conv_attn_to_linear(library)
    assert same(library, weights)


def test_a_vae_in_diffusers_names_passes_as_it_is():
    weights = vae((8, 16), 1, True)
    assert same(weight_names.vae_from_ldm(weights), weights)


def test_clip_g_is_fused_and_transposed_on_the_way_out_and_comes_back():
    weights = CLIPTextModelWithProjection(clip_config()).state_dict()
    openclip = weight_names.clip_g_to_openclip(weights)
    assert openclip["transformer.resblocks.1.attn.in_proj_weight"].shape == (48, 16)
    assert torch.equal(openclip["text_projection"], weights["text_projection.weight"].t())
    assert same(weight_names.clip_g_from_openclip(openclip), weights)
    assert same(weight_names.clip_g_from_openclip({**openclip, "logit_scale": torch.ones(())}), weights)


def test_a_checkpoint_has_the_names_of_the_original_layout():
    whole = weight_names.checkpoint_of(
        unet(3, 2, 1),
        vae((8, 16), 1, True),
        CLIPTextModel(clip_config()).state_dict(),
        CLIPTextModelWithProjection(clip_config()).state_dict(),
    )
    for name in (
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "model.diffusion_model.label_emb.0.2.bias",
        "first_stage_model.decoder.up.1.upsample.conv.weight",
        "conditioner.embedders.0.transformer.text_model.encoder.layers.1.mlp.fc1.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias",
        "conditioner.embedders.1.model.text_projection",
    ):
        assert name in whole


def test_a_name_of_no_known_part_is_an_error():
    with pytest.raises(KeyError, match="strange"):
        weight_names.unet_to_ldm({**unet(2, 1, 0), "strange.weight": torch.ones(1)})
