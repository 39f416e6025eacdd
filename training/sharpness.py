"""How sharp pictures are: mean gradients, of drawn ones and of training pictures of the same size."""

from pathlib import Path
from random import Random

import numpy as np
import torch

from training import plans
from training.backdrops import places
from training.compose import Backdrops, Sheet, compose, read_sprites
from training.focus import focused


def sharpness(pictures: np.ndarray) -> np.ndarray:
    """The mean gradient of each picture uint8 [n,h,w,3], in grey values of 0..1 a pixel."""
    grey = pictures.astype(np.float32).mean(-1) / 255
    return (np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))) / 2


def trained_sharpness(bundle: Path, size: tuple[int, int], count: int, device: torch.device, share: float) -> float:
    """The mean gradient of training pictures of one thing at a size; `share` of them are in places."""
    facts, found = read_sprites(bundle / "sprites.zip")
    props = places.props_of(facts, found)
    numbers, facts = focused(facts)
    rng, sprites = Random(5), plans.Sprites.of(facts, plans.FOCUSED)
    sprites.places = share
    items = [plans.single(sprites, rng, sprites.draw(rng))[0] for _ in range(count)]
    keys = ("kind", "colours", "numbers", "layers", "recolour", "effect")
    plan = {key: np.array([getattr(item, key) for item in items]) for key in keys}
    backdrops = Backdrops.read(bundle, device) or Backdrops(props, device)
    sheet = Sheet(facts, [found[n] for n in numbers], device, backdrops=backdrops)
    measured = []
    for at in range(count):
        one = compose({key: value[at : at + 1] for key, value in plan.items()}, sheet, size[1], size[0])
        measured.append(sharpness((one * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()))
    return float(np.mean(measured))
