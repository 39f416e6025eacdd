"""Everything in one command: sprites, VAE, three UNet stages, judge, packing, evaluation.

    python -m training.run_all --bundle training/made/bundle --out DIR --seconds 1080

A first pass of three steps a stage (`--smoke` does only that) shows within a minute that every stage runs here.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import plans
from training.program import logged, planners
from training.showcase import SHOWCASE

log = logging.getLogger("training")


@dataclass(frozen=True)
class Size:
    """How much one pass does: counts of planned pictures by latent size, batch sizes, steps when smoking."""

    stage1: dict[tuple[int, int], int]
    stage2: dict[tuple[int, int], int]
    stage3: dict[tuple[int, int], int]
    batch_pixels: int
    vae_crops: int
    judge_pictures: int
    showcase: int
    steps: int | None = None
    seconds: float = 0.0


REAL = Size(
    {(32, 32): 150_000, (32, 40): 20_000},
    {(64, 64): 44_000, (56, 72): 24_000, (72, 56): 8_000, (48, 48): 8_000, (40, 72): 4_000},
    {(112, 144): 15_000, (144, 112): 4_000, (128, 128): 5_000, (96, 168): 2_500, (168, 96): 2_000, (88, 120): 4_000},
    batch_pixels=512 * 1024, vae_crops=128, judge_pictures=40_000, showcase=20,
)  # fmt: skip
SMOKE = Size(
    {(32, 32): 64, (32, 40): 64}, {(64, 64): 64, (56, 72): 32}, {(112, 144): 16, (96, 168): 8},
    batch_pixels=512 * 1024, vae_crops=128, judge_pictures=512, showcase=2, steps=3,
)  # fmt: skip
TINY = Size(
    {(32, 32): 8}, {(16, 24): 4}, {(32, 40): 4},
    batch_pixels=2048, vae_crops=4, judge_pictures=96, showcase=2, steps=2,
)  # fmt: skip

SHARES = {"vae": 0.29, "stage1": 0.22, "stage2": 0.24, "stage3": 0.25}
TAIL_SECONDS = 75.0


def plan_banks(size: Size, facts: list[dict], pool) -> dict[str, dict[tuple[int, int], object]]:
    """Start planning all banks in the worker processes; results are fetched with .get()."""
    waiting: dict[str, dict[tuple[int, int], object]] = {
        "vae": {(0, 0): ask(pool, facts, min(20_000, sum(size.stage1.values())), 17, False)}
    }
    for n, stage in enumerate(("stage1", "stage2", "stage3")):
        waiting[stage] = {
            hw: ask(pool, facts, count, 1000 * n + hw[0] * 7 + hw[1], True)
            for hw, count in getattr(size, stage).items()
        }
    return waiting


def ask(pool, facts: list[dict], count: int, seed: int, captions: bool, mix: plans.Mix = plans.BROAD):
    """Plans of one bank, made in the background."""
    share = min(1000, -(-count // 2))
    tasks = [(facts, min(share, count - at), seed * 100_003 + at, captions, mix) for at in range(0, count, share)]
    return pool.map_async(plans.portion, tasks, chunksize=1)


class Run:
    """One pass over all stages with its budget."""

    def __init__(self, size: Size, options: argparse.Namespace, sheet, table, pool, out: Path) -> None:
        self.size, self.options, self.sheet, self.table, self.out = size, options, sheet, table, out
        self.device = sheet.device
        self.deadline = time.monotonic() + size.seconds - TAIL_SECONDS
        self.waiting = plan_banks(size, sheet.facts, pool)
        self.left = dict(SHARES)
        out.mkdir(parents=True, exist_ok=True)

    def clock(self, stage: str):
        """The stage's budget: its share of the time left for all stages still to come."""
        from training.clock import Clock

        seconds = max(
            5.0, (self.deadline - time.monotonic()) * self.left.pop(stage) / (sum(self.left.values()) + SHARES[stage])
        )
        log.info("== %s: %s", stage, f"{self.size.steps} steps" if self.size.steps else f"{seconds:.0f} s")
        return Clock(stage, seconds, self.size.steps)

    def all(self) -> None:
        """Every stage in order, then the files."""
        vae = self.train_vae()
        unet, conditioner = self.train_unet(vae)
        judge, names, accuracy = self.train_judge()
        self.show(vae, unet, conditioner, judge, names, accuracy)

    def train_vae(self):
        """A trained VAE with SDXL's latent scale folded in."""
        import torch

        from training import models, train_vae
        from training.compose import compose, take

        torch.manual_seed(1)
        torch.backends.cudnn.benchmark = True  # few shapes here and in stage 1; later ones would pay for each bucket
        vae = models.new_vae().to(self.device, memory_format=torch.channels_last)
        plan = plans.joined(self.waiting["vae"][0, 0].get())
        canvas = train_vae.Canvas(plan, self.sheet, self.size.vae_crops)
        vae = train_vae.train_vae(vae, canvas, self.clock("vae"))
        count = min(len(plan["kind"]), 192 if self.device.type == "cuda" else 4)
        side = 512 if self.device.type == "cuda" else 128
        pictures = compose(take(plan, slice(-count, None)), self.sheet, side, side)
        before = train_vae.measured_psnr(vae, pictures[:64])
        mean, std = train_vae.settle(vae, pictures)
        log.info("VAE psnr %.2f dB, folded %.2f dB, latent mean %s std %s", before, train_vae.measured_psnr(vae, pictures[:64]),  # noqa: E501
                 np.round(mean.tolist(), 2), np.round(std.tolist(), 2))  # fmt: skip
        torch.save(vae.state_dict(), self.out / "vae.pt")
        return vae.requires_grad_(False).eval()

    def buckets(self, stage: str, vae, seconds: float) -> list:
        """The stage's banks, encoded, with batch sizes for equal work."""
        from training.bank import encode_bank
        from training.train_unet import Bucket

        counts, found = getattr(self.size, stage), []
        for (height, width), count in counts.items():
            plan = plans.joined(self.waiting[stage][height, width].get())
            share = seconds * count * height * width / sum(c * h * w for (h, w), c in counts.items())
            bank = encode_bank(plan, self.sheet, vae, height * 8, width * 8, max(2.0, share * 1.3))
            found.append(
                Bucket(bank, count * (height * width) ** 0.5, max(2, self.size.batch_pixels // (height * width)))
            )
        return found

    def train_unet(self, vae):
        """The averaged UNet and text encoders after three stages."""
        import torch

        from training import models, train_unet

        torch.manual_seed(2)
        unet = models.new_unet().to(self.device, memory_format=torch.channels_last)
        conditioner = models.Conditioner(self.table).to(self.device)
        negatives = torch.from_numpy(plans.negative_rows(3000, 5).astype(np.int32)).to(self.device)
        trainer = train_unet.Trainer(unet, conditioner, negatives)
        keep: list = []
        for stage, rates, old in (
            ("stage1", (1.0, 0.85), 0.0),
            ("stage2", (0.75, 0.4), 0.15),
            ("stage3", (0.35, 0.02), 0.45),
        ):
            span = (self.deadline - time.monotonic()) * self.left[stage] / sum(self.left.values())
            fresh = self.buckets(stage, vae, 0.28 * span)
            clock_budget = self.clock(stage)
            torch.backends.cudnn.benchmark = stage == "stage1"
            total = sum(b.weight for b in fresh)
            for bucket in keep:
                bucket.weight *= old * total / ((1 - old) * sum(b.weight for b in keep)) if old else 0
            trainer.stage(
                [*fresh, *(b for b in keep if b.weight > 0)],
                clock_budget,
                lambda share, rates=rates: rates[0] + (rates[1] - rates[0]) * share,
            )
            keep += fresh
            self.write(vae, *trainer.average)
        averaged, conditioner = trainer.average
        return averaged, conditioner

    def train_judge(self):
        """The classifier, its classes and its accuracy on unseen composites."""
        from training.judge import save_judge, train_judge

        batch = 512 if self.device.type == "cuda" else 16
        judge, names, accuracy = train_judge(self.sheet, 30, self.size.steps, self.size.judge_pictures, batch)
        save_judge(self.out / "judge.pt", judge, names)
        log.info("judge: %d classes, %.1f %% right on unseen composites", len(names), 100 * accuracy)
        return judge, names, accuracy

    def write(self, vae, unet, conditioner) -> None:
        """The packed checkpoint and the fp16 one (without token tables)."""
        from safetensors.torch import save_file

        from engine.models import eight_bit
        from training import models

        weights = models.single_file(unet, vae, conditioner)
        eight_bit.pack(weights, self.out / "fooocus_mini.safetensors", about(self.size))
        slim = {k: v.half().contiguous() for k, v in weights.items() if k not in (eight_bit.TABLE_L, eight_bit.TABLE_G)}
        save_file(slim, self.out / "fooocus_mini_fp16.safetensors")
        back, worst = eight_bit.unpack(self.out / "fooocus_mini.safetensors"), 0.0
        for name, weight in weights.items():
            worst = max(worst, float((back[name].float() - weight).norm() / weight.norm().clamp_min(1e-9)))
        log.info(
            "packed %.2f MB, worst relative error of a tensor %.4f",
            (self.out / "fooocus_mini.safetensors").stat().st_size / 1e6,
            worst,
        )

    def show(self, vae, unet, conditioner, judge, names: list[str], accuracy: float) -> None:
        """Draw the evaluation prompts and the showcase; judge the former."""
        from training.evaluate import rates, showcase

        prompts = json.loads(plans.PROMPTS.read_text())
        if self.size.steps:
            prompts = prompts[:2]
        side, steps = (512, 30) if not self.size.steps else (128, 2)
        result = rates(vae, unet, conditioner, judge, names, prompts, side, steps, self.out / "evaluation.png")
        log.info(
            "RESULT object %.1f %% colour %.1f %% (judge itself %.1f %%)",
            100 * result["object"],
            100 * result["colour"],
            100 * accuracy,
        )
        size = (896, 1152) if not self.size.steps or self.device.type == "cuda" else (128, 192)
        showcase(vae, unet, conditioner, SHOWCASE[: self.size.showcase], size, steps, self.out / "showcase.png")
        (self.out / "result.json").write_text(json.dumps(result | {"judge": accuracy}, indent=1))


def about(size: Size) -> dict:
    """The manifest of a first run."""
    return about_sizes([hw for stage in (size.stage1, size.stage2, size.stage3) for hw in stage])


MOST_PIXELS = 512 * 512
"""Above this the engine samples at this area and enlarges: pictures of 1 MP had too little training to hold shapes."""


def about_sizes(latents: list[tuple[int, int]], most_pixels: int = MOST_PIXELS) -> dict:
    """The manifest that travels in the packed file, from latent heights and widths."""
    from training.models import VAE_MARGIN

    sizes = sorted({(w * 8, h * 8) for h, w in latents})
    return {
        "name": "fooocus_mini", "licence": "GPL-3.0-or-later", "native_sizes": sizes, "most_pixels": most_pixels,
        "vae_margin": VAE_MARGIN, "prediction": "eps", "training": "training/README.md",
    }  # fmt: skip


def split(out: Path, into: Path) -> None:
    """Copy what must leave the machine to `into`: at most 8 files of at most 15 MiB (large ones in numbered parts)."""
    into.mkdir(parents=True, exist_ok=True)
    for name in (
        "fooocus_mini.safetensors",
        "fooocus_mini_fp16.safetensors",
        "judge.pt",
        "evaluation.png",
        "showcase.png",
        "run.log",
    ):
        path, limit = out / name, 15 * 2**20
        if not path.exists():
            log.warning("no %s to hand out", name)
            continue
        data = path.read_bytes()
        if name == "run.log":
            data = data[-(2**20) :]
        pieces = [data[at : at + limit] for at in range(0, len(data), limit)]
        for n, piece in enumerate(pieces):
            (into / (name if len(pieces) == 1 else f"{name}.{n}")).write_bytes(piece)
    log.info("files: %s", ", ".join(f"{p.name} {p.stat().st_size / 1e6:.1f} MB" for p in sorted(into.iterdir())))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--out", type=Path, required=True, help="where finished files go")
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/fooocus_training"), help="checkpoints and unsplit files"
    )
    parser.add_argument(
        "--seconds", type=float, default=1080, help="everything after the first pass, evaluation included"
    )
    parser.add_argument("--smoke", action="store_true", help="only the first pass")
    parser.add_argument("--no-smoke", action="store_true", help="skip the first pass")
    parser.add_argument("--tiny", action="store_true", help="a pass for a CPU: few sprites, small pictures, two steps")
    return parser.parse_args()


def main() -> None:
    """Run the passes."""
    options = arguments()
    logged(options.work / "run.log", options.out / "run.log")
    with planners() as pool:
        passes(options, pool)


def passes(options: argparse.Namespace, pool) -> None:
    """The smoke pass, then the real one."""
    import torch

    from training import models
    from training.clock import end_on_sigterm
    from training.compose import Backdrops, Sheet, read_sprites

    end_on_sigterm()
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    facts, found = read_sprites(options.bundle / "sprites.zip")
    log.info("%d sprites decoded in %.1f s", len(facts), time.monotonic() - began)
    if options.tiny:
        facts, found = facts[::17], found[::17]
    sheet = Sheet(
        facts, found, device, largest=256 if options.tiny else 512, backdrops=Backdrops.read(options.bundle, device)
    )
    table = models.read_table(options.bundle / "token_table.npz", device)
    log.info(
        "sprites on %s after %.1f s",
        torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        time.monotonic() - began,
    )
    if options.tiny or not options.no_smoke:
        Run(TINY if options.tiny else SMOKE, options, sheet, table, pool, options.work / "smoke").all()
        log.info("first pass took %.1f s", time.monotonic() - began)
        if options.smoke or options.tiny:
            split(options.work / "smoke", options.out)
            return
    size = Size(**{**vars(REAL), "seconds": options.seconds})
    try:
        Run(size, options, sheet, table, pool, options.work).all()
    finally:
        split(options.work, options.out)


if __name__ == "__main__":
    main()
