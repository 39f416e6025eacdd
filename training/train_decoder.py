"""The VAE's decoder trained on: sharper pictures of the same latents, so that nothing else need be trained anew.

    python -m training.train_decoder --resume engine/builtin/fooocus_mini.safetensors --out DIR --seconds 120

The encoder stays as it is. Where the latent does not say what a texture was, L1 alone answers with its mean; the mean
strength of edges about each place is asked for as well, and a small discriminator says what still looks smoothed.
"""

import argparse
import copy
import logging
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from engine.models import eight_bit, weight_names
from engine.models.vae import decoded, posterior
from training import models, plans
from training.bank import composed
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, read_sprites
from training.focus import focused
from training.program import logged, planners
from training.run_all import ask
from training.train_vae import distance, textures

log = logging.getLogger("training")

FILE = "decoder.safetensors"
CROP, NOISE = 192, 0.06
"""Side of the crops in pixels, and how much noise (of the latents' spread of 1) half of the latents carry: sampled ones
are never quite clean."""
STRENGTH, REGION = 1.0, 8
OPPOSED, BEGINS = 0.03, 0.3
"""The discriminator's weight, and the share of the run after which it counts."""


def edges(pictures: Tensor) -> Tensor:
    """Mean edge strength in regions of 8 pixels."""
    across, down = pictures.diff(dim=3).abs()[:, :, 1:], pictures.diff(dim=2).abs()[:, :, :, 1:]
    return F.avg_pool2d(across + down, REGION)


def new_critic() -> nn.Module:
    """A patch discriminator that sees 34 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96)):
        layers += [nn.utils.spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.utils.spectral_norm(nn.Conv2d(96, 1, 3, 1, 1)))


class DecoderTrainer:
    """A VAE whose decoder is trained, with its average."""

    def __init__(self, vae: AutoencoderKL, rate: float) -> None:
        self.vae, self.rate = vae.requires_grad_(False), rate
        self.parts = [vae.decoder, vae.post_quant_conv]
        self.weights = [w.requires_grad_() for part in self.parts for w in part.parameters()]
        self.average = copy.deepcopy(vae).eval().requires_grad_(False)
        self.averages = [w for part in (self.average.decoder, self.average.post_quant_conv) for w in part.parameters()]
        self.device = self.weights[0].device
        self.critic = new_critic().to(self.device)
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)
        self.opposing = torch.optim.AdamW(self.critic.parameters(), lr=3e-4, betas=(0.5, 0.9), fused=fused)
        self.kind = torch.bfloat16 if fused else torch.float32
        self.steps = 0

    def step(self, crops: Tensor, share: float) -> Tensor:
        """One step on crops in -1..1; gives the loss without the discriminator's part."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * cosine(share)
        with torch.no_grad(), torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32):
            latents = posterior(self.vae, crops, 0).mean.float()
            noisy = torch.rand(len(latents), 1, 1, 1, device=self.device) < 0.5
            latents = latents + noisy * NOISE / models.LATENT_SCALE * torch.randn_like(latents)
        with torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32):
            made = decoded(self.vae, latents, models.VAE_MARGIN // 2).float()
        inner = slice(24, -24)  # the crop's own edge is no picture's edge: what the encoder saw there were zeros
        made, true = made[:, :, inner, inner], crops[:, :, inner, inner]
        plain = distance(made, true) + STRENGTH * F.l1_loss(edges(made), edges(true))
        loss = plain
        if share > BEGINS:
            with torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32):
                loss = plain - OPPOSED * min(1.0, (share - BEGINS) * 5) * self.critic(made).float().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        if share > BEGINS * 0.7:
            self.oppose(made.detach(), true)
        self.steps += 1
        decay = min(0.998, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, [w.detach() for w in self.weights], 1 - decay)
        return plain.detach()

    def oppose(self, made: Tensor, true: Tensor) -> None:
        """One step of the discriminator (hinge loss)."""
        with torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32):
            loss = F.relu(1 - self.critic(true).float()).mean() + F.relu(1 + self.critic(made).float()).mean()
        self.opposing.zero_grad(set_to_none=True)
        loss.backward()
        self.opposing.step()


@torch.no_grad()
def crops_of(pictures: Tensor, count: int) -> Tensor:
    """Random crops of pictures in 0..1, as -1..1; a few are abstract clutter."""
    height, width = pictures.shape[-2:]
    found = []
    for number in torch.randint(len(pictures), (count,)).tolist():
        top, left = (int(torch.randint(0, side - CROP + 1, (1,))) for side in (height, width))
        found.append(pictures[number, :, top : top + CROP, left : left + CROP])
    made = torch.stack(found)
    clutter = max(1, count // 16)
    made[:clutter] = F.interpolate(textures(clutter, made.device), size=(CROP, CROP), mode="bicubic").clamp(0, 1)
    return (made * 2 - 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def measured(vae: AutoencoderKL, pictures: Tensor) -> dict[str, float]:
    """PSNR of round trips of pictures in 0..1, and the strength of their edges beside the pictures' own."""
    kind = torch.bfloat16 if pictures.is_cuda else torch.float32
    psnr, share = [], []
    for one in pictures.split(4):
        with torch.autocast(one.device.type, kind, enabled=kind != torch.float32):
            latents = posterior(vae, one * 2 - 1, models.VAE_MARGIN).mean.float()
            made = decoded(vae, latents, models.VAE_MARGIN).float()
        made = (made / 2 + 0.5).clamp(0, 1)
        psnr.append((-10 * (made - one).square().mean((1, 2, 3)).log10()).mean())
        share.append((edges(made).mean((1, 2, 3)) / edges(one).mean((1, 2, 3))).mean())
    return {"psnr": float(torch.stack(psnr).mean()), "edges": float(torch.stack(share).mean())}


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
        numbers, facts = numbers[::12], facts[::12]
    count, batch, size = (8, 2, (256, 320)) if options.tiny else (6_000, 64, (576, 768))
    waiting = ask(pool, facts, count, 60_000, False, plans.FOCUSED)
    largest = 128 if options.tiny else 512
    backdrops = Backdrops.read(options.bundle, device)
    sheet = Sheet(facts, [pictures[n] for n in numbers], device, largest=largest, backdrops=backdrops)
    _, vae, _ = models.resumed(options.resume)
    vae = vae.to(device, memory_format=torch.channels_last)
    made = [(part * 255).to(torch.uint8) for part in composed(plans.joined(waiting.get()), sheet, *size, 40)]
    shown = torch.cat(made)
    held, shown = shown[:24].float() / 255, shown[24:] if len(shown) > 48 else shown
    trainer = DecoderTrainer(vae, options.rate)
    log.info("%d pictures after %.1f s; before: %s", len(shown), time.monotonic() - began, measured(vae, held))
    clock = Clock("decoder", began + options.seconds - time.monotonic(), 3 if options.tiny else None)
    while clock.running():
        some = shown[torch.randint(len(shown), (max(1, batch // 4),), device=device)].float() / 255
        loss = trainer.step(crops_of(some, batch), clock.share)
        if clock.tick(batch):
            clock.report(float(loss))
    log.info("%d steps; after: %s", trainer.steps, measured(trainer.average, held))
    state = {n: t.detach().float().cpu() for n, t in trainer.average.state_dict().items()}
    eight_bit.pack(state, options.out / FILE, {"name": "decoder", "training": "training/README.md"})


def joined(checkpoint: Path, decoder: Path, out: Path, about: dict) -> None:
    """Write the checkpoint with a trained decoder in it."""
    tensors = {name: tensor.float() for name, tensor in eight_bit.unpack(checkpoint).items()}
    theirs = {name: tensor.float() for name, tensor in eight_bit.unpack(decoder).items()}
    named = {weight_names.VAE + name: tensor for name, tensor in weight_names.vae_to_ldm(theirs).items()}
    eight_bit.pack(tensors | named, out, about)


def main() -> None:
    """Train, or put a trained decoder into a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", type=Path, required=True, help="packed checkpoint whose VAE goes on")
    parser.add_argument("--out", type=Path, required=True, help="where the finished file goes")
    parser.add_argument("--join", type=Path, help="do not train: put this decoder into the checkpoint, as --out")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--seconds", type=float, default=120, help="from the start of the program to its end")
    parser.add_argument("--rate", type=float, default=6e-4, help="highest learning rate")
    parser.add_argument("--workers", type=int, help="processes that plan")
    parser.add_argument("--tiny", action="store_true", help="three steps on small pictures, for a CPU")
    options = parser.parse_args()
    if options.join:
        joined(options.resume, options.join, options.out, eight_bit.manifest(options.resume))
        return
    logged(options.out / "decoder.log")
    with planners(options.workers) as pool:
        train(options, pool)


if __name__ == "__main__":
    main()
