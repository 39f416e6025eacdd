"""The judge: a classifier of the prompts' objects, taught by composites training never saw, and colour checks."""

import argparse
import json
import logging
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import plans, scenes
from training.backdrops import places
from training.clock import Clock, cosine
from training.colours import MAIN, plain_word, rgb
from training.compose import Backdrops, Sheet, compose, read_sprites, take
from training.focus import focused
from training.vision import roughened as moved

log = logging.getLogger("training")
SIDE = 96
PAINTED = 0.4
"""The share of things left in their own colours that is painted, because half of the prompts ask for a colour."""
DISTRACTORS = [
    "dog",
    "horse",
    "cow",
    "rabbit",
    "bear",
    "fox",
    "duck",
    "whale",
    "snake",
    "tree",
    "pear",
    "orange",
    "lemon",
    "carrot",
    "bread",
    "donut",
    "cookie",
    "cup of coffee",
    "helicopter",
    "ufo",
    "bell",
    "key",
    "star",
    "moon",
    "cloud",
    "gift",
    "soccer ball",
    "shoe",
    "hat",
    "glasses",
    "woman",
    "man",
    "wizard",
    "skull",
    "sofa",
    "chair",
    "bicycle",
    "television",
]


def classes(facts: list[dict]) -> dict[str, list[int]]:
    """Class name -> sprites of that name: the prompts' objects, then distractors that share no sprite with them."""
    objects = sorted({p["object"] for p in json.loads(plans.PROMPTS.read_text())})
    found: dict[str, list[int]] = {}
    taken: set[int] = set()
    for name in [*objects, *DISTRACTORS]:
        numbers = [n for n, f in enumerate(facts) if name in f["names"] and n not in taken]
        if numbers and name not in found:
            found[name] = numbers
            taken |= set(numbers)
    return found


def judge_plans(
    facts: list[dict], groups: dict[str, list[int]], count: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Single-object plans of all classes in equal shares, every colour allowed, and their class numbers."""
    rng, sprites = Random(seed), plans.Sprites(facts, [1.0] * len(facts), set(), set())
    kept: dict[str, list] = {k: [] for k in ("kind", "colours", "numbers", "layers", "recolour", "effect")}
    labels, names = [], list(groups)
    for n in range(count):
        item, story = plans.plan(sprites, rng, groups[names[n % len(names)]])
        if not story["colour"] and plans.paintable(facts[story["what"][0]]) and rng.random() < PAINTED:
            item.recolour[0] = plans.target(rng.choice(MAIN), rng)
        for key in kept:
            kept[key].append(getattr(item, key))
        labels.append(n % len(names))
    order = np.array(rng.sample(range(count), count))
    return {k: np.array(v)[order] for k, v in kept.items()}, np.array(labels)[order]


def new_judge(count: int) -> nn.Module:
    """A small residual-free CNN for 96-pixel pictures."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96), (96, 128), (128, 192)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, count))


def roughened(pictures: Tensor) -> Tensor:
    """Blur, noise, hue mixing and shifts, so that the judge reads shapes rather than pixels."""
    n, device = len(pictures), pictures.device
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, soft, torch.rand(n, 1, 1, 1, device=device))
    mix = torch.eye(3, device=device) + 0.18 * torch.randn(n, 3, 3, device=device)
    pictures = torch.einsum("nij,njhw->nihw", mix, pictures) + 0.08 * torch.randn(n, 3, 1, 1, device=device)
    return (pictures + 0.06 * torch.rand(n, 1, 1, 1, device=device) * torch.randn_like(pictures)).clamp(0, 1)


def place_plans(facts: list[dict], count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Plans of things in all places in equal shares, in backdrops held back from training, and the places' numbers."""
    rng, sprites = Random(seed), plans.Sprites.of(facts, plans.FOCUSED)
    kept: dict[str, list] = {k: [] for k in ("kind", "colours", "numbers", "layers", "recolour", "effect")}
    numbers = [rng.randrange(len(places.NAMES)) for _ in range(count)]
    for number in numbers:
        item = plans.shown(places.NAMES[number], rng, held=True)
        if rng.random() < 0.92:
            plans.stand(sprites, item, sprites.draw(rng), rng)
        for key in kept:
            kept[key].append(getattr(item, key))
    return {k: np.array(v) for k, v in kept.items()}, np.array(numbers)


def train_judge(
    sheet: Sheet, seconds: float, steps: int | None, count: int, batch: int, of_places: bool = False
) -> tuple[nn.Module, list[str], float]:
    """The judge of objects or of places, its class names and its accuracy on other composites.

    It is taught for so many seconds once the composites are made, or for a number of steps.
    """
    groups = {name: [] for name in places.NAMES} if of_places else classes(sheet.facts)
    made = place_plans(sheet.facts, count, 990_002) if of_places else judge_plans(sheet.facts, groups, count, 990_001)
    plan, labels = made
    pixels = torch.cat(
        [small(compose(take(plan, slice(at, at + 256)), sheet, 192, 192)) for at in range(0, count, 256)]
    )
    truth = torch.from_numpy(labels).to(sheet.device)
    held = max(1, count // 12)
    judge = new_judge(len(groups)).to(sheet.device, memory_format=torch.channels_last)
    first = min(held, count - 1)
    teach(judge, pixels[first:], truth[first:], Clock("judge", seconds, steps), batch)
    right = (named(judge, pixels[:held].float() / 255) == truth[:held]).float()
    somewhere = torch.from_numpy(plan["kind"][:held] == scenes.PLACE).to(sheet.device)
    for where, chosen in (("before plain backgrounds", ~somewhere), ("in places", somewhere)):
        if chosen.any():
            log.info("of unseen composites %s: %.1f %% right", where, 100 * float(right[chosen].mean()))
    return judge, list(groups), right.mean().item()


def teach(judge: nn.Module, pixels: Tensor, truth: Tensor, clock: Clock, batch: int) -> None:
    """Train a judge on small pictures uint8 [n,3,96,96] of classes [n] until the clock stops; it ends in eval mode."""
    device = pixels.device
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
    while clock.running():
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * cosine(clock.share)
        rows = torch.randint(len(pixels), (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = judge(roughened(moved(pixels[rows].float() / 255)))
        loss = F.cross_entropy(logits.float(), truth[rows], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if clock.tick(batch):
            clock.report(float(loss.detach()))
    judge.eval()


def small(pictures: Tensor) -> Tensor:
    """Pictures 0..1 as uint8 at the judge's size."""
    return (F.interpolate(pictures, size=(SIDE, SIDE), mode="area") * 255).to(torch.uint8)


@torch.inference_mode()
def named(judge: nn.Module, pictures: Tensor) -> Tensor:
    """The class number of each picture 0..1 [n,3,h,w]."""
    return torch.cat([judge(F.interpolate(p, size=(SIDE, SIDE), mode="area")).argmax(1) for p in pictures.split(256)])


def near(pixels: np.ndarray, word: str) -> np.ndarray:
    """Which pixels (floats 0..1) carry a colour word."""
    basic = plain_word(rgb(word))
    distance = np.abs(pixels - rgb(word)).mean(-1)
    return (plain_word(pixels) == basic) | (plain_word(pixels) == word) | (distance < 0.12)


def colour_seen(picture: np.ndarray, word: str, where: str) -> bool:
    """Whether a uint8 picture shows the colour: on most of its frame, or on a fifth of what stands out from it."""
    pixels = picture.astype(np.float32) / 255
    height, width = pixels.shape[:2]
    edge = np.zeros((height, width), bool)
    band = max(1, height // 10)
    edge[:band] = True
    edge[:, :band] = edge[:, -band:] = True
    edge[height * 3 // 4 :] = False
    if where == "background":
        return bool(near(pixels[edge], word).mean() > 0.5)
    ground = np.median(pixels[edge], axis=0)
    middle = pixels[height // 6 : -height // 6, width // 6 : -width // 6]
    body = middle[np.abs(middle - ground).max(-1) > 0.12]
    return bool(len(body) > 50 and near(body, word).mean() > 0.2)


def save_judge(path: Path, judge: nn.Module, names: list[str]) -> None:
    """Write a judge for `load_judge`."""
    torch.save({"classes": names, "weights": {k: v.cpu() for k, v in judge.state_dict().items()}}, path)


def load_judge(path: Path, device: torch.device) -> tuple[nn.Module, list[str]]:
    """A judge that `save_judge` wrote."""
    stored = torch.load(path, map_location=device, weights_only=True)
    judge = new_judge(len(stored["classes"])).to(device).eval()
    judge.load_state_dict(stored["weights"])
    return judge, stored["classes"]


def main() -> None:
    """Teach a judge and save it: its classes and weights, as `load_judge` reads them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--bundle", type=Path, default=Path("training/made/bundle"))
    parser.add_argument("--seconds", type=float, default=30, help="of teaching, once the composites are made")
    parser.add_argument("--pictures", type=int, default=40_000, help="composites, a twelfth of which are held back")
    parser.add_argument("--places", action="store_true", help="of places in place of objects")
    parser.add_argument("--tiny", action="store_true", help="two steps, for a CPU")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    facts, pictures = read_sprites(options.bundle / "sprites.zip")
    numbers, facts = focused(facts)
    pictures = [pictures[number] for number in numbers]
    if options.tiny:
        facts, pictures = facts[::17], pictures[::17]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sheet = Sheet(facts, pictures, device, largest=256, backdrops=Backdrops.read(options.bundle, device))
    size = (2, 96, 16) if options.tiny else (None, options.pictures, 512)
    judge, names, accuracy = train_judge(sheet, options.seconds, *size, options.places)
    save_judge(options.out, judge, names)
    log.info("%d classes, %.1f %% right on unseen composites", len(names), 100 * accuracy)


if __name__ == "__main__":
    main()
