"""A picture of a latent at little cost: by a small network where its file is there, else by a fitted linear map."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad

from engine.errors import CheckpointError
from engine.gpu.capabilities import Precision
from engine.models.checkpoint import read_tensors
from engine.models.fill import fill, unfilled, weights_size
from engine.models.vae import DOWNSCALE, Vae
from engine.sampling.latent_format import SDXL, LatentFormat

LEVELS = (0.0, 0.33, 0.67, 1.0)
PATCH = 8
"""Side of the flat patches in latent pixels; their middles are far enough from the edges."""
ENLARGEMENT = 2

NETWORK_WIDTHS = (4, 8, 16, 32, 64, 32, 16, 8, 3)
NETWORK_KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
NETWORK_EDGE = sum(kernel // 2 for kernel in NETWORK_KERNELS)
NETWORK_SLOPE = 0.1


class Previewer(Protocol):
    """Sees latents of one UNet as RGB."""

    @property
    def size(self) -> int:
        """Bytes it holds."""
        ...

    def pixels(self, latent: Tensor) -> Tensor:
        """The picture of a latent `[1, channels, h, w]` in model space: uint8 `[2h, 2w, 3]`, a quarter of the final
        side.

        It stays on the latent's device, so that nobody has to wait for a GPU here.
        """
        ...


class LinearPreviewer:
    """Sees the latents of one VAE by a linear map from their channels to RGB; `form` leads to the UNet's space."""

    def __init__(self, vae: Vae, form: LatentFormat) -> None:
        self.map = fitted_map(vae, form)

    @property
    def size(self) -> int:
        """Bytes it holds."""
        return self.map.nbytes

    @torch.inference_mode()
    def pixels(self, latent: Tensor) -> Tensor:
        """The picture of a latent `[1, channels, h, w]`: uint8 `[2h, 2w, 3]`, on its device."""
        self.map = self.map.to(latent.device)  # where it was fitted may be the processor
        linear = torch.einsum("rc,bchw->brhw", self.map[:, :-1], latent.float()) + self.map[:, -1, None, None]
        large = interpolate(linear, scale_factor=ENLARGEMENT, mode="bilinear", align_corners=False)
        return large.clamp_(0, 1).mul_(255).to(torch.uint8)[0].permute(1, 2, 0).contiguous()


@torch.inference_mode()
def fitted_map(vae: Vae, form: LatentFormat) -> Tensor:
    """`[3, channels + 1]`: the least-squares map from the latents of flat colours, and 1, to those colours."""
    colours = torch.tensor(list(product(LEVELS, repeat=3)), device=vae.device)
    side = PATCH * DOWNSCALE
    latents = torch.cat(
        [vae.encode_mean(part[:, :, None, None].expand(-1, -1, side, side)) for part in colours.split(8)]
    )
    middle = slice(PATCH // 2 - 1, PATCH // 2 + 1)
    flat = form.to_model(latents)[:, :, middle, middle].mean(dim=(2, 3))
    rows = torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1).cpu().double()
    solution = torch.linalg.lstsq(rows, colours.cpu().double()).solution
    return solution.t().float().to(vae.device)


class ApproximateDecoder(nn.Module):
    """Eight convolutions from a latent in model space to colours in −1…1 at twice its side."""

    def __init__(self) -> None:
        super().__init__()
        for number, (widths, kernel) in enumerate(zip(pairwise(NETWORK_WIDTHS), NETWORK_KERNELS, strict=True), 1):
            self.add_module(f"conv{number}", nn.Conv2d(*widths, kernel))

    def forward(self, latent: Tensor) -> Tensor:
        """`[n, 3, 2h, 2w]` of a latent `[n, 4, h, w]`."""
        x = pad(interpolate(latent, scale_factor=ENLARGEMENT, mode="nearest"), (NETWORK_EDGE,) * 4)
        for convolution in self.children():
            x = leaky_relu(convolution(x), NETWORK_SLOPE)
        return x


class NetworkPreviewer:
    """Sees latents by the network in a file of the folder `vae_approx` (`network_file`).

    Raises:
        CheckpointError: the file is unusable; the text names it.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.dtype = Precision.for_device(device).arithmetic
        tensors = read_tensors(path)
        with unfilled():
            empty = ApproximateDecoder()
        try:
            self.network = fill(empty, tensors, device, self.dtype, "the preview network")
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot show previews: {error}") from error

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return weights_size(self.network)

    @torch.inference_mode()
    def pixels(self, latent: Tensor) -> Tensor:
        """The picture of a latent `[1, 4, h, w]`: uint8 `[2h, 2w, 3]`, on its device."""
        colours = self.network(latent.to(self.dtype)).float()
        return (colours * 127.5 + 127.5).clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0).contiguous()


def network_file(form: LatentFormat) -> str:
    """The file of `vae_approx` that sees latents of this format."""
    return "xlvaeapp.pth" if form == SDXL else "vaeapp_sd15.pth"
