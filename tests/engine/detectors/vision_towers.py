"""A small CLIP vision tower of random weights, as a file."""

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

WIDTH, PROJECTED, PATCHES = 32, 24, 16


def vision_tensors(seed=0):
    """Its tensors: 3 layers of 1 head, pictures of 28×28 in patches of 7×7."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        projection_dim=PROJECTED,
        num_hidden_layers=3,
        num_attention_heads=1,
        image_size=28,
        patch_size=7,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = CLIPVisionModelWithProjection(config)
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(weight.shape, generator=generator) for name, weight in module.state_dict().items()}


def vision_file(path, tensors=None):
    """The path of a file with these tensors, position numbers beside them as older files have."""
    tensors = vision_tensors() if tensors is None else tensors
    numbers = {"vision_model.embeddings.position_ids": torch.arange(PATCHES + 1)[None]}
    save_file(tensors | numbers, path)
    return path
