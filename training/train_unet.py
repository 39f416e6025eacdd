"""The UNet stages: eps prediction on SDXL's schedule, text encoders trained along, asked as the engine asks."""

import copy
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from training import tokens
from training.bank import Bank
from training.captured import Graphs
from training.clock import Clock
from training.models import Conditioner
from training.ranks import Ranks, flat_like

log = logging.getLogger("training")


def abar(device: torch.device) -> Tensor:
    """SDXL's cumulative signal shares (scaled_linear 0.00085-0.012, 1000 steps), fp32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float().to(device)


@dataclass(eq=False)
class Bucket:
    """A bank, how often it is drawn and how many samples a step takes."""

    bank: Bank
    weight: float
    batch: int


@dataclass(frozen=True)
class NoiseMix:
    """Which noise levels are trained: shares of samples above and below `SHAPES`, and min-SNR's gamma.

    A higher gamma lets low noise count for more: too little of it leaves grain on plain surfaces.
    """

    shapes: float = 0.5
    surfaces: float = 0.0
    gamma: float = 5.0


SHAPES = 350
"""The timestep from which on shapes are decided; below it, surfaces."""


class Asking:
    """Random numbers, and what a network is asked with: texts, sizes and noise as the engine's requests have them."""

    def __init__(self, negatives: Tensor, seed: int = 12) -> None:
        self.negatives, self.device = negatives, negatives.device
        # a generator of its own: a failed capture can leave the default one unusable
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.empty = torch.from_numpy(tokens.row("").astype("int32")).to(self.device)

    def rand(self, *size: int) -> Tensor:
        """Uniform numbers 0..1 on the device."""
        return torch.rand(*size, device=self.device, generator=self.generator)

    def randn(self, *size: int) -> Tensor:
        """Normal numbers on the device."""
        return torch.randn(*size, device=self.device, generator=self.generator)

    def texts(self, rows: Tensor, k: int) -> Tensor:
        """k of each sample's four wordings; 11 % dropped: half empty texts, half negative texts."""
        n = len(rows)
        order = self.rand(n, rows.shape[1]).argsort(1)[:, :k]
        chosen = rows.gather(1, order[:, :, None].expand(-1, -1, rows.shape[2]))
        fate = self.rand(n, 1, 1)
        pick = (self.rand(n, k) ** 1.5 * len(self.negatives)).long().clamp(max=len(self.negatives) - 1)
        chosen = torch.where(fate < 0.11, self.negatives[pick], chosen)
        return torch.where(fate < 0.05, self.empty, chosen)

    def sizes(self, n: int, height: int, width: int) -> Tensor:
        """time_ids [n,6] as the engine sends them: sizes scaled by 0.7-1.6 half of the time, target rounded to 64."""
        scale = torch.where(self.rand(n) < 0.5, 1.0, 0.7 + 0.9 * self.rand(n))
        target = torch.tensor(
            [64 * round(height / 64), 64 * round(width / 64)], device=self.device, dtype=torch.float32
        ).expand(n, 2)
        own = torch.stack([(height * scale).floor(), (width * scale).floor()], 1)
        return torch.cat([own, torch.zeros(n, 2, device=self.device), target], 1)

    def noise(self, latents: Tensor) -> Tensor:
        """White noise with a little offset and coarse noise, more of it on large latents (offset noise)."""
        n, c, h, w = latents.shape
        zoom = (h * w / 1024) ** 0.25
        white = self.randn(n, c, h, w) + 0.05 * zoom * self.randn(n, c, 1, 1)
        coarse = self.randn(n, c, max(2, h // 14), max(2, w // 14))
        return white + 0.03 * (zoom - 0.6) * F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)


class Trainer(Asking):
    """UNet and text encoders with their averages; `stage` may be called again with other buckets.

    The steps run on a bf16 copy of the fp32 weights (fp32 on a CPU): the same products as under autocast, with half
    the memory traffic in the norms and no casting of weights.
    """

    skips = (0.9, 0.07, 0.03)
    """Shares of clip skip 2, 1 and 3."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        conditioner: Conditioner,
        negatives: Tensor,
        rate: float = 1e-3,
        graphs: bool = False,
        texts: tuple[float, float, float] = (0.62, 0.24, 0.14),
        horizon: float = 0.999,
        noise: NoiseMix = NoiseMix(),
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        super().__init__(negatives, 12 + 1000 * self.ranks.rank)
        self.rate, self.shares, self.horizon, self.mix = rate, texts, horizon, noise
        master = torch.nn.ModuleList([unet, conditioner])
        self.average = copy.deepcopy(master).eval().requires_grad_(False)
        self.weights = [p for p in master.parameters() if p.requires_grad]
        self.averages = [
            p for p, q in zip(self.average.parameters(), master.parameters(), strict=True) if q.requires_grad
        ]
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.copy = copy.deepcopy(master).to(kind)
        self.copies = [p for p in self.copy.parameters() if p.requires_grad]
        self.flat, self.gradients = flat_like(self.weights)
        decayed = [p for p in self.weights if p.ndim > 1]
        plain = [p for p in self.weights if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 1e-3}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=self.device.type == "cuda")
        self.abar, self.random = abar(self.device), random.Random(11)
        self.graphs, self.steps = Graphs(self.gradients, graphs and self.device.type == "cuda"), 0

    def times(self, n: int) -> Tensor:
        """Timesteps [n]: shares of them where shapes are decided and where surfaces are, the rest anywhere."""
        kind, place = self.rand(n), self.rand(n)
        shapes, surfaces = kind < self.mix.shapes, kind > 1 - self.mix.surfaces
        start = torch.where(shapes, float(SHAPES), 0.0)
        end = torch.where(surfaces, float(SHAPES), 1000.0)
        return (start + place * (end - start)).long().clamp(max=999)

    def chosen(self, bank: Bank, batch: int) -> Tensor:
        """Numbers of some of the bank's pictures."""
        return (self.rand(batch) * len(bank.latents)).long().clamp(max=len(bank.latents) - 1)

    @torch.no_grad()
    def drawn(self, bank: Bank, batch: int, k: int) -> dict[str, Tensor]:
        """A batch of the bank's pictures."""
        return self.noisy(bank, self.chosen(bank, batch), k)

    def noisy(self, bank: Bank, rows: Tensor, k: int) -> dict[str, Tensor]:
        """These pictures: noisy latents, the noise, times, each sample's weight, text rows and sizes."""
        batch = len(rows)
        latents, when = bank.latents[rows].float(), self.times(batch)
        signal, noise = self.abar[when][:, None, None, None], self.noise(latents)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        snr = (signal / (1 - signal)).flatten()
        return {
            "noisy": noisy.to(self.copies[0].dtype, memory_format=torch.channels_last),
            "noise": noise,
            "time": when,
            "weight": snr.clamp(max=self.mix.gamma) / snr,
            "rows": self.texts(bank.rows[rows], k),
            "sizes": self.sizes(batch, latents.shape[-2] * 8, latents.shape[-1] * 8),
        }

    def error(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """The eps error [n,c,h,w] of the copy."""
        unet, conditioner = self.copy
        context, pooled = conditioner(batch["rows"], skip)
        added = {"text_embeds": pooled, "time_ids": batch["sizes"]}
        made = unet(batch["noisy"], batch["time"], context, added_cond_kwargs=added, return_dict=False)[0]
        return made.float() - batch["noise"]

    def loss(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """min-SNR weighted eps error, plus the same error averaged over blocks, where plain colours live."""
        error, weight = self.error(batch, skip), batch["weight"]
        total = (error.square().mean((1, 2, 3)) * weight).mean()
        for size, share in ((4, 0.25), (16, 0.25)):
            block = F.avg_pool2d(error, size)
            total = total + share * size * (block.square().mean((1, 2, 3)) * weight).mean()
        return total

    def work(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """Refresh the copy, compute the loss and put its gradients into `gradients`; gives the loss."""
        with torch.no_grad():
            torch._foreach_copy_(self.copies, self.weights)
        loss = self.loss(batch, skip)
        found = torch.autograd.grad(loss, self.copies, allow_unused=True)
        with torch.no_grad():
            used = [(g, f) for g, f in zip(self.gradients, found, strict=True) if f is not None]
            torch._foreach_copy_([g for g, _ in used], [f for _, f in used])
            idle = [g for g, f in zip(self.gradients, found, strict=True) if f is None]
            if idle:
                torch._foreach_zero_(idle)
        return loss.detach()

    def step(self, bucket: Bucket, rate: float) -> Tensor:
        """One optimizer step; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        k = self.random.choices((1, 2, 3), self.shares)[0]
        skip = self.random.choices((2, 1, 3), self.skips)[0] if k == 1 else 2
        batch = self.drawn(bucket.bank, bucket.batch, k)
        loss = self.graphs.run((*bucket.bank.size, bucket.batch, k, skip), batch, lambda b: self.work(b, skip))
        self.ranks.average(self.flat)
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        if self.device.type == "cuda":
            self.optimizer.found_inf = (~norm.isfinite()).float()  # the fused kernel skips such a step, without a sync
        self.optimizer.step()
        self.steps += 1
        decay = min(self.horizon, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, [p.detach() for p in self.weights], 1 - decay)
        return loss

    def stage(
        self,
        buckets: list[Bucket],
        clock: Clock,
        factor: Callable[[float], float],
        save: Callable[[], None] | None = None,
    ) -> None:
        """Train until the clock stops, the rate times `factor(share of the stage)`; `save` runs each minute."""
        buckets, smooth, saved = list(buckets), torch.zeros((), device=self.device), time.monotonic()
        while buckets:
            warm = min(1.0, self.steps / 200 + 0.01) if self.steps < 200 else min(1.0, 0.3 + clock.done / 100)
            goes_on, rate = self.ranks.agreed(clock.running(), self.rate * factor(clock.share) * warm)
            if not goes_on:
                break
            bucket = self.random.choices(buckets, [b.weight for b in buckets])[0]
            try:
                loss = self.step(bucket, rate)
            except RuntimeError:
                if self.ranks.count > 1:
                    raise
                log.exception("BUCKET %s OF %d FAILED; going on without it", bucket.bank.size, bucket.batch)
                buckets.remove(bucket)
                continue
            smooth = torch.lerp(smooth, loss, 0.02 if clock.done else 1.0)
            if clock.tick(bucket.batch):
                clock.report(float(smooth))
            if save is not None and time.monotonic() - saved > 60:
                saved = time.monotonic()
                save()
