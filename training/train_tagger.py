"""The image encoder and its tag head: composites, and one softmax over the tags of each group."""

import copy
import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import judge as judging
from training.clock import Clock, cosine
from training.compose import Sheet, compose, take
from training.tags import UNKNOWN
from training.vision import SIDE, WIDTH, Tower, roughened

log = logging.getLogger("training")
HORIZON = 0.998
OBJECT = 0
"""The place of the group of objects."""


class Tagger(nn.Module):
    """The tower and a linear head with the tags of all groups one after the other."""

    def __init__(self, sizes: list[int], width: int = WIDTH) -> None:
        super().__init__()
        self.tower, self.head, self.sizes = Tower(width), nn.Linear(width, sum(sizes)), sizes

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Each group's logits [n, tags of the group]."""
        return list(self.head(self.tower(pictures)[1]).float().split(self.sizes, 1))


@dataclass
class Pool:
    """Composites uint8 [n,3,224,224] and their tags [n, groups] on the device."""

    pictures: Tensor
    tags: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def floats(self, rows: Tensor | slice) -> Tensor:
        """Some of the pictures in 0..1."""
        return self.pictures[rows].float() / 255


def pool_of(plan: dict[str, np.ndarray], sheet: Sheet, seconds: float, batch: int = 512) -> Pool:
    """Compose the plan's pictures until done or out of time."""
    began, parts, count = time.monotonic(), [], len(plan["kind"])
    for at in range(0, count, batch):
        parts.append((compose(take(plan, slice(at, at + batch)), sheet, SIDE, SIDE) * 255 + 0.5).to(torch.uint8))
        if sheet.device.type == "cuda" and (at // batch) % 8 == 7:
            torch.cuda.synchronize()
        if time.monotonic() - began > seconds or Clock.stopping:
            break
    pictures = torch.cat(parts)
    tags = torch.from_numpy(plan["tags"][: len(pictures)].astype(np.int64)).to(sheet.device)
    log.info("pool: %d of %d pictures in %.1f s", len(pictures), count, time.monotonic() - began)
    return Pool(pictures, tags)


def group_loss(logits: list[Tensor], tags: Tensor) -> Tensor:
    """Cross entropy of every group where its tag is known; the object counts three times."""
    total = torch.zeros((), device=tags.device)
    for group, found in enumerate(logits):
        known = (tags[:, group] != UNKNOWN).sum().clamp_min(1)
        smooth = 0.05 if group == OBJECT else 0.02
        loss = F.cross_entropy(found, tags[:, group], ignore_index=UNKNOWN, label_smoothing=smooth, reduction="sum")
        total = total + (3.0 if group == OBJECT else 1.0) * loss / known
    return total


def train_tagger(pool: Pool, sizes: list[int], clock: Clock, batch: int, rate: float = 1e-3) -> Tagger:
    """The averaged tagger when the clock stops."""
    device = pool.pictures.device
    tagger = Tagger(sizes).to(device)
    average = copy.deepcopy(tagger).eval().requires_grad_(False)
    decayed = [p for p in tagger.parameters() if p.ndim > 1]
    plain = [p for p in tagger.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    smooth = torch.zeros((), device=device)
    while clock.running():
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(clock.share)
        rows = torch.randint(len(pool), (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = tagger(roughened(pool.floats(rows)))
        loss = group_loss(logits, pool.tags[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        if device.type == "cuda":
            optimizer.found_inf = (~norm.isfinite()).float()  # the fused kernel skips such a step
        optimizer.step()
        decay = min(HORIZON, (1 + clock.done) / (10 + clock.done))
        with torch.no_grad():
            now = [p.detach() for p in tagger.parameters()]
            torch._foreach_lerp_(list(average.parameters()), now, 1 - decay)
        smooth = torch.lerp(smooth, loss.detach(), 0.02 if clock.done else 1.0)
        if clock.tick(batch):
            clock.report(float(smooth))
    return average


@torch.inference_mode()
def accuracy(tagger: Tagger, pool: Pool, names: list[str], batch: int = 256) -> dict[str, float]:
    """The share of right tags in each group, of the pictures whose tag is known."""
    right, known = torch.zeros(len(names)), torch.zeros(len(names))
    for at in range(0, len(pool), batch):
        logits, tags = tagger(pool.floats(slice(at, at + batch))), pool.tags[at : at + batch]
        for group, found in enumerate(logits):
            told = tags[:, group] != UNKNOWN
            right[group] += (found.argmax(1) == tags[:, group])[told].sum().cpu()
            known[group] += told.sum().cpu()
    return {name: round(float(r / k.clamp_min(1)), 4) for name, r, k in zip(names, right, known, strict=True)}


@torch.inference_mode()
def objects(tagger: Tagger, pictures: Tensor, batch: int = 256) -> Tensor:
    """The object's number in each picture 0..1 [n,3,h,w]."""
    small = [F.interpolate(p, size=(SIDE, SIDE), mode="bilinear", antialias=True) for p in pictures.split(batch)]
    return torch.cat([tagger(p)[OBJECT].argmax(1) for p in small])


def train_judge(pool: Pool, count: int, clock: Clock, batch: int) -> nn.Module:
    """A plain CNN that names the object too, to judge what is drawn by other eyes than those it was drawn with."""
    rows = (pool.tags[:, OBJECT] != UNKNOWN).nonzero()[:, 0]
    small = torch.cat([judging.small(pool.floats(part)) for part in rows.split(1024)])
    truth, judge = pool.tags[rows, OBJECT], judging.new_judge(count).to(pool.pictures.device)
    judging.teach(judge, small, truth, clock, batch)
    return judge
