"""Evaluations of a UNet of any size, from fixed random numbers."""

import torch

from engine.sampling.attachments import Evaluation
from engine.sampling.unet_call import UNetCall

SIDES = (False, True)


def evaluation(unet, t=400.0, sigma=1.0, positive=SIDES, tokens=77, size=(8, 12)):
    """An evaluation as the denoiser tells of it, the negative side first; equal arguments, equal tensors."""
    config = unet.config
    generator = torch.Generator().manual_seed(0)
    rows = len(positive)
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return Evaluation(
        x=torch.randn(rows, config.in_channels, *size, generator=generator),
        t=torch.tensor(float(t)),
        sigma=sigma,
        progress=1 - t / 999,
        context=torch.randn(rows, tokens, config.cross_attention_dim, generator=generator),
        pooled=torch.randn(rows, pooled, generator=generator),
        sizes=torch.full((rows, 6), 64.0),
        positive=tuple(positive),
    )


@torch.inference_mode()
def output_of(unet, call, residuals=None):
    """The UNet's output for an evaluation."""
    return UNetCall(call.x, call.t, call.context, call.pooled, call.sizes, residuals).on(unet)
