"""The second, third and fourth run: UNet and text encoders trained on from a packed checkpoint, on fewer concepts.

python -m training.refine --course third --resume engine/builtin/fooocus_mini.safetensors --out DIR --seconds 560
"""

import argparse
import copy
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.models import eight_bit
from training import models, plans, train_unet
from training.bank import encode_bank
from training.clock import Clock, cosine, end_on_sigterm
from training.compose import Backdrops, Sheet, read_sprites
from training.focus import focused, missing
from training.program import logged, planners
from training.ranks import Ranks
from training.run_all import about_sizes, ask
from training.showcase import SHOWCASE

log = logging.getLogger("training")

Counts = dict[tuple[int, int], int]
PART = 15 * 2**20
TAIL_SECONDS = 14.0


@dataclass(frozen=True)
class Stage:
    """Pictures by latent size, where the stage ends (a share of the run), and how often older banks are drawn."""

    counts: Counts
    ends: float
    older: float


@dataclass(frozen=True)
class Course:
    """The stages of a run, its noise levels, and the area above which the engine enlarges what it samples."""

    stages: tuple[Stage, ...]
    noise: train_unet.NoiseMix
    most_pixels: int


SECOND = Course(
    (
        Stage({(32, 32): 40_000}, 0.35, 0.0),
        Stage({(64, 64): 12_000, (56, 72): 5_000, (72, 56): 2_000}, 0.76, 0.12),
        Stage({(112, 144): 3_000, (144, 112): 700, (128, 128): 900, (96, 168): 500}, 1.0, 0.35),
    ),
    train_unet.NoiseMix(),
    512 * 512,
)
THIRD = Course(
    (
        Stage({(64, 64): 22_000, (56, 72): 5_000, (72, 56): 2_500, (32, 32): 12_000}, 0.4, 0.0),
        Stage({(72, 96): 16_000, (80, 80): 5_000, (96, 72): 4_000, (64, 112): 3_000, (112, 64): 2_000}, 1.0, 0.4),
    ),
    train_unet.NoiseMix(0.25, 0.2, 25.0),
    450_000,
)
"""Its larger sizes: those at which the engine samples Fooocus's own (`engine.sampling.native_size`, 450,000 pixels)."""
FOURTH = Course(
    (
        Stage({(64, 64): 20_000, (56, 72): 6_000, (72, 56): 2_500, (32, 32): 10_000}, 0.36, 0.0),
        Stage({(72, 96): 20_000, (80, 80): 5_000, (96, 72): 4_000, (64, 112): 3_000, (112, 64): 2_000}, 1.0, 0.35),
    ),
    train_unet.NoiseMix(0.25, 0.2, 25.0),
    450_000,
)
"""As the third, with backdrops of forty places, and latents encoded with a margin."""
TINY = (Stage({(32, 32): 24}, 0.4, 0.0), Stage({(16, 24): 8}, 0.7, 0.2), Stage({(32, 40): 6, (40, 32): 4}, 1.0, 0.4))
COURSES = {"second": SECOND, "third": THIRD, "fourth": FOURTH}


class Run:
    """The stages between a start and a deadline."""

    def __init__(self, options: argparse.Namespace, sheet: Sheet, waiting: list[dict], ranks: Ranks) -> None:
        self.ranks = ranks
        self.options, self.sheet, self.waiting, self.device = options, sheet, waiting, sheet.device
        self.course = COURSES[options.course]
        self.stages = TINY if options.tiny else self.course.stages
        unet, vae, conditioner = models.resumed(options.resume)
        self.vae = vae.to(self.device, memory_format=torch.channels_last).requires_grad_(False).eval()
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.encoder = copy.deepcopy(self.vae).to(kind)
        negatives = torch.from_numpy(plans.negative_rows(3000, 5).astype(np.int32)).to(self.device)
        self.trainer = train_unet.Trainer(
            unet.to(self.device, memory_format=torch.channels_last),
            conditioner.to(self.device),
            negatives,
            rate=options.rate,
            graphs=options.graphs,
            texts=(0.76, 0.15, 0.09),
            horizon=0.998,
            noise=self.course.noise,
            ranks=ranks,
        )
        self.started = time.monotonic()
        self.deadline = options.began + options.seconds - (0 if options.tiny else TAIL_SECONDS)

    def all(self) -> None:
        """Every stage; what is finished is handed out each minute."""
        keep: list[train_unet.Bucket] = []
        for n, stage in enumerate(self.stages):
            fresh = self.buckets(n, stage)
            weight = sum(b.weight for b in fresh) or 1.0
            for bucket in keep:
                bucket.weight *= stage.older * weight / ((1 - stage.older) * sum(b.weight for b in keep))
            ends = self.started + stage.ends * (self.deadline - self.started)
            clock = Clock(f"stage{n + 1}", max(1.0, ends - time.monotonic()), 6 if self.options.tiny else None)
            log.info("== %s: %.0f s, %s", clock.name, clock.seconds, [(b.bank.size, b.batch) for b in fresh])
            keep = [b for b in [*fresh, *keep] if b.weight > 0]
            self.trainer.stage(keep, clock, lambda share: cosine(self.share, 0.0), self.hand_out)
        self.hand_out()

    @property
    def share(self) -> float:
        """How much of the run is over, 0..1."""
        return min(1.0, (time.monotonic() - self.started) / max(1.0, self.deadline - self.started))

    def buckets(self, n: int, stage: Stage) -> list[train_unet.Bucket]:
        """The stage's banks; one that cannot be made is left out."""
        found, pixels = [], 2048 if self.options.tiny else self.options.batch_pixels
        for (height, width), count in stage.counts.items():
            if self.share > 0.99:
                break
            try:
                plan = plans.joined(self.waiting[n][height, width].get(timeout=120))
                bank = encode_bank(plan, self.sheet, self.encoder, height * 8, width * 8, 30, self.trainer.generator)
                batch = max(2, pixels // (height * width) // 16 * 16)
                found.append(train_unet.Bucket(bank, count * (height * width) ** 0.5, batch))
            except Exception:
                log.exception("BANK %dx%d FAILED; going on without it", height, width)
        return found

    def hand_out(self) -> None:
        """The averaged weights, packed, in parts of 15 MiB in the folder that leaves the machine."""
        if not self.ranks.first:
            return
        began, path = time.monotonic(), self.options.work / "fooocus_mini.safetensors"
        unet, conditioner = self.trainer.average
        eight_bit.pack(
            models.single_file(unet, self.vae, conditioner),
            path,
            about_sizes(all_sizes(self.stages), self.course.most_pixels),
        )
        data = path.read_bytes()
        for n, at in enumerate(range(0, len(data), PART)):
            part = self.options.out / f"{path.name}.{n}"
            part.with_suffix(".part").write_bytes(data[at : at + PART])
            part.with_suffix(".part").rename(part)
        log.info("handed out after %d steps, %.1f s", self.trainer.steps, time.monotonic() - began)

    def show(self) -> None:
        """The README's pictures and one of each place in the default style, as large as the engine samples them."""
        from training.evaluate import showcase

        size, steps, count = ((128, 192), 2, 2) if self.options.tiny else ((576, 768), 24, None)
        unet, conditioner = self.trainer.average
        there = [prompt["text"] for prompt in json.loads(plans.PLACE_PROMPTS.read_text())][::2]
        for name, prompts in (("showcase", SHOWCASE), ("places", there)):
            path = self.options.out / f"{name}.jpg"
            showcase(self.vae, unet, conditioner, prompts[:count], size, steps, path)


def all_sizes(stages: tuple[Stage, ...]) -> list[tuple[int, int]]:
    """Latent sizes of the stages."""
    return sorted({size for stage in stages for size in stage.counts})


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", type=Path, required=True, help="packed checkpoint of a former run")
    parser.add_argument("--out", type=Path, required=True, help="where finished files go")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/fooocus_training"))
    parser.add_argument("--seconds", type=float, default=440, help="from the start of the program to its end")
    parser.add_argument("--course", choices=COURSES, default="second", help="which run this is")
    parser.add_argument("--rate", type=float, default=8e-4, help="highest learning rate")
    parser.add_argument("--batch-pixels", type=int, default=768 * 1024, help="latent pixels of a step")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of the steps; eager, loudly, when they fail")
    parser.add_argument("--tiny", action="store_true", help="six steps a stage on small pictures, for a CPU")
    options = parser.parse_args()
    options.began = time.monotonic()
    return options


def main() -> None:
    """Train, hand out, draw a few pictures."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    logged(options.out / "run.log")
    with planners() as pool:
        refine(options, pool)


def refine(options: argparse.Namespace, pool) -> None:
    """The run, from sprites to pictures."""
    end_on_sigterm()
    ranks = Ranks()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    numbers, facts = focused(facts)
    if lacking := missing(facts, plans.PROMPTS):
        raise SystemExit(f"no sprites for {', '.join(lacking)}")
    if options.tiny:
        numbers, facts = numbers[::12], facts[::12]
    stages, seed = TINY if options.tiny else COURSES[options.course].stages, 7000 + 500_000 * ranks.rank
    waiting = [
        {hw: ask(pool, facts, count, seed + 1000 * n + hw[0] * 7 + hw[1], True, plans.FOCUSED) for hw, count in s.counts.items()}  # noqa: E501
        for n, s in enumerate(stages)
    ]  # fmt: skip
    log.info(
        "%d sprites of %d labels; process %d of %d",
        len(facts),
        len({f["label"] for f in facts}),
        ranks.rank,
        ranks.count,
    )
    sheet = Sheet(
        facts,
        [pictures[n] for n in numbers],
        ranks.device,
        largest=128 if options.tiny else 512,
        backdrops=Backdrops.read(options.bundle, ranks.device),
    )
    run = Run(options, sheet, waiting, ranks)
    log.info("resumed on %s after %.1f s", ranks.device, time.monotonic() - options.began)
    run.all()
    ranks.close()
    if ranks.first:
        run.show()
    log.info("ended after %.1f s", time.monotonic() - options.began)


if __name__ == "__main__":
    main()
