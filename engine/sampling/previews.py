"""A picture of a latent at almost no cost: one linear map from its channels to RGB, fitted to the VAE."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.models.vae import DOWNSCALE, Vae

LEVELS = (0.0, 0.33, 0.67, 1.0)
PATCH = 8
"""Side of the flat patches in latent pixels; their middles are far enough from the edges."""
ENLARGEMENT = 2


class Previewer:
    """Sees latents of one VAE as RGB."""

    def __init__(self, vae: Vae) -> None:
        self.map = fitted_map(vae)

    @torch.inference_mode()
    def pixels(self, latent: Tensor) -> Tensor:
        """The picture of a latent `[1, channels, h, w]`: uint8 `[2h, 2w, 3]`, a quarter of the final side.

        It stays on the latent's device, so that nobody has to wait for a GPU here.
        """
        linear = torch.einsum("rc,bchw->brhw", self.map[:, :-1], latent.float()) + self.map[:, -1, None, None]
        large = interpolate(linear, scale_factor=ENLARGEMENT, mode="bilinear", align_corners=False)
        return large.clamp_(0, 1).mul_(255).to(torch.uint8)[0].permute(1, 2, 0).contiguous()


@torch.inference_mode()
def fitted_map(vae: Vae) -> Tensor:
    """`[3, channels + 1]`: the least-squares map from the latents of flat colours, and 1, to those colours."""
    colours = torch.tensor(list(product(LEVELS, repeat=3)), device=vae.device)
    side = PATCH * DOWNSCALE
    latents = torch.cat(
        [vae.encode_mean(part[:, :, None, None].expand(-1, -1, side, side)) for part in colours.split(8)]
    )
    middle = slice(PATCH // 2 - 1, PATCH // 2 + 1)
    flat = latents[:, :, middle, middle].mean(dim=(2, 3))
    rows = torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1).double().cpu()
    solution = torch.linalg.lstsq(rows, colours.double().cpu()).solution
    return solution.t().float().to(vae.device)
