"""A plain sampler to judge the model while it trains: DPM++ 2M, Karras sigmas, the engine's conditioning rules."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from engine.models.vae import decoded
from training import tokens
from training.models import LATENT_SCALE, VAE_MARGIN, Conditioner
from training.train_unet import abar


def karras(steps: int, device: torch.device) -> Tensor:
    """Karras sigmas of SDXL's range with a zero at the end."""
    ramp = torch.linspace(0, 1, steps)
    sigmas = (14.614641 ** (1 / 7) + ramp * (0.0291672 ** (1 / 7) - 14.614641 ** (1 / 7))) ** 7
    return torch.cat([sigmas, torch.zeros(1)]).to(device)


def condition(conditioner: Conditioner, texts: list[list[str]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Context and pooled of samples with the same number of texts each."""
    rows = np.stack([np.stack([tokens.row(t) for t in sample]) for sample in texts]).astype(np.int32)
    return conditioner(torch.from_numpy(rows).to(device))


def size_ids(height: int, width: int, scale: float, count: int, device: torch.device) -> Tensor:
    """time_ids of one side, see the engine's ADM rule."""
    target = [64 * round(height / 64), 64 * round(width / 64)]
    own = [int(height * scale), int(width * scale)] if scale != 1 else target
    return torch.tensor([[*own, 0, 0, *target]], dtype=torch.float32, device=device).repeat(count, 1)


@torch.inference_mode()
def sample(unet: UNet2DConditionModel, conditioner: Conditioner, positive: list[list[str]], negative: list[list[str]],
           height: int, width: int, steps: int = 30, cfg: float = 4.0, seed: int = 0, batch: int = 32) -> Tensor:  # fmt: skip  # noqa: E501
    """Latents in model space [n,4,h/8,w/8], noise of sample i from seed + i."""
    device, made = next(unet.parameters()).device, []
    for at in range(0, len(positive), batch):
        some, others = positive[at : at + batch], negative[at : at + batch]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            sides = [condition(conditioner, texts, device) for texts in (others, some)]
        noise = [
            torch.randn(4, height // 8, width // 8, generator=torch.Generator().manual_seed(seed + at + i))
            for i in range(len(some))
        ]
        made.append(denoise(unet, sides, torch.stack(noise).to(device), height, width, steps, cfg))
    return torch.cat(made)


@dataclass
class Pinned:
    """What stays as it is: latents in model space where the mask [n,1,h,w] is 0, under fresh noise at each step."""

    latents: Tensor
    mask: Tensor
    generator: torch.Generator

    def under(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The state with the pinned part in it."""
        noise = torch.randn(x.shape, device=x.device, generator=self.generator)
        return x * self.mask + (self.latents + sigma * noise) * (1 - self.mask)

    def over(self, clean: Tensor) -> Tensor:
        """The clean latents with the pinned part in them."""
        return clean * self.mask + self.latents * (1 - self.mask)


def denoise(
    unet,
    sides,
    x: Tensor,
    height: int,
    width: int,
    steps: int,
    cfg: float,
    pinned: Pinned | None = None,
    each: Callable[[int], None] | None = None,
) -> Tensor:
    """DPM++ 2M from pure noise; `each` hears the number of every step before it is made."""
    device, sigmas, table = x.device, karras(steps, x.device), abar(x.device)
    levels = ((1 - table) / table).sqrt()
    x, before, previous = x * (1 + sigmas[0] ** 2).sqrt(), None, sigmas[0]
    for n in range(steps):
        if each is not None:
            each(n)
        s, after = sigmas[n], sigmas[n + 1]
        seen = x if pinned is None else pinned.under(x, s)
        time = (s.log() - levels.log()).abs().argmin()
        scales = (0.8, 1.5) if n < steps // 3 else (1.0, 1.0)
        eps = []
        for (context, pooled), scale in zip(sides, scales, strict=True):
            added = {"text_embeds": pooled, "time_ids": size_ids(height, width, scale, len(x), device)}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                eps.append(
                    unet(seen / (s * s + 1).sqrt(), time, context, added_cond_kwargs=added, return_dict=False)[
                        0
                    ].float()
                )
        guided = seen - s * (eps[0] + cfg * (eps[1] - eps[0]))
        guided = guided if pinned is None else pinned.over(guided)
        if after == 0:
            return guided
        h = (s / after).log()
        blend = guided if before is None else guided + (guided - before) * h / (2 * previous)
        x, before, previous = x * after / s + (1 - after / s) * blend, guided, h
    return x


@torch.inference_mode()
def pictures(vae: AutoencoderKL, latents: Tensor, batch: int = 16) -> np.ndarray:
    """uint8 [n,h,w,3]."""
    parts = []
    for part in latents.split(batch):
        with torch.autocast(part.device.type, torch.bfloat16, enabled=part.device.type == "cuda"):
            made = decoded(vae, part / LATENT_SCALE, VAE_MARGIN).float()
        parts.append(((made / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)
