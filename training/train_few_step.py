"""The few-step LoRA: latent consistency distillation of the built-in model (Luo 2023, LCM-LoRA), UNet alone.

    python -m training.train_few_step --base engine/builtin/fooocus_mini.safetensors --out DIR --seconds 180

The student is the UNet with a LoRA on every matrix and convolution of some size; the teacher is the same UNet without,
guided. One DDIM step of the teacher leads from one of 50 noise levels to the next but one below; the student must say
of both levels the same clean latent.
"""

import argparse
import copy
import json
import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from torch.func import functional_call

from engine.models import weight_names
from training import models, plans, sampling
from training.bank import encode_bank
from training.captured import Graphs
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, read_sprites
from training.focus import focused
from training.judge import load_judge, named
from training.program import logged, planners
from training.run_all import ask
from training.showcase import SHOWCASE
from training.train_unet import Asking, Bucket, abar

log = logging.getLogger("training")

STRIDE, LEVELS, SKIP = 20, 50, 2
SIGMA_DATA, TIME_SCALE = 0.5, 10.0
GUIDANCE = 4.0
HUBER = 1e-3
LARGE = 4096
"""Weights of fewer numbers get no LoRA."""
COUNTS = {(64, 64): 10_000, (72, 96): 6_000}
TINY = {(16, 24): 6, (32, 32): 6}
LICENCE = "GPL-3.0-or-later"


class Lora:
    """Factors by weight name: `down` [r, in·k·k] and `up` [out, r], the latter zero at first."""

    def __init__(self, weights: Mapping[str, Tensor], rank: int, seed: int = 21) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.shapes = {
            name: tuple(weight.shape)
            for name, weight in weights.items()
            if weight.dim() in (2, 4) and weight.numel() >= LARGE
        }
        self.factors: dict[str, tuple[Tensor, Tensor]] = {}
        for name, shape in self.shapes.items():
            inside, device = int(np.prod(shape[1:])), weights[name].device
            down = torch.randn(rank, inside, generator=generator) / rank
            up = torch.zeros(shape[0], rank)
            self.factors[name] = (down.to(device).requires_grad_(), up.to(device).requires_grad_())

    @property
    def parameters(self) -> list[Tensor]:
        """All factors in order."""
        return [tensor for pair in self.factors.values() for tensor in pair]

    def merged(self, weights: Mapping[str, Tensor], factors: list[Tensor]) -> dict[str, Tensor]:
        """The weights with these factors' products added, in the weights' type."""
        found, pairs = dict(weights), iter(zip(factors[::2], factors[1::2], strict=True))
        for name, shape in self.shapes.items():
            down, up = next(pairs)
            found[name] = weights[name] + (up @ down).reshape(shape).to(weights[name].dtype)
        return found

    def exported(self, factors: list[Tensor], ldm_names: Mapping[str, str]) -> dict[str, Tensor]:
        """kohya's names, fp16: `lora_unet_<module>.lora_down.weight`, `.lora_up.weight`, `.alpha`."""
        tensors, pairs = {}, iter(zip(factors[::2], factors[1::2], strict=True))
        for name, shape in self.shapes.items():
            down, up = (factor.detach().half().cpu() for factor in next(pairs))
            base = "lora_unet_" + ldm_names[name].removesuffix(".weight").replace(".", "_")
            kernel = shape[2:]
            tensors[f"{base}.lora_down.weight"] = down.reshape(len(down), *shape[1:]).contiguous()
            tensors[f"{base}.lora_up.weight"] = up.reshape(*up.shape, *(1 for _ in kernel)).contiguous()
            tensors[f"{base}.alpha"] = torch.tensor(float(len(down))).half()
        return tensors


class FewStep(Asking):
    """The distillation: frozen UNet and text encoders in bf16 (fp32 on a CPU), fp32 factors with an average."""

    def __init__(
        self, unet: UNet2DConditionModel, conditioner, negatives: Tensor, rank: int, rate: float, graphs: bool
    ):
        super().__init__(negatives)
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.base_type = kind
        self.unet, self.conditioner = unet.to(kind).requires_grad_(False), conditioner.to(kind).requires_grad_(False)
        self.base = dict(self.unet.named_parameters())
        self.lora = Lora(self.base, rank)
        self.factors = self.lora.parameters
        self.average = [factor.detach().clone() for factor in self.factors]
        self.gradients = [torch.zeros_like(factor) for factor in self.factors]
        self.optimizer = torch.optim.AdamW(self.factors, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.rate, self.random, self.abar = rate, random.Random(13), abar(self.device)
        self.graphs, self.steps = Graphs(self.gradients, graphs and self.device.type == "cuda", warm=6), 0

    def drawn(self, bucket: Bucket, k: int) -> dict[str, Tensor]:
        """A batch: noisy latents, the level and the next lower one, rows of texts of both sides, sizes."""
        bank, batch = bucket.bank, bucket.batch
        rows = (self.rand(batch) * len(bank.latents)).long().clamp(max=len(bank.latents) - 1)
        when = (self.rand(batch) * LEVELS).long().clamp(max=LEVELS - 1) * STRIDE + STRIDE - 1
        latents, signal = bank.latents[rows].float(), self.abar[when][:, None, None, None]
        order = self.rand(batch, bank.rows.shape[1]).argsort(1)[:, :k]
        wanted = bank.rows[rows].gather(1, order[:, :, None].expand(-1, -1, bank.rows.shape[2]))
        pick = (self.rand(batch, k) * len(self.negatives)).long().clamp(max=len(self.negatives) - 1)
        height, width = (side * 8.0 for side in bank.size)
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=self.device)
        return {
            "noisy": signal.sqrt() * latents + (1 - signal).sqrt() * self.randn(*latents.shape),
            "time": when,
            "before": (when - SKIP * STRIDE).clamp(min=0),
            "rows": wanted,
            "negative": self.negatives[pick],
            "sizes": sizes.repeat(batch, 1),
        }

    def eps(self, weights: Mapping[str, Tensor], x: Tensor, time: Tensor, texts: tuple[Tensor, Tensor], sizes: Tensor):
        """The UNet's eps with these weights, fp32."""
        added = {"text_embeds": texts[1], "time_ids": sizes}
        x = x.to(texts[0].dtype, memory_format=torch.channels_last)
        asked = {"added_cond_kwargs": added, "return_dict": False}
        return functional_call(self.unet, dict(weights), (x, time, texts[0]), asked)[0].float()

    def clean(self, x: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """The latent without its noise."""
        signal = self.abar[time][:, None, None, None]
        return (x - (1 - signal).sqrt() * eps) / signal.sqrt()

    def consistent(self, x: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """The consistency function: the clean latent, blended into x itself as the level nears zero (Song 2023)."""
        scaled = TIME_SCALE * time.float()[:, None, None, None]
        below = scaled.square() + SIGMA_DATA**2
        return SIGMA_DATA**2 / below * x + scaled / below.sqrt() * self.clean(x, eps, time)

    @torch.no_grad()
    def target(self, batch: dict[str, Tensor], texts: tuple[Tensor, Tensor]) -> Tensor:
        """What the average says of the level that one guided DDIM step of the teacher leads to."""
        x, sizes = batch["noisy"], batch["sizes"]
        context, pooled = self.conditioner(batch["negative"])
        both = torch.cat([texts[0], context]), torch.cat([texts[1], pooled])
        made = self.eps(self.base, x.repeat(2, 1, 1, 1), batch["time"].repeat(2), both, sizes.repeat(2, 1))
        wanted, unwanted = made.chunk(2)
        eps = unwanted + GUIDANCE * (wanted - unwanted)
        signal = self.abar[batch["before"]][:, None, None, None]
        lower = signal.sqrt() * self.clean(x, eps, batch["time"]) + (1 - signal).sqrt() * eps
        weights = self.lora.merged(self.base, self.average)
        return self.consistent(lower, self.eps(weights, lower, batch["before"], texts, sizes), batch["before"])

    def work(self, batch: dict[str, Tensor]) -> Tensor:
        """The pseudo-Huber loss; its gradients go into `gradients`."""
        with torch.no_grad():
            texts = self.conditioner(batch["rows"])
        target = self.target(batch, texts)
        weights = self.lora.merged(self.base, self.factors)
        made = self.eps(weights, batch["noisy"], batch["time"], texts, batch["sizes"])
        error = self.consistent(batch["noisy"], made, batch["time"]) - target
        loss = ((error.square() + HUBER**2).sqrt() - HUBER).mean()
        with torch.no_grad():
            torch._foreach_copy_(self.gradients, torch.autograd.grad(loss, self.factors))
        return loss.detach()

    def step(self, bucket: Bucket, rate: float) -> Tensor:
        """One optimizer step; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        k = self.random.choices((1, 2), (0.4, 0.6))[0]  # a request has the prompt's own text, and its styles'
        loss = self.graphs.run((*bucket.bank.size, bucket.batch, k), self.drawn(bucket, k), self.work)
        for factor, gradient in zip(self.factors, self.gradients, strict=True):
            factor.grad = gradient
        torch.nn.utils.clip_grad_norm_(self.factors, 1.0)
        self.optimizer.step()
        self.steps += 1
        with torch.no_grad():
            decay = min(0.95, self.steps / (10 + self.steps))
            torch._foreach_lerp_(self.average, [factor.detach() for factor in self.factors], 1 - decay)
        return loss

    def train(self, buckets: list[Bucket], clock: Clock) -> None:
        """Steps until the clock stops."""
        smooth = torch.zeros((), device=self.device)
        while clock.running():
            bucket = self.random.choices(buckets, [b.weight for b in buckets])[0]
            loss = self.step(bucket, self.rate * cosine(clock.share))
            smooth = torch.lerp(smooth, loss, 0.02 if clock.done else 1.0)
            if clock.tick(bucket.batch):
                clock.report(float(smooth))

    @torch.inference_mode()
    def sampled(self, prompts: list[str], side: int, steps: int) -> Tensor:
        """Clean latents of the prompts by the student alone: LCM's sampler, no guidance, seeds 0 and up."""
        context, pooled = sampling.condition(self.conditioner, [[text] for text in prompts], self.device)
        sizes = sampling.size_ids(side, side, 1.0, len(prompts), self.device)
        noise = [
            torch.randn(4, side // 8, side // 8, generator=torch.Generator().manual_seed(n))
            for n in range(len(prompts))
        ]
        x, weights = torch.stack(noise).to(self.device), self.lora.merged(self.base, self.average)
        found = x
        for step in range(steps):
            time = torch.full((len(x),), (LEVELS - step * LEVELS // steps) * STRIDE - 1, device=self.device)
            signal = self.abar[time][:, None, None, None]
            x = signal.sqrt() * found + (1 - signal).sqrt() * self.randn(*x.shape) if step else x
            found = self.consistent(x, self.eps(weights, x, time, (context, pooled), sizes), time)
        return found


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the packed checkpoint to distil")
    parser.add_argument("--out", type=Path, required=True, help="where the file, a sheet and the log go")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--seconds", type=float, default=180, help="of training, after the banks are made")
    parser.add_argument(
        "--judge", type=Path, help="a classifier (training.judge): names what is drawn of the 60 prompts"
    )
    parser.add_argument("--workers", type=int, help="processes that plan; one a core if not given")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--batch-pixels", type=int, default=512 * 1024, help="latent pixels of a step")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="four steps on small pictures, for a CPU")
    return parser.parse_args()


def main() -> None:
    """Distil, write the file, draw a few pictures."""
    options = arguments()
    logged(options.out / "few_step.log")
    end_on_sigterm()
    with planners(options.workers) as pool:
        distil(options, pool)


def distil(options: argparse.Namespace, pool) -> None:
    """The run, from sprites to the LoRA's file."""
    began, device = time.monotonic(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    facts, found = read_sprites(options.bundle / "sprites.zip")
    numbers, facts = focused(facts)
    if options.tiny:
        numbers, facts = numbers[::12], facts[::12]
    counts = TINY if options.tiny else COUNTS
    waiting = {
        hw: ask(pool, facts, count, 30_000 + hw[0] * 7 + hw[1], True, plans.FOCUSED) for hw, count in counts.items()
    }
    sheet = Sheet(
        facts,
        [found[n] for n in numbers],
        device,
        largest=128 if options.tiny else 512,
        backdrops=Backdrops.read(options.bundle, device),
    )
    unet, vae, conditioner = models.resumed(options.base)
    unet = unet.to(device, memory_format=torch.channels_last)
    negatives = torch.from_numpy(plans.negative_rows(3000, 5).astype(np.int32)).to(device)
    run = FewStep(unet, conditioner.to(device), negatives, options.rank, options.rate, options.graphs)
    vae = vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    encoder = copy.deepcopy(vae).to(run.base_type)
    buckets = []
    for (height, width), plan in waiting.items():
        bank = encode_bank(plans.joined(plan.get()), sheet, encoder, height * 8, width * 8, 20, run.generator)
        pixels = 1024 if options.tiny else options.batch_pixels
        batch = max(2, pixels // (height * width) // 16 * 16)
        buckets.append(Bucket(bank, counts[height, width] * (height * width) ** 0.5, batch))
    log.info("%d factors of rank %d; ready after %.1f s", len(run.factors), options.rank, time.monotonic() - began)
    run.train(buckets, Clock("few-step", options.seconds, 4 if options.tiny else None))
    hand_out(run, vae, options)
    if options.judge:
        compare(run, vae, *load_judge(options.judge, device))
    log.info("ended after %.1f s", time.monotonic() - began)


def hand_out(run: FewStep, vae, options: argparse.Namespace) -> None:
    """The LoRA's file, and a sheet of eight and four steps."""
    from training.sheets import contact_sheet

    names = weight_names.unet_names(run.base)
    path = options.out / "few_step_mini.safetensors"
    save_file(run.lora.exported(run.average, names), path, {"licence": LICENCE, "training": "training/README.md"})
    log.info("%s: %.2f MB", path.name, path.stat().st_size / 1e6)
    prompts, side = SHOWCASE[: 2 if options.tiny else 10], 128 if options.tiny else 512
    drawn = [sampling.pictures(vae, run.sampled(prompts, side, steps)) for steps in (8, 4)]
    contact_sheet(
        [*drawn[0], *drawn[1]],
        [f"{n}: {t}" for n in (8, 4) for t in prompts],
        len(prompts),
        256,
        options.out / "few_step.png",
    )


def compare(run: FewStep, vae, judge, names: list[str]) -> None:
    """How many objects of the 60 prompts the judge names: student without guidance, teacher with it, as many steps."""
    objects = [prompt["object"] for prompt in json.loads(plans.PROMPTS.read_text())]
    texts = [prompt["text"] for prompt in json.loads(plans.PROMPTS.read_text())]
    for steps in (4, 8):
        taught = run.sampled(texts, 512, steps)
        teacher = sampling.sample(run.unet, run.conditioner, [[t] for t in texts], [[""]] * len(texts), 512, 512, steps)
        for who, latents in (("student", taught), ("teacher", teacher)):
            pictures = torch.from_numpy(sampling.pictures(vae, latents)).permute(0, 3, 1, 2).to(run.device) / 255
            right = [names[n] == want for n, want in zip(named(judge, pictures).tolist(), objects, strict=True)]
            log.info("RESULT %s, %d steps: %.1f %% named", who, steps, 100 * float(np.mean(right)))


if __name__ == "__main__":
    main()
