"""The inpaint head of the built-in model, and the patch that goes with it: a masked part that fits what is around it.

    python -m training.train_inpaint_head --out DIR --seconds 150 --graphs

The head is one convolution of mask and grey latent into the UNet's first feature map; the patch a LoRA of the UNet,
which reads it. The base stays.
"""

import argparse
import copy
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.adapters.inpaint_head import InpaintFeature, InpaintHead
from engine.adapters.lora_merge import Patch, PatchedModel
from engine.models import eight_bit
from engine.plan import PATCHED_PART
from training import attached, sampling
from training.bank import Bank, composed, encoded, rows_of
from training.compose import compose, take
from training.sheets import contact_sheet
from training.train_canny import as_pictures
from training.train_unet import NoiseMix

log = logging.getLogger("training")

HEAD, PATCH = "inpaint_head_mini.safetensors", "inpaint_patch_mini.safetensors"
RANK = 12
OUTSIDE = 0.1
"""How much the error outside the mask counts: what is drawn there is pinned."""
CLOSER, ZOOM = 4, 1.35
"""Every so many-th batch shows a part of larger pictures, as inpainting's crops do."""
NOISE = NoiseMix(shapes=0.7)
"""Mostly the noise that hides what is around the mask; at little noise that shows, and the patch is off by then."""
MOST_WEIGHT = 20.0
"""How much more the error counts at much noise. The weight is that of the error in v (Salimans & Ho 2022), (1 + 1/SNR):
the eps error there is small whatever is drawn."""
TAIL_SECONDS = 22.0
RING = 12
"""Pixels inside the mask's edge where drawn and given meet."""

Rand = Callable[..., Tensor]
"""Uniform numbers of a size."""


@dataclass
class MaskedBank(Bank):
    """A bank with a mask uint8 [n,1,h,w], 1 where it is repainted, and fp16 latents of what is left."""

    masks: Tensor
    greys: Tensor


def boxes(count: int, height: int, width: int, rand: Rand) -> Tensor:
    """Rectangles [n,h,w], half of them about the middle, where the thing mostly is."""
    y = torch.linspace(0, 1, height, device=rand(1).device)[None, :, None]
    x = torch.linspace(0, 1, width, device=y.device)[None, None, :]
    middle = rand(count) < 0.5
    sides = [torch.where(middle, 0.4 + 0.5 * rand(count), 0.12 + 0.5 * rand(count)) for _ in range(2)]
    centres = [torch.where(middle, 0.42 + 0.16 * rand(count), rand(count)) for _ in range(2)]
    near = [
        (place - c[:, None, None]).abs() < s[:, None, None] / 2
        for place, c, s in zip((y, x), centres, sides, strict=True)
    ]
    return near[0] & near[1]


def blobs(count: int, height: int, width: int, rand: Rand) -> Tensor:
    """Smooth patches [n,h,w] of a tenth to two thirds of the picture."""
    grain = rand(count, 1, 5, 5)
    smooth = F.interpolate(grain, size=(height, width), mode="bicubic", align_corners=True)[:, 0]
    share = 0.1 + 0.55 * rand(count)
    ordered = smooth.flatten(1).sort(dim=1).values
    limit = ordered.gather(1, ((1 - share) * (ordered.shape[1] - 1)).long()[:, None])
    return smooth > limit[:, :, None]


def borders(count: int, height: int, width: int, rand: Rand) -> Tensor:
    """One to four sides [n,h,w], as outpainting adds them."""
    y = torch.linspace(0, 1, height, device=rand(1).device)[None, :, None]
    x = torch.linspace(0, 1, width, device=y.device)[None, None, :]
    depth = torch.where(rand(count, 4) < 0.45, 0.12 + 0.25 * rand(count, 4), 0.0)
    depth[:, 0] = torch.where(depth.sum(1) > 0, depth[:, 0], 0.23)
    top, bottom, left, right = (part[:, None, None] for part in depth.unbind(1))
    return (y < top) | (y > 1 - bottom) | (x < left) | (x > 1 - right)


def masks(count: int, height: int, width: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Masks [n,1,h,w] of 0 and 1: rectangles, patches, sides, now and then everything."""

    def rand(*size: int) -> Tensor:
        return torch.rand(*size, device=device, generator=generator)

    kind = rand(count, 1, 1)
    made = torch.where(kind < 0.45, boxes(count, height, width, rand), blobs(count, height, width, rand))
    made = torch.where(kind > 0.75, borders(count, height, width, rand), made)
    return (made | (rand(count, 1, 1) < 0.03))[:, None].float()


def cells(mask: Tensor) -> Tensor:
    """Masks of latent pixels [n,1,h/8,w/8]: 1 where any pixel is masked, as the engine has it."""
    return F.max_pool2d(mask, 8)


class LowRank(nn.Module):
    """A layer and a change of it as the product of two small ones."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.layer = layer
        if isinstance(layer, nn.Conv2d):
            kind = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            self.down = nn.Conv2d(layer.in_channels, rank, bias=False, **kind)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.normal_(self.down.weight, std=1 / math.sqrt(self.down.weight[0].numel()))
        nn.init.zeros_(self.up.weight)
        self.down.to(layer.weight.device), self.up.to(layer.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """What the changed layer gives."""
        return self.layer(x) + self.up(self.down(x))


class First(nn.Module):
    """The UNet's first layer with the head's feature, which is set before each call."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.feature: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output and the feature."""
        return self.layer(x) + self.feature


class Repainting(nn.Module):
    """A copy of the frozen UNet with the head and the changes to be trained on it."""

    def __init__(self, unet: nn.Module, rank: int) -> None:
        super().__init__()
        self.unet = copy.deepcopy(unet)
        for name in changed(unet):
            owner, _, last = name.rpartition(".")
            parent = self.unet.get_submodule(owner)
            setattr(parent, last, LowRank(parent.get_submodule(last), rank))
        first = unet.conv_in
        self.unet.conv_in = First(self.unet.conv_in)
        self.head = nn.Parameter(
            torch.zeros(first.out_channels, 1 + first.in_channels, 3, 3, device=first.weight.device)
        )

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, pooled: Tensor, sizes: Tensor, mask: Tensor, grey: Tensor
    ) -> Tensor:
        """The UNet's eps, told the mask [n,1,h,w] and the grey latent."""
        feed = F.pad(torch.cat([mask, grey], 1).to(x.dtype), (1, 1, 1, 1), mode="replicate")
        first = self.unet.conv_in
        first.feature = F.conv2d(feed, self.head)
        told = {"text_embeds": pooled, "time_ids": sizes}
        made = self.unet(x, t, context, added_cond_kwargs=told, return_dict=False)[0]
        first.feature = None
        return made

    def changes(self) -> dict[str, Tensor]:
        """The changes as a LoRA file has them."""
        found = {}
        for name, module in self.unet.named_modules():
            if isinstance(module, LowRank):
                base = f"lora_unet_{name.replace('.', '_')}"
                found[f"{base}.lora_up.weight"] = module.up.weight.detach()
                found[f"{base}.lora_down.weight"] = module.down.weight.detach()
        return found

    @torch.no_grad()
    def take(self, head: Tensor, changes: dict[str, Tensor]) -> None:
        """The inverse of what is written: the head, and the changes as `changes` names them."""
        self.head.copy_(head)
        for name, weight in self.changes().items():
            weight.copy_(changes[name])


def changed(unet: nn.Module) -> list[str]:
    """The layers that the patch changes: convolutions of the residual blocks and everything in the transformers."""
    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and (".attentions." in name or name.endswith((".conv1", ".conv2")))
        and "time_emb" not in name
    ]


class HeadTrainer(attached.AttachedTrainer):
    """Trains head and changes."""

    untold = 0.1

    @torch.no_grad()
    def drawn(self, bank: MaskedBank, batch: int, k: int) -> dict[str, Tensor]:
        """A batch with masks and what they leave."""
        rows = self.chosen(bank, batch)
        made = self.noisy(bank, rows, k)
        signal = self.abar[made["time"]]
        made["weight"] *= (1 / signal).clamp(max=MOST_WEIGHT)  # 1 + 1/SNR
        return made | {"mask": bank.masks[rows].float(), "grey": bank.greys[rows].float()}

    def error(self, batch: dict[str, Tensor], skip: int) -> Tensor:
        """The eps error, of less weight outside the mask."""
        net, conditioner = self.copy
        context, pooled = conditioner(batch["rows"], skip)
        made = net(batch["noisy"], batch["time"], context, pooled, batch["sizes"], batch["mask"], batch["grey"])
        counts = OUTSIDE + (1 - OUTSIDE) * batch["mask"]
        return (made.float() - batch["noise"]) * (counts / counts.mean((2, 3), keepdim=True)).sqrt().clamp(max=3)


@torch.no_grad()
def left(pictures: Tensor, mask: Tensor, vae: nn.Module) -> Tensor:
    """Latents of the pictures with the masked part grey."""
    return encoded(pictures * (1 - mask) + 0.5 * mask, vae)


def sets(base: attached.Base, side: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Held pictures 0..1, masks and token rows to measure with."""
    plan = take(base.held, slice(0, count))
    true = torch.cat([compose(take(plan, slice(n, n + 8)), base.sheet, side, side) for n in range(0, count, 8)])
    generator = torch.Generator(base.device).manual_seed(21)
    return (
        true,
        masks(count, side, side, base.device, generator),
        torch.from_numpy(plan["rows"][:, :1].astype(np.int32)),
    )


@torch.no_grad()
def measured(base: attached.Base, out: Path, side: int, steps: int, count: int) -> dict[str, dict[str, float]]:
    """What is drawn into masks of held pictures with and without the files, by the engine's code for them."""
    true, mask, rows = sets(base, side, count)
    small = cells(mask)
    latents, grey = encoded(true, base.encoder).float(), left(true, mask, base.encoder).float()
    nothing = torch.from_numpy(np.stack([attached.row("")[None]] * count))
    sides = [base.conditioner(part.to(base.device)) for part in (nothing, rows)]
    noise = torch.randn(count, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(5)).to(base.device)
    head = InpaintHead.load(out / HEAD, base.device)
    feature = torch.cat([head.feature(small[n : n + 1], grey[n : n + 1]) for n in range(count)])
    model = PatchedModel(base.unet)
    found, sheet = {}, [*as_pictures(true), *as_pictures(true * (1 - mask) + 0.5 * mask)]

    def drawn(name: str, patches: list[Patch], features: list[InpaintFeature]) -> None:
        pinned = sampling.Pinned(latents, small, torch.Generator(base.device).manual_seed(6))
        with ExitStack() as inforce:
            inforce.callback(model.apply, [])
            if notes := model.apply(patches):
                raise SystemExit(f"the patch does not fit: {notes}")
            for each in features:
                inforce.enter_context(each.attached(base.unet))

            def before(step: int) -> None:
                if step == round(PATCHED_PART * steps):  # as in the engine
                    inforce.close()

            latent = sampling.denoise(base.unet, sides, noise, side, side, steps, 4.0, pinned, before)
        made = torch.from_numpy(sampling.pictures(base.vae, latent)).permute(0, 3, 1, 2).to(base.device).float() / 255
        sheet.extend(as_pictures(made * mask + true * (1 - mask)))
        found[name] = compared(made, true, mask)

    patches, features = [Patch(out / PATCH, 1.0, unet_only=True)], [InpaintFeature(feature)]
    drawn("without", [], [])
    drawn("patch alone", patches, [])
    drawn("head and patch", patches, features)
    drawn("head alone", [], features)
    captions = [f"{way} {n}" for way in ("true", "given", *found) for n in range(count)]
    contact_sheet(sheet, captions, count, 160, out / "inpaint.jpg")
    return found


def compared(made: Tensor, true: Tensor, mask: Tensor) -> dict[str, float]:
    """PSNR inside the masks and along their edges (inside, and where something is left), in dB."""
    kept = F.max_pool2d(1 - mask, 2 * RING + 1, 1, RING)
    ring = mask * kept
    error = (made - true).square().mean(1, keepdim=True)
    figures = {}
    for name, where in (("inside", mask), ("edge", ring)):
        each = (error * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp_min(1)
        there = where.sum((1, 2, 3)) > 0
        figures[name] = float((-10 * each[there].clamp_min(1e-6).log10()).mean())
    return figures


def train(base: attached.Base, options: argparse.Namespace) -> None:
    """Head and patch, from their start to their figures."""
    net = Repainting(base.unet, RANK)
    if options.resume:
        net.take(load_file(options.resume / HEAD)["head"], eight_bit.unpack(options.resume / PATCH))
    trainer = HeadTrainer(
        net,
        base.conditioner,
        base.negatives,
        rate=options.rate,
        graphs=options.graphs,
        texts=attached.TEXTS,
        horizon=0.998,
        noise=NOISE,
    )
    log.info("head and patch have %.2f M weights", sum(weight.numel() for weight in trainer.weights) / 1e6)

    def bank_of(plan: dict[str, np.ndarray], height: int, width: int, seconds: float) -> MaskedBank:
        latents, greys, small, numbers, generator = [], [], [], [], trainer.generator
        for part, rows in closer(plan, base, height, width, seconds, generator):
            mask = masks(len(part), height, width, base.device, generator)
            latents.append(encoded(part, base.encoder))
            greys.append(left(part, mask, base.encoder))
            small.append(cells(mask).to(torch.uint8))
            numbers.append(rows)
        found = take(plan, np.concatenate(numbers))
        count = len(found["kind"])
        log.info("bank %dx%d: %d of %d", height, width, count, len(plan["kind"]))
        rows = rows_of(found, count, base.device)
        return MaskedBank(torch.cat(latents), rows, torch.cat(small), torch.cat(greys))

    def hand_out() -> None:
        net = trainer.average[0]
        save_file({"head": net.head.detach().float().cpu().contiguous()}, options.out / HEAD)
        changes = {name: tensor.float().cpu().contiguous() for name, tensor in net.changes().items()}
        eight_bit.pack(changes, options.out / PATCH, attached.about("inpaint_patch_mini", options.base))

    attached.trained(trainer, base, options, bank_of, 0.0 if options.tiny else TAIL_SECONDS, hand_out)
    log.info("%d steps", trainer.steps)
    side, steps, count = (128, 2, 3) if options.tiny else (512, 20, 24)
    figures = measured(base, options.out, side, steps, count)
    size = sum((options.out / name).stat().st_size for name in (HEAD, PATCH))
    attached.table(f"INPAINT {size / 1e6:.2f} MB, dB", figures, options.out / "inpaint.json")


def closer(
    plan: dict[str, np.ndarray],
    base: attached.Base,
    height: int,
    width: int,
    seconds: float,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Batches of the plan's pictures and their numbers; one in CLOSER pictures is cut from a larger one."""
    numbers, wanted = np.arange(len(plan["kind"])), (height, width)
    large = tuple(round(side * ZOOM / 8) * 8 for side in wanted)
    for rows, size, time in (
        (numbers[::CLOSER], large, seconds / CLOSER),
        (numbers[numbers % CLOSER > 0], wanted, seconds),
    ):
        done = 0
        for part in composed(take(plan, rows), base.sheet, *size, time, generator, 16_000_000):
            top, first = (
                int(torch.randint(0, there - side + 1, (1,), device=base.device, generator=generator))
                for there, side in zip(size, wanted, strict=True)
            )
            yield part[:, :, top : top + height, first : first + width], rows[done : done + len(part)]
            done += len(part)


def main() -> None:
    """Train, hand out, measure."""
    parser = attached.arguments(__doc__, 150, 5e-4)
    parser.add_argument("--resume", type=Path, help="folder of a former run's files to go on from")
    options = parser.parse_args()
    attached.run(options, "inpaint", train, held=3 if options.tiny else 24)


if __name__ == "__main__":
    main()
