"""Write a checkpoint of random weights in the original single-file layout: full SDXL size, the miniature's, or smaller.

    python -m benchmarks.make_checkpoint /tmp/sdxl.safetensors            6.9 GB, fp16
    python -m benchmarks.make_checkpoint /tmp/tiny.safetensors --tiny     a few MB, for tests

Matrices are normal with variance 1/fan-in, biases 0, norms 1, embeddings 0.02: activations neither vanish nor
overflow fp16, so the time and memory it takes are those of a trained file. The pictures are noise.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.models import weight_names
from engine.models.unet import heads, norm_groups

VOCABULARY = 49408


@dataclass(frozen=True)
class Size:
    """The sizes of all four parts: UNet levels with their transformer depths, VAE levels, text encoders."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    layers: int
    time_numbers: int
    vae_widths: tuple[int, ...]
    vae_layers: int
    vae_attention: bool
    clip_l: tuple[int, int]
    clip_g: tuple[int, int]


SIZES = {
    "sdxl": Size((320, 640, 1280), (0, 2, 10), 2, 256, (128, 256, 512, 512), 2, True, (768, 12), (1280, 32)),
    "mini": Size((40, 64, 128, 192), (0, 0, 1, 1), 1, 256, (16, 32, 64, 84), 1, False, (64, 3), (128, 3)),
    "narrow": Size((64, 128, 256), (0, 2, 10), 2, 256, (32, 64, 128, 128), 2, True, (768, 3), (1280, 3)),
    "tiny": Size((32, 64), (0, 1), 1, 16, (8, 8, 16, 16), 1, False, (16, 3), (32, 2)),
}


def unet_module(size: Size) -> UNet2DConditionModel:
    """The UNet of a size."""
    down = tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in size.depths)
    return UNet2DConditionModel(
        block_out_channels=size.widths,
        layers_per_block=size.layers,
        down_block_types=down,
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        transformer_layers_per_block=tuple(max(1, depth) for depth in size.depths),
        cross_attention_dim=size.clip_l[0] + size.clip_g[0],
        attention_head_dim=tuple(heads(width) for width in size.widths),
        norm_num_groups=norm_groups(size.widths),
        addition_embed_type="text_time",
        addition_time_embed_dim=size.time_numbers,
        projection_class_embeddings_input_dim=6 * size.time_numbers + size.clip_g[0],
        use_linear_projection=True,
    )


def vae_module(size: Size) -> AutoencoderKL:
    """The VAE of a size."""
    return AutoencoderKL(
        block_out_channels=size.vae_widths,
        down_block_types=("DownEncoderBlock2D",) * len(size.vae_widths),
        up_block_types=("UpDecoderBlock2D",) * len(size.vae_widths),
        layers_per_block=size.vae_layers,
        norm_num_groups=norm_groups(size.vae_widths),
        mid_block_add_attention=size.vae_attention,
    )


def clip_settings(width: int, layers: int, activation: str) -> CLIPTextConfig:
    """The settings of a text encoder of this width and depth."""
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads(width),
        projection_dim=width,
        hidden_act=activation,
        eos_token_id=VOCABULARY - 1,
    )


def layout(size: Size) -> dict[str, Tensor]:
    """Every tensor of a checkpoint of this size, on the meta device."""
    with torch.device("meta"):
        parts: tuple[Any, ...] = (
            unet_module(size),
            vae_module(size),
            CLIPTextModel(clip_settings(*size.clip_l, "quick_gelu")),
            CLIPTextModelWithProjection(clip_settings(*size.clip_g, "gelu")),
        )
        return weight_names.checkpoint_of(*(part.state_dict() for part in parts))


def random_weights(size: Size, seed: int = 0, device: str = "cpu") -> Iterator[tuple[str, Tensor]]:
    """Name and fp16 tensor of each of the checkpoint's weights, on the CPU."""
    generator = torch.Generator(device).manual_seed(seed)
    for name, meta in layout(size).items():
        yield name, random_of(name, tuple(meta.shape), generator).half().cpu()


def random_of(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    device = generator.device
    if name.endswith("bias"):
        return torch.zeros(shape, device=device)
    if "embedding" in name:
        return torch.randn(shape, generator=generator, device=device) * 0.02
    if len(shape) == 1:
        return torch.ones(shape, device=device)
    fan_in = math.prod(shape[1:])
    return torch.randn(shape, generator=generator, device=device) / math.sqrt(fan_in)


def write(path: Path, size: Size, seed: int = 0) -> int:
    """Write the checkpoint; gives its length in bytes."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    save_file(dict(random_weights(size, seed, device)), path)
    return path.stat().st_size


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a checkpoint of random weights.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a few MB instead of SDXL's 6.9 GB")
    parser.add_argument("--size", choices=SIZES, default="sdxl")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    length = write(arguments.path, SIZES["tiny" if arguments.tiny else arguments.size], arguments.seed)
    print(f"{arguments.path}: {length / 1e9:.2f} GB in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
