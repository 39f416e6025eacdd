"""Plans of pairs: a picture to draw, and another one of the same thing that says what to draw."""

import copy
from random import Random

import numpy as np

from training import plans, tags, tokens, words

CAPTIONS = plans.ROWS
SAME_PICTURE, SAME_GROUND = 0.25, 0.65
KEYS = ("kind", "colours", "numbers", "layers", "recolour", "effect")

Task = tuple[list[dict], dict[str, list[str]], int, int, bool]
"""Facts, groups of tags, how many, the seed, and whether captions and references are wanted."""


def reference(sprites: plans.Sprites, rng: Random, item: plans.Item, story: dict) -> plans.Item:
    """The same thing in the same colours elsewhere, now and then the picture itself, mostly on the same background."""
    if len(story["what"]) != 1 or rng.random() < SAME_PICTURE:
        return copy.deepcopy(item)
    other, _ = plans.single(sprites, rng, story["what"][0])
    if rng.random() < SAME_GROUND:
        other.kind, other.colours, other.numbers = item.kind, item.colours, item.numbers
    other.recolour, other.effect = item.recolour, item.effect
    return other


def wordings(writer: plans.Writer, item: plans.Item, story: dict, rng: Random) -> np.ndarray:
    """Token rows [8,77]: four captions, then four texts that say nothing of what is shown, the first one empty."""
    wrapper = writer.wrapper(item, story, rng)
    captions = [writer.text(item, story, rng, wrapper if n < 2 else None) for n in range(CAPTIONS)]
    kind = plans.look(writer.sprites.facts[story["what"][0]]) if story["what"] else "3d"
    style = wrapper or rng.choice(writer.styles["noto" if kind == "portrait" else kind])[1]
    mute = [
        "",
        style.replace("{prompt}", ""),
        writer.default.replace("{prompt}", ""),
        words.bag(rng, words.QUALITY, 1, 8),
    ]
    return np.stack([tokens.row(text) for text in [*captions, *mute]])


def portion(task: Task) -> dict[str, np.ndarray]:
    """Plans of one worker process; those of references have names that begin with `other_`."""
    facts, groups, count, seed, paired = task
    rng, sprites = Random(seed), plans.Sprites.of(facts, plans.FOCUSED)
    writer = plans.Writer(sprites)
    kept: dict[str, list] = {}
    for _ in range(count):
        item, story = plans.plan(sprites, rng, mix=plans.FOCUSED)
        rows = wordings(writer, item, story, rng) if paired else writer.wrapper(item, story, rng)
        found = {key: getattr(item, key) for key in KEYS} | {"tags": tags.numbers(facts, groups, item, story)}
        if paired:
            other = reference(sprites, rng, item, story)
            found |= {f"other_{key}": getattr(other, key) for key in KEYS} | {"rows": rows}
        for key, value in found.items():
            kept.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in kept.items()}


def ask(pool, facts: list[dict], groups: dict[str, list[str]], count: int, seed: int, paired: bool):
    """Plans made in the background; `.get()` gives the portions."""
    share = min(1000, -(-count // 2))
    tasks = [(facts, groups, min(share, count - at), seed * 100_003 + at, paired) for at in range(0, count, share)]
    return pool.map_async(portion, tasks, chunksize=1)


def others(plan: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The plans of the references."""
    return {key: plan[f"other_{key}"] for key in KEYS}
