"""The VAE stage: crops of fresh composites, L1 in several resolutions, edges and spectra."""

import copy
import logging

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from training.clock import Clock, cosine
from training.compose import Sheet, compose, take
from training.models import fold_latent_scale

log = logging.getLogger("training")


class Canvas:
    """Endless 128-pixel crops of composites and of abstract clutter, in -1..1."""

    def __init__(self, plan: dict[str, np.ndarray], sheet: Sheet, crops: int) -> None:
        self.plan, self.sheet, self.crops, self.at = plan, sheet, crops, 0

    def draw(self) -> Tensor:
        """[crops,3,128,128]; the livelier parts of the canvases are preferred."""
        side, count = (512, max(1, self.crops // 8)) if self.at % 2 else (256, max(1, self.crops // 2))
        rows = (np.arange(count) + self.at * 977) % len(self.plan["kind"])
        self.at += 1
        pictures = compose(take(self.plan, rows), self.sheet, side, side)
        shift = torch.randint(0, 128, (2,)).tolist()
        pictures = pictures.roll(shift, (2, 3))
        tiles = pictures.unfold(2, 128, 128).unfold(3, 128, 128).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 128, 128)
        lively = tiles.std((1, 2, 3)) + 0.15 * torch.rand(len(tiles), device=tiles.device)
        chosen = tiles[lively.topk(min(self.crops, len(tiles))).indices]
        clutter = max(1, len(chosen) // 10)
        chosen[:clutter] = textures(clutter, chosen.device)
        return (chosen * 2 - 1).contiguous(memory_format=torch.channels_last)


def textures(count: int, device: torch.device) -> Tensor:
    """Coloured noise of random smoothness, so that pictures unlike the sprites survive a round trip too."""
    total = torch.rand(count, 3, 1, 1, device=device)
    for cells in (4, 8, 16, 32, 64):
        grain = (
            torch.randn(count, 3, cells, cells, device=device)
            * torch.rand(count, 1, 1, 1, device=device)
            * 0.35
            / cells**0.3
        )
        total = total + F.interpolate(grain, size=(128, 128), mode="bicubic", align_corners=False)
    return total.clamp(0, 1)


def distance(made: Tensor, true: Tensor) -> Tensor:
    """L1 at four resolutions, L1 of gradients and of spectra."""
    loss = F.l1_loss(made, true)
    for size, weight in ((2, 0.5), (4, 0.5), (8, 0.5)):
        loss = loss + weight * F.l1_loss(F.avg_pool2d(made, size), F.avg_pool2d(true, size))
    for axis in (2, 3):
        loss = loss + 0.7 * F.l1_loss(made.diff(dim=axis), true.diff(dim=axis))
    spectrum = torch.fft.rfft2(made.float(), norm="ortho").abs() - torch.fft.rfft2(true.float(), norm="ortho").abs()
    return loss + 0.15 * spectrum.abs().mean() + 0.5 * F.mse_loss(made, true)


def step_loss(vae: AutoencoderKL, pixels: Tensor, smaller: bool) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of one batch; `smaller` decodes a shrunken latent against the shrunken picture,
    which keeps latents smooth (equivariant under scaling) and so easier to denoise."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latent = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        if smaller:
            latent = F.interpolate(latent, scale_factor=0.5, mode="bilinear", antialias=True)
            pixels = F.interpolate(pixels, scale_factor=0.5, mode="bilinear", antialias=True)
        made = vae.decode(latent).sample.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return distance(made, pixels) + 2e-6 * kl, F.mse_loss(made.detach().clamp(-1, 1), pixels)


def train_vae(vae: AutoencoderKL, canvas: Canvas, clock: Clock, rate: float = 1e-3) -> AutoencoderKL:
    """Train until the clock stops; gives the averaged weights."""
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=canvas.sheet.device.type == "cuda"
    )
    average, squared = copy.deepcopy(vae).eval().requires_grad_(False), 0.0
    while clock.running():
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(clock.share, warm=0.04)
        pixels = canvas.draw()
        loss, squared = step_loss(vae, pixels, smaller=clock.done % 4 == 3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        if pixels.is_cuda:
            optimizer.found_inf = (~norm.isfinite()).float()  # the fused kernel skips such a step, without a sync
        optimizer.step()
        decay = min(0.998, (1 + clock.done) / (10 + clock.done))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(vae.parameters()), 1 - decay)
        if clock.tick(len(pixels)):
            clock.report(float(loss.detach()), f"psnr {10 * np.log10(4 / max(1e-9, float(squared))):.1f} dB")
    return average


@torch.no_grad()
def measured_psnr(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Mean PSNR in dB of round trips of pictures in 0..1."""
    with torch.autocast(pictures.device.type, torch.bfloat16):
        made = vae.decode(vae.encode(pictures * 2 - 1).latent_dist.mean).sample
    error = ((made.float() / 2 + 0.5).clamp(0, 1) - pictures).square().mean((1, 2, 3))
    return float((10 * torch.log10(1 / error.clamp_min(1e-9))).mean())


@torch.no_grad()
def settle(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the latents' mean and spread, measured on these pictures, into the VAE; gives both."""
    latents = torch.cat([vae.encode(part * 2 - 1).latent_dist.mean.float() for part in pictures.split(16)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3)).clamp_min(1e-4)
    fold_latent_scale(vae, mean, std)
    return mean, std
