"""Random model files of every kind a parity case needs, under the real files' names, layouts and (for SDXL) shapes.

Matrices are normal with variance 1/fan-in, as in `make_checkpoint`. Where a real file would change a picture visibly
a random one has to as well, or a case could not tell whether it was read; the strengths below are chosen for that.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, GPT2Config, GPT2LMHeadModel

from benchmarks.make_checkpoint import Size, layout, random_weights
from engine import required_files

BASE, SECOND = "base.safetensors", "second.safetensors"
LORAS = ("style.safetensors", "sdxl_lcm_lora.safetensors")
EMBEDDING = "parity.safetensors"
UNET = "model.diffusion_model."
ENCODER = ("input_blocks.", "middle_block.", "time_embed.", "label_emb.")
CLOSE_POSTERIOR = -30.0
"""Logarithm of the variance of encoded pictures: a trained VAE's is as good as nothing, a random one's would be 1."""
LATENT_SPREAD = 1 / 0.13025
"""Of encoded pictures, before the model's scale; without it a picture would drown in the noise it is given."""
HINT_WIDTHS = (16, 32, 96, 256)
VISION_WIDTH, IMAGE_TOKENS, RESAMPLER_WIDTH, RESAMPLER_LAYERS = 1280, 16, 1280, 4


class Random:
    """Normal tensors from a seed, made on the GPU if there is one."""

    def __init__(self, seed: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def normal(self, *shape: int, spread: float = 1.0) -> Tensor:
        """fp16 on the CPU."""
        made = torch.randn(shape, generator=self.generator, device=self.device) * spread
        return made.half().cpu()

    def matrix(self, *shape: int, strength: float = 1.0) -> Tensor:
        """A layer's weight: its output is `strength` times as large as its input."""
        return self.normal(*shape, spread=strength / math.sqrt(math.prod(shape[1:])))

    def bytes(self, *shape: int) -> Tensor:
        """Uniform uint8."""
        made = torch.randint(0, 256, shape, generator=self.generator, device=self.device, dtype=torch.uint8)
        return made.cpu()


def unet_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """The shape of every UNet weight of this size, without the checkpoint's prefix."""
    found = layout(size).items()
    return {name.removeprefix(UNET): tuple(like.shape) for name, like in found if name.startswith(UNET)}


def write_checkpoint(path: Path, size: Size, seed: int) -> None:
    """A checkpoint whose VAE encodes a picture to one latent of the usual spread, every time the same."""
    tensors = dict(random_weights(size, seed, Random(0).device))
    prefix = "first_stage_model.quant_conv"
    weight, bias = tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"]
    channels = len(bias) // 2
    weight[:channels] *= LATENT_SPREAD
    weight[channels:] = 0
    bias[channels:] = CLOSE_POSTERIOR
    save_file(tensors, path)


def write_lora(path: Path, size: Size, seed: int, rank: int = 16, strength: float = 0.15) -> None:
    """A kohya-style LoRA of every attention projection, as strong as a trained one."""
    random, found = Random(seed), {}
    for name, shape in unet_shapes(size).items():
        if not re.fullmatch(r".*\.attn\d\.\S+\.weight", name):
            continue
        key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        found[f"{key}.lora_up.weight"] = random.normal(shape[0], rank, spread=strength / math.sqrt(rank))
        found[f"{key}.lora_down.weight"] = random.matrix(rank, shape[1])
        found[f"{key}.alpha"] = torch.tensor(float(rank))
    save_file(found, path)


def write_inpaint_head(path: Path, size: Size, seed: int) -> None:
    """The convolution that tells the UNet what to repaint."""
    torch.save({"head": Random(seed).matrix(size.widths[0], 5, 3, 3).float()}, path)


def write_inpaint_patch(path: Path, size: Size, seed: int, strength: float = 0.2) -> None:
    """Differences of every other weight matrix, in bytes between two ends."""
    random, found = Random(seed), {}
    matrices = [(name, shape) for name, shape in unet_shapes(size).items() if len(shape) > 1]
    for name, shape in matrices[::2]:
        end = torch.tensor(strength * math.sqrt(3 / math.prod(shape[1:])))
        found[f"diffusion_model.{name}"] = (random.bytes(*shape), -end, end)
    torch.save(found, path)


def write_control(path: Path, size: Size, seed: int, rank: int = 128) -> None:
    """A control net as products of low rank, with its own hint reader and 1×1 layers."""
    random, found = Random(seed), {"lora_controlnet": torch.zeros(0)}
    for name, shape in unet_shapes(size).items():
        if not name.startswith(ENCODER) or len(shape) < 2:
            continue
        stem, inner = name.removesuffix(".weight"), min(rank, *shape[:2])
        ends = (1, 1) if len(shape) == 4 else ()
        found[f"{stem}.up"] = random.normal(shape[0], inner, *ends, spread=0.3 / math.sqrt(inner))
        found[f"{stem}.down"] = random.matrix(inner, *shape[1:])
    for name, shape in control_shapes(size).items():
        strength = 0.5 if name.startswith(("zero_convs", "middle")) else math.sqrt(2)
        found[f"{name}.weight"] = random.matrix(*shape, strength=strength)
        found[f"{name}.bias"] = random.normal(shape[0], spread=0.05)
    save_file(found, path)


def control_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """The weights that a control net has beside the UNet's: the hint's reader, a 1×1 layer for every skip."""
    with torch.device("meta"):
        reader = ControlNetConditioningEmbedding(size.widths[0], 3, HINT_WIDTHS)
    layers = (reader.conv_in, *reader.blocks, reader.conv_out)
    found = {f"input_hint_block.{2 * n}": tuple(layer.weight.shape) for n, layer in enumerate(layers)}
    for n, width in enumerate(_skips(size)):
        found[f"zero_convs.{n}.0"] = width, width, 1, 1
    found["middle_block_out.0"] = size.widths[-1], size.widths[-1], 1, 1
    return found


def _skips(size: Size) -> Iterator[int]:
    yield size.widths[0]
    for level, width in enumerate(size.widths):
        yield from [width] * (size.layers + (level + 1 < len(size.widths)))


def write_adapter(path: Path, size: Size, seed: int) -> None:
    """An image-prompt adapter of the plus kind, its projections in the order adapters number them."""
    random, context = Random(seed), size.clip_l[0] + size.clip_g[0]
    layers = {}
    for n, width in enumerate(_cross_attentions(size)):
        for part, strength in (("k", 1.0), ("v", 2.0)):
            layers[f"{2 * n + 1}.to_{part}_ip.weight"] = random.matrix(width, context, strength=strength)
    torch.save({"image_proj": resampler(random, context), "ip_adapter": layers}, path)


def _cross_attentions(size: Size) -> Iterator[int]:
    """The width of every cross-attention: down, up, middle."""
    down = [(width, depth) for width, depth in zip(size.widths, size.depths, strict=True) if depth]
    for width, depth in down:
        yield from [width] * (depth * size.layers)
    for width, depth in reversed(down):
        yield from [width] * (depth * (size.layers + 1))
    yield from [size.widths[-1]] * size.depths[-1]


def resampler(random: Random, context: int) -> dict[str, Tensor]:
    """What makes image tokens of a vision tower's output."""
    width = RESAMPLER_WIDTH
    found = {
        "latents": random.normal(1, IMAGE_TOKENS, width),
        "proj_in.weight": random.matrix(width, VISION_WIDTH),
        "proj_out.weight": random.matrix(context, width),
    }
    norms = {"norm_out": context}
    found |= {"proj_in.bias": random.normal(width, spread=0.02), "proj_out.bias": random.normal(context, spread=0.02)}
    for n in range(RESAMPLER_LAYERS):
        found[f"layers.{n}.0.to_q.weight"] = random.matrix(width, width)
        found[f"layers.{n}.0.to_kv.weight"] = random.matrix(2 * width, width)
        found[f"layers.{n}.0.to_out.weight"] = random.matrix(width, width)
        found[f"layers.{n}.1.1.weight"] = random.matrix(4 * width, width)
        found[f"layers.{n}.1.3.weight"] = random.matrix(width, 4 * width)
        norms |= {f"layers.{n}.{part}": width for part in ("0.norm1", "0.norm2", "1.0")}
    for name, wide in norms.items():
        found[f"{name}.weight"] = 1 + random.normal(wide, spread=0.1)
        found[f"{name}.bias"] = random.normal(wide, spread=0.1)
    return found


def write_negative(path: Path, size: Size, seed: int) -> None:
    """The image tokens of no picture."""
    save_file({"data": Random(seed).normal(1, IMAGE_TOKENS, size.clip_l[0] + size.clip_g[0])}, path)


def write_vision(path: Path, size: Size, seed: int) -> None:
    """The vision tower ViT-H/14, whatever the checkpoint's size: the layer count is how a program knows the kind."""
    random = Random(seed)
    config = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=4 * VISION_WIDTH,
        projection_dim=1024,
        num_hidden_layers=32,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        hidden_act="gelu",
    )
    with torch.device("meta"):
        shapes = {name: tuple(like.shape) for name, like in CLIPVisionModelWithProjection(config).state_dict().items()}
    assert "vision_model.encoder.layers.30.layer_norm1.weight" in shapes
    save_file({name: transformer_weight(random, name, shape) for name, shape in shapes.items()}, path)


def write_expansion(path: Path, size: Size, seed: int) -> None:
    """GPT-2's weights; its words are spread so that what is drawn does not hang on the last bit of a logit."""
    random = Random(seed)
    with torch.device("meta"):
        weights = GPT2LMHeadModel(GPT2Config()).state_dict()
    shapes = {name: tuple(like.shape) for name, like in weights.items() if not name.startswith("lm_head")}
    found = {name: transformer_weight(random, name, shape).float() for name, shape in shapes.items()}
    found["transformer.wte.weight"] = random.normal(*shapes["transformer.wte.weight"], spread=0.1).float()
    torch.save(found, path)


def transformer_weight(random: Random, name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight of a transformer, by its name and shape: biases 0, norms 1, embeddings small."""
    if name.endswith("bias"):
        return torch.zeros(shape).half()
    if re.search(r"(norm\w*|ln_\w+)\.weight$", name):
        return torch.ones(shape).half()
    if re.search(r"embedding(\.weight)?$|wte|wpe", name) and "patch" not in name:
        return random.normal(*shape, spread=0.02)
    return random.matrix(*shape)


def write_upscaler(path: Path, size: Size, seed: int) -> None:
    """A ×4 upscaler of 64 channels and 23 blocks; its colours spread around mid-grey, few of them cut off."""
    width, grown = 64, 32
    blocks = 23 if size.widths[0] == 320 else 1
    layers: dict[str, tuple[int, int]] = {"model.0": (3, width)}
    for block in range(blocks):
        for dense in range(1, 4):
            for conv in range(1, 6):
                name = f"model.1.sub.{block}.residual_block_{dense}.conv{conv}.0"
                layers[name] = width + (conv - 1) * grown, width if conv == 5 else grown
    layers[f"model.1.sub.{blocks}"] = width, width
    layers |= {"model.3": (width, width), "model.6": (width, width), "model.8": (width, width), "model.10": (width, 3)}
    random, found = Random(seed), {}
    for name, (inputs, outputs) in layers.items():
        last = name == "model.10"
        strength = 0.2 if last else math.sqrt(2)
        if name == f"model.1.sub.{blocks}":  # every block passes its input on a fifth larger
            strength /= 1.2**blocks
        found[f"{name}.weight"] = random.matrix(outputs, inputs, 3, 3, strength=strength)
        found[f"{name}.bias"] = torch.full((outputs,), 0.5 if last else 0.0).half()
    torch.save(found, path)


def write_embedding(path: Path, size: Size, seed: int) -> None:
    """A textual inversion of two tokens."""
    random = Random(seed)
    parts = {"clip_l": size.clip_l[0], "clip_g": size.clip_g[0]}
    save_file({name: random.normal(2, width, spread=0.04) for name, width in parts.items()}, path)


FILES: dict[str, Callable[[Path, Size, int], None]] = {
    f"checkpoints/{BASE}": write_checkpoint,
    f"checkpoints/{SECOND}": write_checkpoint,
    f"clip_vision/{required_files.CLIP_VISION}": write_vision,
    f"inpaint/{required_files.INPAINT_PATCHES['v2.6']}": write_inpaint_patch,
    f"controlnet/{required_files.CANNY}": write_control,
    f"controlnet/{required_files.CPDS}": write_control,
    f"controlnet/{required_files.IMAGE_PROMPT}": write_adapter,
    f"controlnet/{required_files.IMAGE_PROMPT_NEGATIVE}": write_negative,
    f"inpaint/{required_files.INPAINT_HEAD}": write_inpaint_head,
    f"upscale_models/{required_files.UPSCALER}": write_upscaler,
    "prompt_expansion/fooocus_expansion/pytorch_model.bin": write_expansion,
    f"embeddings/{EMBEDDING}": write_embedding,
} | {f"loras/{name}": write_lora for name in LORAS}
"""By their places below a models folder, the largest first."""


def write_one(place: str, folder: Path, size: Size) -> str:
    """Write the file of this place; gives it and its size to print."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    FILES[place](path, size, list(FILES).index(place))
    return f"{place}: {path.stat().st_size / 1e6:.1f} MB"


def write_models(folder: Path, size: Size, processes: int = 4, places: Iterable[str] = FILES) -> None:
    """Write the files of these places, several at a time."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        one = functools.partial(write_one, folder=folder, size=size)
        for line in pool.imap_unordered(one, places, chunksize=1):
            print(line, flush=True)
