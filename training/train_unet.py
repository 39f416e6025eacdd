"""The UNet stages: eps prediction on SDXL's schedule, text encoders trained along, asked as the engine asks."""

import copy
import logging
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from training import tokens
from training.bank import Bank
from training.clock import Clock
from training.models import Conditioner

log = logging.getLogger("training")


def abar(device: torch.device) -> Tensor:
    """SDXL's cumulative signal shares (scaled_linear 0.00085-0.012, 1000 steps), fp32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float().to(device)


@dataclass
class Bucket:
    """A bank, how often it is drawn and how many samples a step takes."""

    bank: Bank
    weight: float
    batch: int


class Trainer:
    """UNet and text encoders with their averages; `stage` may be called again with other buckets."""

    def __init__(
        self, unet: UNet2DConditionModel, conditioner: Conditioner, negatives: Tensor, rate: float = 1e-3
    ) -> None:
        self.unet, self.conditioner, self.negatives, self.rate = unet, conditioner, negatives, rate
        self.device = negatives.device
        self.average = copy.deepcopy(torch.nn.ModuleList([unet, conditioner])).eval().requires_grad_(False)
        self.weights = [p for p in [*unet.parameters(), *conditioner.parameters()] if p.requires_grad]
        decayed = [p for p in self.weights if p.ndim > 1]
        plain = [p for p in self.weights if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 1e-3}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=self.device.type == "cuda")
        self.abar, self.random = abar(self.device), random.Random(11)
        self.empty = torch.from_numpy(tokens.row("").astype("int32")).to(self.device)
        self.forward, self.steps = unet, 0

    def compiled(self) -> None:
        """Compile the UNet's forward; says so and stays eager when that fails at the first step."""
        self.forward = torch.compile(self.unet, dynamic=False)

    def texts(self, rows: Tensor, k: int) -> Tensor:
        """k of each sample's four wordings; 10 % dropped: half empty texts, half negative texts."""
        n = len(rows)
        order = torch.rand(n, rows.shape[1], device=self.device).argsort(1)[:, :k]
        chosen = rows.gather(1, order[:, :, None].expand(-1, -1, rows.shape[2]))
        fate = torch.rand(n, 1, 1, device=self.device)
        pick = (torch.rand(n, k, device=self.device) ** 1.5 * len(self.negatives)).long()
        chosen = torch.where(fate < 0.11, self.negatives[pick], chosen)
        return torch.where(fate < 0.05, self.empty, chosen)

    def sizes(self, n: int, height: int, width: int) -> Tensor:
        """time_ids [n,6] as the engine sends them: sizes scaled by 0.7-1.6 half of the time, target rounded to 64."""
        scale = torch.where(torch.rand(n, device=self.device) < 0.5, 1.0, 0.7 + 0.9 * torch.rand(n, device=self.device))
        target = torch.tensor(
            [64 * round(height / 64), 64 * round(width / 64)], device=self.device, dtype=torch.float32
        ).expand(n, 2)
        own = torch.stack([(height * scale).floor(), (width * scale).floor()], 1)
        return torch.cat([own, torch.zeros(n, 2, device=self.device), target], 1)

    def noise(self, latents: Tensor) -> Tensor:
        """White noise with a little offset and coarse noise, more of it on large latents (offset noise)."""
        n, c, h, w = latents.shape
        zoom = (h * w / 1024) ** 0.25
        white = torch.randn_like(latents) + 0.05 * zoom * torch.randn(n, c, 1, 1, device=self.device)
        coarse = torch.randn(n, c, max(2, h // 14), max(2, w // 14), device=self.device)
        return white + 0.03 * (zoom - 0.6) * F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)

    def loss(self, bank: Bank, batch: int) -> Tensor:
        """min-SNR-5 weighted eps error, plus the same error averaged over blocks, where plain colours live."""
        rows = torch.randint(0, len(bank.latents), (batch,), device=self.device)
        latents = bank.latents[rows].float()
        n, (height, width) = len(latents), (latents.shape[-2] * 8, latents.shape[-1] * 8)
        k = self.random.choices((1, 2, 3), (0.62, 0.24, 0.14))[0]
        skip = self.random.choices((2, 1, 3), (0.86, 0.1, 0.04))[0]
        time = torch.randint(0, 1000, (n,), device=self.device)
        time = torch.where(
            torch.rand(n, device=self.device) < 0.2, torch.randint(500, 1000, (n,), device=self.device), time
        )
        signal, noise = self.abar[time][:, None, None, None], self.noise(latents)
        noisy = (signal.sqrt() * latents + (1 - signal).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            context, pooled = self.conditioner(self.texts(bank.rows[rows], k), skip)
            added = {"text_embeds": pooled, "time_ids": self.sizes(n, height, width)}
            made = self.forward(noisy, time, context, added_cond_kwargs=added, return_dict=False)[0]
        error, snr = made.float() - noise, (signal / (1 - signal)).flatten()
        weight = snr.clamp(max=5) / snr
        total = (error.square().mean((1, 2, 3)) * weight).mean()
        for size, share in ((4, 0.25), (16, 0.25)):
            block = F.avg_pool2d(error, size)
            total = total + share * size * (block.square().mean((1, 2, 3)) * weight).mean()
        return total

    def step(self, bucket: Bucket, rate: float) -> Tensor:
        """One optimizer step; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(bucket.bank, bucket.batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        if self.device.type == "cuda":
            self.optimizer.found_inf = (~norm.isfinite()).float()  # the fused kernel skips such a step, without a sync
        self.optimizer.step()
        self.steps += 1
        decay = min(0.999, (1 + self.steps) / (10 + self.steps))
        live = [p for net in (self.unet, self.conditioner) for p in net.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), live, 1 - decay)
        return loss.detach()

    def stage(self, buckets: list[Bucket], clock: Clock, rates: tuple[float, float], save: Path | None = None) -> None:
        """Train on these buckets until the clock stops, the rate going from one factor to the other."""
        smooth, saved = torch.zeros((), device=self.device), 0.0
        while clock.running():
            bucket = self.random.choices(buckets, [b.weight for b in buckets])[0]
            warm = min(1.0, self.steps / 300 + 0.01) if self.steps < 300 else min(1.0, 0.3 + clock.done / 100)
            factor = rates[0] + (rates[1] - rates[0]) * clock.share
            loss = self.guarded_step(bucket, self.rate * factor * warm)
            smooth = torch.lerp(smooth, loss, 0.02 if clock.done else 1.0)
            if clock.tick(bucket.batch):
                clock.report(float(smooth))
            if save is not None and clock.elapsed - saved > 60:
                saved = clock.elapsed
                self.save(save)

    def guarded_step(self, bucket: Bucket, rate: float) -> Tensor:
        """A step; a compiled net that fails is given up for the eager one."""
        try:
            return self.step(bucket, rate)
        except Exception:
            if self.forward is self.unet:
                raise
            log.exception("COMPILED UNET FAILED; going on with the eager one")
            self.forward = self.unet
            return self.step(bucket, rate)

    def save(self, path: Path) -> None:
        """The averaged weights, for a rescue by hand."""
        unet, conditioner = self.average
        torch.save({"unet": unet.state_dict(), "conditioner": conditioner.state_dict()}, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        log.info("saved %s", path.name)
