"""A small captioner of random weights, in a file as BLIP's own."""

from __future__ import annotations

import torch
from transformers import BlipConfig, BlipForConditionalGeneration

SIDE, WORDS = 32, 30524


def write_captioner(path):
    """The captioner's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = blip_names(small_captioner().state_dict())
    tensors["text_decoder.bert.embeddings.position_ids"] = torch.arange(96)[None]
    torch.save({"model": tensors}, path)
    return path


def small_captioner():
    """A captioner of random weights in the library's words."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = BlipConfig(
        vision_config=sizes | {"image_size": SIDE, "patch_size": 16, "layer_norm_eps": 1e-6},
        text_config=sizes | {"vocab_size": WORDS, "encoder_hidden_size": 64, "max_position_embeddings": 96},
    )
    torch.manual_seed(3)
    return BlipForConditionalGeneration(config).eval()


def blip_names(weights):
    """The same tensors as BLIP's own file calls them."""
    pairs = (
        ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
        ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
        ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
        ("vision_model.post_layernorm", "visual_encoder.norm"),
        ("vision_model.encoder.layers", "visual_encoder.blocks"),
        ("self_attn.projection", "attn.proj"),
        ("self_attn.qkv", "attn.qkv"),
        ("layer_norm", "norm"),
    )
    named = {}
    for name, tensor in weights.items():
        if name.startswith("vision_model."):
            for ours, theirs in pairs:
                name = name.replace(ours, theirs)
        named[name] = tensor.clone()
    return named
