"""The image encoder, its tag head and the image prompt adapter of the built-in model, in one command.

python -m training.train_image_prompt --base engine/builtin/fooocus_mini.safetensors --out DIR
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.files import builtin_set
from engine.models import eight_bit
from training import evaluate, models, pairs, plans, sampling, tags, train_tagger
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, compose, read_sprites, take
from training.focus import focused
from training.program import logged, planners
from training.sheets import contact_sheet
from training.train_adapter import Adapter, AdapterTrainer, Prompted, encode_pairs, features_of
from training.train_tagger import OBJECT, Tagger
from training.train_unet import Bucket
from training.vision import SIDE

log = logging.getLogger("training")
LICENCE = "GPL-3.0-or-later"
Sizes = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Size:
    """How much is made: composites for the encoder, how many are held out, pairs by latent size, batches, drawings."""

    pool: int
    held: int
    stages: tuple[tuple[float, Sizes], ...]
    """Where each stage of the adapter ends (a share of its time) and its banks."""
    batch: int
    batch_pixels: int
    drawings: int
    steps: int | None = None
    largest: int = 512


REAL = Size(
    60_000, 3_000, ((0.4, {(32, 32): 40_000}), (1.0, {(64, 64): 8_000, (72, 96): 6_000, (96, 72): 2_000})),
    batch=512, batch_pixels=768 * 1024, drawings=256,
)  # fmt: skip
TINY = Size(
    48, 24, ((0.5, {(32, 32): 12}), (1.0, {(16, 24): 6})),
    batch=8, batch_pixels=4096, drawings=4, steps=3, largest=256,
)  # fmt: skip


class Run:
    """The parts one after the other, and the figures found."""

    def __init__(self, options: argparse.Namespace, sheet: Sheet, pool) -> None:
        self.options, self.sheet, self.device = options, sheet, sheet.device
        self.size = TINY if options.tiny else REAL
        self.groups = options.groups
        self.figures: dict = {}
        self.generator = torch.Generator(self.device).manual_seed(21)
        self.held = pairs.ask(pool, sheet.facts, self.groups, self.size.held, 501, True)
        self.pictures = pairs.ask(pool, sheet.facts, self.groups, self.size.pool, 502, False)
        self.pairs = [
            {
                hw: pairs.ask(pool, sheet.facts, self.groups, count, 510 + 50 * n + hw[0], True)
                for hw, count in b.items()
            }
            for n, (_, b) in enumerate(self.size.stages)
        ]

    def clock(self, name: str, until: float) -> Clock:
        """A clock that runs to a moment."""
        seconds = max(1.0, until - time.monotonic())
        log.info("== %s: %s", name, f"{self.size.steps} steps" if self.size.steps else f"{seconds:.0f} s")
        return Clock(name, seconds, self.size.steps)

    # --- encoder and tag head

    def encoder(self) -> tuple[Tagger, torch.nn.Module]:
        """The tagger from its packed files, and a judge of another make."""
        until = time.monotonic() + self.options.encoder_seconds
        plan = plans.joined(self.pictures.get(timeout=180))
        pool = train_tagger.pool_of(plan, self.sheet, 0.3 * self.options.encoder_seconds)
        sizes = [len(found) for found in self.groups.values()]
        if not self.options.encoder:
            clock = self.clock("tagger", until - (0 if self.size.steps else 25))
            tagger = train_tagger.train_tagger(pool, sizes, clock, self.size.batch)
            self.hand_out_tagger(tagger)
            self.figures["tags in full"] = train_tagger.accuracy(tagger, self.held_pool, list(self.groups))
        tagger = self.read_tagger(sizes, self.options.encoder or self.options.out)
        self.figures["tags"] = train_tagger.accuracy(tagger, self.held_pool, list(self.groups))
        log.info("tags of unseen composites: %s", self.figures["tags"])
        clock = self.clock("judge", time.monotonic() + min(20, 0.2 * self.options.encoder_seconds))
        judge = train_tagger.train_judge(pool, sizes[OBJECT], clock, self.size.batch)
        return tagger, judge

    def hand_out_tagger(self, tagger: Tagger) -> None:
        """The encoder and the head, packed."""
        out = self.options.out
        eight_bit.pack(tagger.tower.exported(), out / builtin_set.IMAGE_ENCODER.name, about("image encoder"))
        head = {name: weight.detach().float().cpu() for name, weight in tagger.head.state_dict().items()}
        eight_bit.pack(
            head,
            out / builtin_set.TAG_HEAD.name,
            about("tag head") | {"groups": self.groups, "coloured": self.options.coloured},
        )

    def read_tagger(self, sizes: list[int], folder: Path) -> Tagger:
        """The tagger as its files have it."""
        tagger = Tagger(sizes)
        tagger.tower.take(eight_bit.unpack(folder / builtin_set.IMAGE_ENCODER.name))
        head = eight_bit.unpack(folder / builtin_set.TAG_HEAD.name)
        tagger.head.load_state_dict({name: weight.float() for name, weight in head.items()})
        return tagger.to(self.device).eval().requires_grad_(False)

    @property
    def held_pool(self) -> train_tagger.Pool:
        """Composites that nothing is trained on; made anew each time, the same ones."""
        return train_tagger.pool_of(self.held_plan, self.sheet, 60)

    @property
    def held_plan(self) -> dict[str, np.ndarray]:
        """Their plan."""
        return plans.joined(self.held.get(timeout=180))

    # --- adapter

    def adapter(self, tagger: Tagger) -> tuple[AdapterTrainer, models.AutoencoderKL, models.Conditioner]:
        """The trained adapter in its trainer, and the base's other nets."""
        began = time.monotonic()
        until = began + self.options.adapter_seconds
        unet, vae, conditioner = models.resumed(self.options.base)
        vae = vae.to(self.device, memory_format=torch.channels_last).requires_grad_(False).eval()
        unet = unet.to(self.device, memory_format=torch.channels_last).eval()
        conditioner = conditioner.to(self.device).eval()
        negatives = torch.from_numpy(plans.negative_rows(3000, 5).astype(np.int32)).to(self.device)
        torch.manual_seed(3)
        adapter = Adapter(unet)
        if self.options.resume:
            stored = eight_bit.unpack(self.options.resume / builtin_set.IMAGE_PROMPT.name)
            negative = load_file(self.options.resume / builtin_set.IMAGE_PROMPT_NEGATIVE.name)["data"]
            adapter.take({name: tensor.float() for name, tensor in stored.items()}, negative)
        trainer = AdapterTrainer(
            unet, conditioner, adapter.to(self.device), negatives=negatives, rate=self.options.rate,
            graphs=self.options.graphs, texts=(0.6, 0.25, 0.15), horizon=0.998,
        )  # fmt: skip
        keep: list[Bucket] = []
        for n, (ends, _) in enumerate(self.size.stages):
            fresh = self.buckets(n, vae, tagger)
            for bucket in keep:
                bucket.weight *= 0.15 * sum(b.weight for b in fresh) / sum(b.weight for b in keep)
            keep += fresh
            clock = self.clock(f"adapter{n + 1}", began + ends * (until - began))
            share = lambda _: cosine(min(1.0, (time.monotonic() - began) / (until - began)), 0.0)  # noqa: E731
            trainer.stage(keep, clock, share, lambda: self.hand_out_adapter(trainer))
        self.hand_out_adapter(trainer)
        return trainer, vae, conditioner

    def buckets(self, n: int, vae, tagger: Tagger) -> list[Bucket]:
        """A stage's banks; one that cannot be made is left out."""
        found = []
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        encoder = models.new_vae().to(self.device, kind, memory_format=torch.channels_last)
        encoder.load_state_dict(vae.state_dict())
        for size, count in self.size.stages[n][1].items():
            try:
                plan = plans.joined(self.pairs[n][size].get(timeout=180))
                bank = encode_pairs(plan, self.sheet, encoder, tagger.tower, size, 40, self.generator)
                batch = max(2, self.size.batch_pixels // (size[0] * size[1]) // 16 * 16)
                found.append(Bucket(bank, count * (size[0] * size[1]) ** 0.5, batch))  # type: ignore[arg-type]
            except Exception:
                log.exception("BANK %dx%d FAILED; going on without it", *size)
        return found

    def hand_out_adapter(self, trainer: AdapterTrainer) -> None:
        """The averaged adapter, packed, and the tokens of no picture."""
        weights, negative = trainer.average[0].adapter.exported()
        out = self.options.out
        eight_bit.pack(weights, out / builtin_set.IMAGE_PROMPT.name, about("image prompt adapter"))
        save_file({"data": negative}, out / builtin_set.IMAGE_PROMPT_NEGATIVE.name)
        log.info("handed out after %d steps", trainer.steps)

    # --- judgement

    def judged(self, trainer: AdapterTrainer, vae, conditioner, tagger: Tagger, judge: torch.nn.Module) -> None:
        """Pictures without a text, with and without an image prompt, from 8 bits and in full: object and colours."""
        prompted = trainer.average[0].eval()
        plan = self.held_plan
        tell = np.flatnonzero((plan["tags"][:, OBJECT] != tags.UNKNOWN) & (plan["effect"] == 0))[: self.size.drawings]
        references = compose(take(pairs.others(plan), tell), self.sheet, SIDE, SIDE, self.generator)
        truth = torch.from_numpy(plan["tags"][tell, OBJECT].astype(np.int64)).to(self.device)
        features = features_of(tagger.tower, references, torch.float32)
        drawn: dict[str, np.ndarray] = {}
        shots = {"without": None, "full": (0.6, 0.6)}
        for name, how in shots.items():
            drawn[name] = self.drawn(prompted, vae, conditioner, features, how)
        stored = eight_bit.unpack(self.options.out / builtin_set.IMAGE_PROMPT.name)
        prompted.adapter.take({n: t.float().to(self.device) for n, t in stored.items()}, prompted.adapter.negative)
        for name, how in {"default": (0.6, 0.6), "longer": (0.6, 1.0), "strong": (1.0, 0.9)}.items():
            drawn[name] = self.drawn(prompted, vae, conditioner, features, how)
        for name, made in drawn.items():
            self.figures[name] = self.compared(made, references, truth, tagger, judge)
            log.info("%s: %s", name, self.figures[name])
        shown = min(12, len(tell))
        sheet = [bigger(r) for r in references[:shown]] + [
            p for n in ("without", "default", "strong") for p in drawn[n][:shown]
        ]
        names = [self.groups["object"][n] for n in truth[:shown].tolist()]
        contact_sheet(sheet, names * 4, shown, 160, self.options.out / "image_prompt.png")

    def drawn(
        self, prompted: Prompted, vae, conditioner, features: Tensor, how: tuple[float, float] | None
    ) -> np.ndarray:
        """Pictures of an empty text at 256 pixels in ten steps (128 and two in a tiny run), by weight and stop."""
        side, steps = (128, 2) if self.options.tiny else (256, 10)
        made = []
        for at in range(0, len(features), 64):
            part = features[at : at + 64]
            made.append(draw(prompted, conditioner, part, how, side, steps, seed=at))
        return sampling.pictures(vae, torch.cat(made))

    def compared(self, made: np.ndarray, references: Tensor, truth: Tensor, tagger: Tagger, judge) -> dict[str, float]:
        """How many have the reference's object, by the tag head and by the judge, and how far the colours are off."""
        pictures = torch.from_numpy(made).permute(0, 3, 1, 2).to(self.device).float() / 255
        by_judge = train_tagger.judging.named(judge, pictures)
        by_tags = train_tagger.objects(tagger, pictures)
        ground = [frame(p) for p in (pictures, references)]
        return {
            "object by tags": round(float((by_tags == truth).float().mean()), 4),
            "object by judge": round(float((by_judge == truth).float().mean()), 4),
            "ground off by": round(float((ground[0] - ground[1]).abs().mean()), 4),
            "colour off by": round(float((pictures.mean((2, 3)) - references.mean((2, 3))).abs().mean()), 4),
        }


def frame(pictures: Tensor) -> Tensor:
    """The mean colour [n,3] of the upper and side rims."""
    rim = max(1, pictures.shape[-1] // 10)
    parts = [pictures[:, :, :rim].flatten(2), pictures[:, :, :, :rim].flatten(2), pictures[:, :, :, -rim:].flatten(2)]
    return torch.cat(parts, 2).mean(2)


def bigger(picture: Tensor) -> np.ndarray:
    """A picture 0..1 [3,h,w] as uint8 [h,w,3]."""
    return (picture.permute(1, 2, 0) * 255).to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def draw(
    prompted: Prompted,
    conditioner: models.Conditioner,
    features: Tensor,
    how: tuple[float, float] | None,
    side: int,
    steps: int,
    seed: int,
) -> Tensor:
    """Latents of the empty text with the default negatives; `how` is an image prompt's weight and stop, or none."""
    n, device = len(features), features.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        sides = [sampling.condition(conditioner, [t] * n, device) for t in (evaluate.negatives(), [""])]
    noise = [torch.randn(4, side // 8, side // 8, generator=torch.Generator().manual_seed(seed + i)) for i in range(n)]
    ask = asked(prompted, features, how, sides[1][0])
    return sampling.denoise(ask, sides, torch.stack(noise).to(device), side, side, steps, 4.0)


def asked(
    prompted: Prompted, features: Tensor, how: tuple[float, float] | None, positive: Tensor
) -> Callable[..., tuple[Tensor]]:
    """The UNet as the sampler calls it, which reads the pictures on its positive side while they count."""
    weight, stop = how or (0.0, 0.0)
    counts = torch.full((len(features), 1, 1), weight, device=features.device)

    def unet(x: Tensor, time: Tensor, context: Tensor, **rest):
        prompted.now = None
        if 1 - float(time) / 999 < stop:
            seen = torch.full_like(counts, context is positive, dtype=torch.bool)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
                prompted.look(features, seen, counts)
        return prompted(x, time, context, **rest)

    return unet


def about(what: str) -> dict:
    """The manifest of a part of the built-in set."""
    return {"name": f"fooocus_mini {what}", "licence": LICENCE, "training": "training/README.md"}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=builtin_set.CHECKPOINT, help="packed checkpoint to go with")
    parser.add_argument("--out", type=Path, required=True, help="where finished files go")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--encoder", type=Path, help="folder of a former run's encoder and tag head, to keep them")
    parser.add_argument("--resume", type=Path, help="folder of a former run's adapter to go on from")
    parser.add_argument("--workers", type=int, help="processes that plan; one a core if not given")
    parser.add_argument("--encoder-seconds", type=float, default=200)
    parser.add_argument("--adapter-seconds", type=float, default=280)
    parser.add_argument("--rate", type=float, default=1e-3, help="the adapter's highest learning rate")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="three steps a stage on small pictures, for a CPU")
    return parser.parse_args()


def main() -> None:
    """Train all parts; what is finished stays whatever happens to the next one."""
    options = arguments()
    logged(options.out / "image_prompt.log")
    with planners(options.workers) as workers:
        train(options, workers)


def train(options: argparse.Namespace, workers) -> None:
    """The run, from sprites to figures."""
    end_on_sigterm()
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    numbers, facts = focused(facts)
    options.groups, options.coloured = tags.groups(facts), tags.coloured(facts)
    if options.encoder:
        options.groups = eight_bit.manifest(options.encoder / builtin_set.TAG_HEAD.name)["groups"]
    if options.tiny:
        numbers, facts = numbers[::12], facts[::12]
    largest = (TINY if options.tiny else REAL).largest
    sheet = Sheet(
        facts, [pictures[n] for n in numbers], device, largest=largest, backdrops=Backdrops.read(options.bundle, device)
    )
    run = Run(options, sheet, workers)
    log.info("%d sprites on %s after %.1f s", len(facts), device, time.monotonic() - began)
    try:
        tagger, judge = run.encoder()
        trainer, vae, conditioner = run.adapter(tagger)
        run.judged(trainer, vae, conditioner, tagger, judge)
    finally:
        log.info("FIGURES %s", json.dumps(run.figures, indent=1))
        log.info("ended after %.1f s", time.monotonic() - began)


if __name__ == "__main__":
    main()
