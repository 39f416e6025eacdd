"""Small IP-Adapters with the names of real ones, fitting a given UNet."""

import torch
from safetensors.torch import save_file

from engine.adapters.image_prompt import cross_attentions
from tests.engine.detectors.vision_towers import PROJECTED, WIDTH

TOKENS, DIM, LAYERS, MLP = 3, 128, 2, 40


def resampler(context, generator):
    """The projection of a Plus adapter: two heads of 64."""
    shapes = {
        "latents": (1, TOKENS, DIM),
        "proj_in.weight": (DIM, WIDTH),
        "proj_in.bias": (DIM,),
        "proj_out.weight": (context, DIM),
        "proj_out.bias": (context,),
        "norm_out.weight": (context,),
        "norm_out.bias": (context,),
    }
    for n in range(LAYERS):
        shapes |= {f"layers.{n}.0.{norm}.{kind}": (DIM,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
        shapes |= {
            f"layers.{n}.0.to_q.weight": (DIM, DIM),
            f"layers.{n}.0.to_kv.weight": (2 * DIM, DIM),
            f"layers.{n}.0.to_out.weight": (DIM, DIM),
            f"layers.{n}.1.0.weight": (DIM,),
            f"layers.{n}.1.0.bias": (DIM,),
            f"layers.{n}.1.1.weight": (MLP, DIM),
            f"layers.{n}.1.3.weight": (DIM, MLP),
        }
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def plain_projection(context, generator):
    """The projection of a plain adapter."""
    shapes = {
        "proj.weight": (TOKENS * context, PROJECTED),
        "proj.bias": (TOKENS * context,),
        "norm.weight": (context,),
        "norm.bias": (context,),
    }
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def adapter(unet, generator, projection=resampler):
    """A whole adapter's two parts; layers are numbered 1, 3, 5, …"""
    context = unet.config.cross_attention_dim
    layers = {}
    for n, layer in enumerate(cross_attentions(unet)):
        for part in ("k", "v"):
            shape = layer.to_k.out_features, context
            layers[f"{2 * n + 1}.to_{part}_ip.weight"] = 0.2 * torch.randn(shape, generator=generator)
    return {"image_proj": projection(context, generator), "ip_adapter": layers}


def adapter_files(folder, unet, generator, parts, suffix=".bin"):
    """Paths of the adapter and of the tokens of no picture."""
    path, negative = folder / f"adapter{suffix}", folder / "negative.safetensors"
    if suffix == ".bin":
        torch.save(parts, path)
    else:
        save_file({f"{part}.{name}": tensor for part in parts for name, tensor in parts[part].items()}, path)
    save_file({"data": torch.randn(1, TOKENS, unet.config.cross_attention_dim, generator=generator).half()}, negative)
    return path, negative
