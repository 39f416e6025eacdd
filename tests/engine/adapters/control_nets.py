"""Small control files with the names of real ones, fitting a given UNet."""

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

from engine.adapters.controlnet import skip_widths
from engine.models import weight_names

HINT_WIDTHS = (4, 8, 8, 12)
ENCODER = ("input_blocks.", "middle_block.", "time_embed.", "label_emb.")


def encoder(unet):
    """The UNet's way down and middle under checkpoint names."""
    tensors = weight_names.unet_to_ldm(unet.state_dict())
    return {name: tensor.clone() for name, tensor in tensors.items() if name.startswith(ENCODER)}


def control_parts(unet, generator, strength=0.1):
    """What a control net has beside them: the hint's reader, the 1×1 layers."""
    widths = skip_widths(unet)
    parts = {}
    reader = ControlNetConditioningEmbedding(widths[0], 3, HINT_WIDTHS)
    shapes = [tuple(layer.weight.shape) for layer in (reader.conv_in, *reader.blocks, reader.conv_out)]
    layers = {f"input_hint_block.{2 * n}": shape for n, shape in enumerate(shapes)}
    layers |= {f"zero_convs.{n}.0": (width, width, 1, 1) for n, width in enumerate(widths)}
    layers["middle_block_out.0"] = (widths[-1], widths[-1], 1, 1)
    for name, shape in layers.items():
        parts[f"{name}.weight"] = strength * torch.randn(shape, generator=generator)
        parts[f"{name}.bias"] = strength * torch.randn(shape[0], generator=generator)
    return parts


def low_rank(unet, generator, rank=2):
    """A file of differences: every other matrix as a product, some biases outright."""
    file = {"lora_controlnet": torch.tensor([])}
    weights = [name for name, weight in encoder(unet).items() if weight.dim() > 1]
    for name in weights[::2]:
        stem, weight = name.removesuffix(".weight"), encoder(unet)[name]
        ends = (1, 1) if weight.dim() == 4 else ()
        file[f"{stem}.up"] = 0.1 * torch.randn((weight.shape[0], rank, *ends), generator=generator)
        file[f"{stem}.down"] = 0.1 * torch.randn((rank, *weight.shape[1:]), generator=generator)
        bias = encoder(unet).get(f"{stem}.bias")
        if bias is not None:
            file[f"{stem}.bias"] = torch.randn(bias.shape, generator=generator)
    return file | control_parts(unet, generator)


def summed(unet, file):
    """The whole control net that such a file means, under checkpoint names."""
    whole = encoder(unet)
    for name, tensor in file.items():
        stem, _, kind = name.rpartition(".")
        if kind == "up":
            product = tensor.flatten(1) @ file[f"{stem}.down"].flatten(1)
            whole[f"{stem}.weight"] = whole[f"{stem}.weight"] + product.reshape(whole[f"{stem}.weight"].shape)
        elif kind != "down" and name != "lora_controlnet":
            whole[name] = tensor
    return whole


def low_rank_patch(unet, generator, rank=2):
    """A LoRA of the UNet's attention, as an inpaint patch may be."""
    file = {}
    for name, weight in unet.state_dict().items():
        if name.endswith("attn2.to_v.weight"):
            base = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            file[f"{base}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=generator)
            file[f"{base}.lora_down.weight"] = torch.randn(rank, weight.shape[1], generator=generator)
    return file
