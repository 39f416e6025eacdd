"""The VAE's decoder trained on: sharper pictures of the same latents, so that nothing else need be trained anew.

    python -m training.train_decoder --resume engine/builtin/fooocus_mini.safetensors --out DIR --seconds 120 --graphs

The encoder stays as it is. Where the latent does not say what a texture was, L1 alone answers with its mean, which is
smooth: of the grain of grass, wood or bricks two thirds were left. So the strength of edges about each place is asked
for as well, as a share of what it should be, since texture is faint; and a discriminator, which sees pictures both as
they are and with their finest detail brought to one strength, says what still looks smoothed or made up.
"""

import argparse
import copy
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from engine.models import eight_bit, weight_names
from engine.models.vae import DOWNSCALE, decoded
from training import models, plans
from training.bank import composed, encoded
from training.captured import Graphs
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, read_sprites
from training.focus import focused
from training.program import logged, planners
from training.run_all import ask
from training.sharpness import sharpness
from training.train_vae import textures

log = logging.getLogger("training")

FILE = "decoder.safetensors"
TRAINED = "decoder.", "post_quant_conv."
MIX = replace(plans.FOCUSED, places=0.75)
"""More places than the UNet saw: it is their texture that was lost."""
CROP, INNER, NOISE = 24, slice(24, -24), 0.06
"""Side of the crops in latent pixels, the part in pixels that is compared (beyond a crop's edge the decoder sees
nothing true), and how much noise (of their spread of 1) half of the latents carry: sampled ones are not clean."""
REGION, FAINT = 8, 0.012
"""Side of the regions whose edges are weighed, and the strength from which a texture counts as one (pictures reach from
-1 to 1)."""
BEGINS = 0.15
"""The share of the run after which the discriminator counts."""


@dataclass(frozen=True)
class Weights:
    """What the parts of the loss weigh: likeness to the picture, edges, edges as a share, the discriminator."""

    likeness: float = 0.6
    edges: float = 2.0
    shares: float = 0.12
    opposed: float = 0.04


def edges(pictures: Tensor) -> Tensor:
    """Mean strength of edges across and down in regions of 8 pixels, [n,6,h/8,w/8]."""
    across, down = pictures.diff(dim=3).abs()[:, :, 1:], pictures.diff(dim=2).abs()[:, :, :, 1:]
    return F.avg_pool2d(torch.cat([across, down], 1), REGION)


def likeness(made: Tensor, true: Tensor) -> Tensor:
    """L1 at four resolutions, mostly the coarse ones, and L1 of spectra."""
    loss = 0.5 * F.l1_loss(made, true)
    for size in (2, 4, 8):
        loss = loss + 0.7 * F.l1_loss(F.avg_pool2d(made, size), F.avg_pool2d(true, size))
    for axis in (2, 3):
        loss = loss + 0.25 * F.l1_loss(made.diff(dim=axis), true.diff(dim=axis))
    spectrum = torch.fft.rfft2(made, norm="ortho").abs() - torch.fft.rfft2(true, norm="ortho").abs()
    return loss + 0.15 * spectrum.abs().mean()


def strengths(made: Tensor, true: Tensor, weights: Weights) -> Tensor:
    """How far the strength of edges is off, at two scales, in itself and as a share."""
    total = made.new_zeros(())
    for size in (1, 2):
        ours, theirs = (edges(F.avg_pool2d(p, size) if size > 1 else p) for p in (made, true))
        off = (ours - theirs).abs()
        total = total + weights.edges * off.mean() + weights.shares * (off / (theirs + FAINT)).mean()
    return total


def new_critic() -> nn.Module:
    """A patch discriminator that sees 34 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((6, 48), (48, 96), (96, 128)):
        layers += [nn.utils.spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.utils.spectral_norm(nn.Conv2d(128, 1, 3, 1, 1)))


def soft(pictures: Tensor) -> Tensor:
    """Pictures without their finest detail."""
    return F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, 1)


def shown(pictures: Tensor, true: Tensor) -> Tensor:
    """What the discriminator sees, [n,6,h,w]: pictures, and their finest detail over that of the true ones."""
    detail = true - soft(true)
    strength = F.interpolate(F.avg_pool2d(detail.abs().mean(1, keepdim=True), 16), scale_factor=16.0)
    return torch.cat([pictures, (pictures - soft(pictures)) / (2 * strength + FAINT)], 1)


@dataclass
class Pairs:
    """Pictures uint8 [n,3,h,w] and their latents, as the VAE has them, [n,4,h/8,w/8]."""

    pictures: Tensor
    latents: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, parts: Iterable[Tensor], vae: AutoencoderKL) -> "Pairs":
        """Batches of pictures in 0..1, encoded."""
        pictures, latents = [], []
        for part in parts:
            pictures.append((part * 255 + 0.5).to(torch.uint8))
            latents.append(encoded(part, vae) / models.LATENT_SCALE)
        return cls(torch.cat(pictures), torch.cat(latents))

    def crops(self, count: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random crops: latents, half of them with noise, and pictures in -1..1."""
        on = {"device": self.latents.device, "generator": generator}
        sides = (len(self.latents), *(side - CROP + 1 for side in self.latents.shape[-2:]))
        rows, tops, lefts = (torch.randint(side, (count,), **on) for side in sides)
        latents = cut(self.latents, rows, tops, lefts, CROP).float()
        noisy = torch.rand(count, 1, 1, 1, **on) < 0.5
        latents = latents + noisy * noise / models.LATENT_SCALE * torch.randn(latents.shape, **on)
        pictures = cut(self.pictures, rows, DOWNSCALE * tops, DOWNSCALE * lefts, DOWNSCALE * CROP)
        return latents, pictures.float() / 127.5 - 1


def cut(values: Tensor, rows: Tensor, tops: Tensor, lefts: Tensor, side: int) -> Tensor:
    """Squares [n,c,side,side] of some of the values [.,c,h,w]."""
    reach = torch.arange(side, device=values.device)
    found = values[rows[:, None, None], :, (tops[:, None] + reach)[:, :, None], (lefts[:, None] + reach)[:, None, :]]
    return found.permute(0, 3, 1, 2)


class DecoderTrainer:
    """A VAE whose decoder is trained, with its average; steps may be captured."""

    def __init__(self, vae: AutoencoderKL, rate: float, loss: Weights, graphs: bool) -> None:
        self.vae, self.rate, self.loss = vae.requires_grad_(False), rate, loss
        parts = [vae.decoder, vae.post_quant_conv]
        self.weights = [w.requires_grad_() for part in parts for w in part.parameters()]
        self.average = copy.deepcopy(vae).eval().requires_grad_(False)
        self.averages = [w for part in (self.average.decoder, self.average.post_quant_conv) for w in part.parameters()]
        self.device = self.weights[0].device
        self.critic = new_critic().to(self.device, memory_format=torch.channels_last)
        self.judging = list(self.critic.parameters())
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)
        self.opposing = torch.optim.AdamW(self.judging, lr=4e-4, betas=(0.5, 0.9), fused=fused)
        self.gradients, self.theirs = ([torch.zeros_like(w) for w in some] for some in (self.weights, self.judging))
        self.graphs = Graphs(self.gradients, graphs and fused)
        self.kind = torch.bfloat16 if fused else torch.float32
        self.made = torch.empty(0, device=self.device)
        self.steps = 0

    def half(self) -> torch.autocast:
        """Half precision on a GPU; nothing is kept of it, so that it can be captured."""
        return torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32, cache_enabled=False)

    def step(self, latents: Tensor, pictures: Tensor, share: float) -> Tensor:
        """One step on crops; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * cosine(share)
        opposed = self.loss.opposed * min(1.0, max(0.0, share - BEGINS) * 8)
        given = {"latents": latents, "true": pictures, "opposed": torch.tensor(opposed, device=self.device)}
        loss = self.graphs.run((), given, self.work)
        follow(self.optimizer, self.weights, self.gradients)
        self.oppose(self.made, pictures[:, :, INNER, INNER])
        follow(self.opposing, self.judging, self.theirs)
        self.steps += 1
        decay = min(0.998, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, [w.detach() for w in self.weights], 1 - decay)
        return loss

    def work(self, batch: dict[str, Tensor]) -> Tensor:
        """Put the loss's gradients into `gradients`, and what was decoded into `made`; gives the loss."""
        with self.half():
            made = decoded(self.vae, batch["latents"], models.VAE_MARGIN // 2).float()
        made, true = made[:, :, INNER, INNER], batch["true"][:, :, INNER, INNER]
        loss = self.loss.likeness * likeness(made, true) + strengths(made, true, self.loss)
        with self.half():
            loss = loss - batch["opposed"] * self.critic(shown(made, true)).float().mean()
        found = torch.autograd.grad(loss, self.weights)
        torch._foreach_copy_(self.gradients, list(found))
        self.made = made.detach()
        return loss.detach()

    def oppose(self, made: Tensor, true: Tensor) -> None:
        """Put the gradients of the discriminator's loss (hinge) into `theirs`."""
        made, true = shown(made, true), shown(true, true)
        with self.half():
            loss = F.relu(1 - self.critic(true).float()).mean() + F.relu(1 + self.critic(made).float()).mean()
        torch._foreach_copy_(self.theirs, list(torch.autograd.grad(loss, self.judging)))


def follow(optimizer: torch.optim.Optimizer, weights: list[Tensor], gradients: list[Tensor]) -> None:
    """One step of an optimizer along clipped gradients."""
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()


def clutter(count: int, height: int, width: int, device: torch.device) -> Tensor:
    """Pictures in 0..1 of abstract tiles, so that what is unlike the sprites survives too."""
    down, across = -(-height // 128), -(-width // 128)
    tiles = textures(count * down * across, device).unflatten(0, (count, down, across))
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, down * 128, across * 128)[:, :, :height, :width]


@torch.no_grad()
def measured(vae: AutoencoderKL, pictures: Tensor) -> dict[str, float]:
    """PSNR of round trips of pictures uint8, and how sharp they are beside the pictures (mean gradients)."""
    errors, ours, theirs = [], [], []
    for one in pictures.split(4):
        true = one.float() / 255
        made = decoded(vae, encoded(true, vae).to(vae.dtype) / models.LATENT_SCALE, models.VAE_MARGIN).float()
        made = (made / 2 + 0.5).clamp(0, 1)
        errors.append(-10 * (made - true).square().mean((1, 2, 3)).log10())
        pixels = [(p * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy() for p in (made, true)]
        ours.append(sharpness(pixels[0]))
        theirs.append(sharpness(pixels[1]))
    share = np.concatenate(ours).mean() / np.concatenate(theirs).mean()
    return {"psnr": round(float(torch.cat(errors).mean()), 2), "sharpness": round(float(share), 3)}


def train(options: argparse.Namespace, pool) -> None:
    """Train and hand out."""
    began = time.monotonic()
    end_on_sigterm()
    torch.manual_seed(9)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    numbers, facts = focused(facts)
    if options.tiny:
        numbers, facts = numbers[::40], facts[::40]
    count, batch, size = (8, 2, (256, 320)) if options.tiny else (options.pictures, 64, (576, 768))
    waiting = ask(pool, facts, count, 60_000, False, MIX)
    largest, backdrops = 128 if options.tiny else 512, Backdrops.read(options.bundle, device)
    sheet = Sheet(facts, [pictures[n] for n in numbers], device, largest=largest, backdrops=backdrops)
    _, vae, _ = models.resumed(options.resume)
    vae = vae.to(device, memory_format=torch.channels_last)
    parts = composed(plans.joined(waiting.get()), sheet, *size, 40)
    encoder = copy.deepcopy(vae).to(torch.bfloat16) if device.type == "cuda" else vae
    pairs = Pairs.of(chain(parts, [clutter(max(1, count // 16), *size, device)]), encoder)
    held, pairs = pairs.pictures[: count // 40 + 1], Pairs(pairs.pictures[count // 40 :], pairs.latents[count // 40 :])
    weights = Weights(options.likeness, options.edges, options.shares, options.opposed)
    trainer = DecoderTrainer(vae, options.rate, weights, options.graphs)
    log.info("%d pictures after %.1f s; before: %s", len(pairs.latents), time.monotonic() - began, measured(vae, held))
    generator = torch.Generator(device).manual_seed(13)
    clock = Clock("decoder", began + options.seconds - time.monotonic(), 3 if options.tiny else None)
    while clock.running():
        loss = trainer.step(*pairs.crops(batch, NOISE, generator), clock.share)
        if clock.tick(batch):
            clock.report(float(loss))
    log.info("%d steps, %s; after: %s", trainer.steps, weights, measured(trainer.average, held))
    state = {n: t.detach().float().cpu() for n, t in trainer.average.state_dict().items()}
    eight_bit.pack(state, options.out / FILE, {"name": "decoder", "training": "training/README.md"})


def joined(checkpoint: Path, decoder: Path, share: float, out: Path) -> None:
    """Write the checkpoint with a trained decoder in it; `share` (1: all) of what training changed is taken."""
    tensors = {name: tensor.float() for name, tensor in eight_bit.unpack(checkpoint).items()}
    theirs = {name: tensor.float() for name, tensor in eight_bit.unpack(decoder).items()}
    for name, tensor in weight_names.vae_to_ldm(theirs).items():
        if name.startswith(TRAINED):
            own = tensors[weight_names.VAE + name]
            tensors[weight_names.VAE + name] = own + share * (tensor.reshape(own.shape) - own)
    eight_bit.pack(tensors, out, eight_bit.manifest(checkpoint))


def main() -> None:
    """Train, or put a trained decoder into a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", type=Path, required=True, help="packed checkpoint whose VAE goes on")
    parser.add_argument("--out", type=Path, required=True, help="where the finished file goes")
    parser.add_argument("--join", type=Path, help="do not train: put this decoder into the checkpoint, as --out")
    parser.add_argument("--share", type=float, default=1.0, help="how much of the training's change goes into it")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--seconds", type=float, default=120, help="from the start of the program to its end")
    parser.add_argument("--rate", type=float, default=6e-4, help="highest learning rate")
    parser.add_argument("--pictures", type=int, default=2_400, help="composites to cut crops of")
    for part, value in vars(Weights()).items():
        parser.add_argument(f"--{part}", type=float, default=value, help="weight of this part of the loss")
    parser.add_argument("--workers", type=int, help="processes that plan")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="three steps on small pictures, for a CPU")
    options = parser.parse_args()
    if options.join:
        joined(options.resume, options.join, options.share, options.out)
        return
    logged(options.out / "decoder.log")
    with planners(options.workers) as pool:
        train(options, pool)


if __name__ == "__main__":
    main()
