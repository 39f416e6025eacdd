# ruff: noqa: E501 - tables
"""Plans: what stands where on which background, and the captions that say so. Plain numbers, made by CPU processes.

`portion` gives a dict of arrays, one row per picture; `compose.py` turns rows into pixels.
"""

import colorsys
import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from training import scenes, tokens, words
from training.backdrops import places
from training.colours import BODY, COLOURS, MAIN, WORDS, plain_word, rgb

LAYERS, ROWS = 4, 4
PROMPTS = Path(__file__).parent / "eval/prompts.json"
PLACE_PROMPTS = Path(__file__).parent / "eval/places.json"
GRAYSCALE, SEPIA, PIXELS, FADED, SKETCH, MOODY = 1, 2, 3, 4, 5, 6
EFFECT_WORDS = {
    GRAYSCALE: "black and white|monochrome|grayscale photo|black and white photo|film noir", SEPIA: "sepia|old photograph|vintage sepia photo|antique photo",
    PIXELS: "pixel art|8 bit pixel art|retro game pixel art|pixelated", FADED: "faded polaroid|vintage film|retro faded colors|pastel colors",
    SKETCH: "pencil sketch|line drawing|pencil drawing|sketch", MOODY: "dark and moody|dark dramatic lighting|gloomy|low key lighting",
}  # fmt: skip
EFFECT_STYLES = {
    GRAYSCALE: r"noir|monochrome|aquatint|sumi", SEPIA: r"albumen|calotype|pictorial|daguer|bromoil|ancient", PIXELS: r"pixel|retro arcade|minecraft|retro game",
    FADED: r"polaroid|analog|dufay|cross processing|anthotype", SKETCH: r"sketch|line art|pencil|one line|scrimshaw", MOODY: r"dark|gloomy|moody|horror|lovecraft|macabre|gothic|bad dream|dystop",
}  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """Shares of what is shown (one thing, two things, a count; the rest landscapes) and of the sprite sources."""

    single: float
    pair: float
    counted: float
    sources: tuple[tuple[str, float], ...]
    places: float = 0.3
    """The share of single things that are in a place."""


BROAD = Mix(0.75, 0.10, 0.06, (("3d", 0.58), ("noto", 0.19), ("flat", 0.15), ("portrait", 0.08)))
FOCUSED = Mix(0.90, 0.02, 0.01, (("3d", 0.72), ("noto", 0.12), ("flat", 0.12), ("portrait", 0.04)), 0.48)

OUTDOORS = [
    "meadow",
    "mountains",
    "beach",
    "lake",
    "snow",
    "desert",
    "sunset",
    "sunrise",
    "night",
    "forest",
    "autumn",
    "jungle",
    "garden",
    "rain",
    "wheat",
    "cave",
    "volcanic",
]
ROOMS = [
    "living",
    "kitchen",
    "bedroom",
    "library",
    "stage",
    "bathroom",
    "dungeon",
    "rug",
    "window",
    "classroom",
    "shelf",
    "brick",
]
TABLES = ["wood", "wood", "marble", "cloth", "kitchen", "shelf", "window", "classroom"]
TOWN = ["city", "citynight", "street", "street", "road", "road", "rain"]
USUAL = (
    ("transport-air", ["sky", "sky", "space", "sunset", "night", "sunrise", "city"]),
    ("sky-weather", ["sky", "space", "night", "sunset", "sunrise", "snow"]),
    ("transport-water", ["sea", "sea", "sea", "lake", "sunset", "beach"]),
    ("animal-marine", ["underwater", "underwater", "sea", "beach"]),
    ("transport-ground", [*TOWN, *TOWN, "desert", "snow", "sunset", "beach", "meadow", "wheat", "mountains"]),
    ("animal-bird", ["sky", "forest", "meadow", "garden", "snow", "lake", "beach", "night", "autumn"]),
    ("animal", [*OUTDOORS, *OUTDOORS, *ROOMS, *TOWN]),
    ("plant", [*OUTDOORS, "window", "garden", "meadow", *TABLES]),
    ("food", [*TABLES, *TABLES, "meadow", "beach"]),
    ("drink", [*TABLES, *TABLES, "beach"]),
    ("dishware", TABLES),
    ("place", [*OUTDOORS, "lake", "city", "citynight", "street"]),
    ("person", [*OUTDOORS, *ROOMS, *TOWN, *TOWN]),
    ("portrait", [*OUTDOORS, *ROOMS, *TOWN]),
    ("", [*TABLES, *TABLES, *ROOMS, *ROOMS, "meadow", "beach", "forest", "street", "stage"]),
)
"""By the beginning of a sprite's group, where such things are mostly found."""
KEPT_APART = ("transport-water", "animal-marine", "transport-air")
"""Groups that look wrong elsewhere."""


@dataclass
class Sprites:
    """The sprite list with draw weights and the combinations of the evaluation prompts that training must not show."""

    facts: list[dict]
    weights: list[float]
    held_bodies: set[tuple[str, str]]
    held_grounds: set[tuple[str, str]]
    places: float = 0.3
    """The share of single things that are somewhere, not before a plain background."""

    @classmethod
    def of(cls, facts: list[dict], mix: Mix = BROAD) -> "Sprites":
        """Sprites drawn by their weight, sources in the mix's shares."""
        share = dict(mix.sources)
        total = {s: sum(f["weight"] for f in facts if look(f) == s) for s in share}
        weights = [f["weight"] / total[look(f)] * share[look(f)] for f in facts]
        prompts = json.loads(PROMPTS.read_text())
        pairs = {w: {(p["object"], p["colour"]) for p in prompts if p["where"] == w} for w in ("object", "background")}
        return cls(facts, list(np.cumsum(weights)), pairs["object"], pairs["background"], mix.places)

    def draw(self, rng: Random) -> int:
        """A sprite number by weight."""
        return rng.choices(range(len(self.facts)), cum_weights=self.weights)[0]

    def held(self, number: int, colour: str, ground: bool) -> bool:
        """Whether (any name of this sprite, colour) belongs to the evaluation."""
        pairs = self.held_grounds if ground else self.held_bodies
        shades = {colour, colour.split()[-1], {"navy": "blue", "magenta": "pink", "turquoise": "blue", "cyan": "blue", "lavender": "purple",
                  "mint": "green", "teal": "green", "gold": "yellow", "peach": "orange", "silver": "gray", "cream": "white"}.get(colour, colour)}  # fmt: skip
        return any((name, shade) in pairs for name in self.facts[number]["names"] for shade in shades)


def look(fact: dict) -> str:
    """3d, noto, flat or portrait."""
    return fact["source"] if fact["source"] in ("3d", "noto", "flat") else "portrait"


def article(text: str, rng: Random) -> str:
    """The words with an article most of the time."""
    if rng.random() < 0.25 or (text.endswith(("s", "grapes", "hair")) and " of " not in text):
        return text
    if rng.random() < 0.15:
        return f"the {text}"
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


@dataclass
class Item:
    """One picture's numbers while it is being planned."""

    kind: int
    colours: np.ndarray
    numbers: np.ndarray
    layers: np.ndarray
    recolour: np.ndarray
    effect: int = 0


def empty(kind: int) -> Item:
    """An item with a background kind and nothing else."""
    return Item(
        kind,
        np.zeros((8, 3), np.float32),
        np.zeros(16, np.float32),
        np.full((LAYERS, 8), -1, np.float32),
        np.full((LAYERS, 3), -1, np.float32),
    )


def paintable(fact: dict) -> bool:
    """Whether a sprite has a body that can be painted in another colour."""
    unpainted = fact["group"].startswith(("person", "portrait", "face", "heart"))
    return not unpainted and fact["share"] >= 0.33 and "with" not in fact["names"][0]


def body_word(sprites: Sprites, number: int, rng: Random) -> tuple[str, bool]:
    """A colour word for a sprite and whether it must be recoloured for it; ("", False) mostly."""
    fact, chance = sprites.facts[number], rng.random()
    if not paintable(fact):
        return "", False
    if chance < 0.24:
        colour = rng.choice(BODY if rng.random() < 0.4 else MAIN)
        return ("", False) if sprites.held(number, colour, False) else (colour, True)
    if chance < 0.34 and fact["hue"] >= 0 and fact["share"] > 0.5:
        sample = np.array(colorsys.hsv_to_rgb(fact["hue"] / 360, fact["sat"], fact["val"]))
        colour = str(plain_word(sample))
        return ("", False) if sprites.held(number, colour, False) or colour in fact["names"][0] else (colour, False)
    return "", False


def target(word: str, rng: Random) -> np.ndarray:
    """Hue (degrees), saturation and value to paint a body with."""
    hue, saturation, value = COLOURS[word]
    return np.array(
        [(hue + rng.uniform(-6, 6)) % 360, saturation * rng.uniform(0.92, 1.05), value * rng.uniform(0.95, 1.03)],
        np.float32,
    )


def put(
    item: Item, slot: int, sprite: int, x: float, y: float, size: float, rng: Random, shadow: int, fact: dict
) -> None:
    """Write one layer: sprite, centre, size (fraction of the short side), rotation, flip, shadow kind, brightness."""
    upright = fact["group"].startswith(("person", "portrait", "place", "face"))
    steady = fact.get("steady", False)
    angle = rng.gauss(0, 2 if upright or shadow == 2 else 4 if steady else 7)
    flip = float(
        rng.random() < (0.15 if steady else 0.5)
        and not fact["group"].startswith(("book", "money", "phone", "computer"))
    )
    item.layers[slot] = [sprite, x, y, size, angle, flip, shadow, rng.uniform(0.96, 1.04)]


def background(sprites: Sprites, numbers: list[int], rng: Random) -> tuple[Item, str]:
    """A plain, gradient, studio or bokeh background and the words for it (may be empty)."""
    while True:
        word, second = rng.choice(MAIN if rng.random() < 0.6 else WORDS), rng.choice(WORDS)
        if not any(sprites.held(n, w, True) for n in numbers for w in (word, second)):
            break
    kind = rng.choices([scenes.FLAT, scenes.GRADIENT, scenes.STUDIO, scenes.BOKEH], [0.6, 0.12, 0.2, 0.08])[0]
    item = empty(kind)
    one, two = (
        np.clip(rgb(w) + rng.uniform(-0.04, 0.04) + np.array([rng.uniform(-0.03, 0.03) for _ in range(3)]), 0, 1)
        for w in (word, second)
    )
    item.colours[0], item.colours[1] = one, two
    item.numbers[:6] = [
        rng.uniform(0.62, 0.8),
        rng.uniform(0.3, 0.7),
        rng.uniform(0.2, 0.6),
        rng.uniform(0.0, 0.25),
        rng.random(),
        rng.random(),
    ]
    item.numbers[15] = rng.random() * 1000
    if kind == scenes.GRADIENT:
        return item, rng.choice(
            [
                f"on a {word} and {second} gradient background",
                f"{word} to {second} gradient background",
                f"{word} and {second} background",
            ]
        )
    if kind == scenes.STUDIO:
        if rng.random() < 0.6:
            item.colours[1] = np.clip(one * rng.uniform(0.7, 0.92), 0, 1)
            return item, rng.choice(
                [
                    f"in a {word} studio",
                    f"on a {word} studio background",
                    f"on a {word} background",
                    f"{word} backdrop",
                    f"on a {word} floor",
                ]
            )
        return item, rng.choice(
            [
                f"on a {second} table, {word} wall",
                f"on a {second} floor in front of a {word} wall",
                f"{word} wall, {second} floor",
            ]
        )
    if kind == scenes.BOKEH:
        return item, rng.choice(
            [f"{word} bokeh background", f"blurred {word} background with lights", f"{word} and {second} bokeh lights"]
        )
    templates = ["on a {} background", "on a {} background", "on {} background", "{} background", "with a {} background", "isolated on {}", "against a {} background", "in front of a {} wall", "plain {} background"]  # fmt: skip
    return item, rng.choice(templates).format(word)


def named(sprites: Sprites, number: int, colour: str, rng: Random) -> str:
    """A sprite's name, now and then a synonym, with its colour."""
    names = sprites.facts[number]["names"]
    name = names[0] if rng.random() < 0.72 else rng.choice(names)
    return f"{colour} {name}" if colour else name


def single(sprites: Sprites, rng: Random, number: int) -> tuple[Item, dict]:
    """One thing on a plain background or in a place."""
    fact = sprites.facts[number]
    colour, paint = body_word(sprites, number, rng)
    bust = fact["group"].startswith(("person", "portrait")) and "dancing" not in fact["label"]
    if rng.random() > sprites.places or fact["group"].startswith("place-geo"):
        item, where = background(sprites, [number], rng)
        size = rng.uniform(0.56, 0.9) if rng.random() < 0.85 else rng.uniform(0.35, 0.56)
        if fact.get("steady"):
            size = rng.uniform(0.64, 0.88)
        studio = item.kind == scenes.STUDIO
        y = float(item.numbers[0]) + rng.uniform(0.04, 0.12) - size / 2 if studio else 0.5 + rng.gauss(0, 0.02)
        if bust and rng.random() < 0.8:
            y = 1.0 - size / 2 + 0.005
        put(
            item,
            0,
            number,
            0.5 + rng.gauss(0, 0.03),
            max(y, size * 0.485),
            size,
            rng,
            0 if bust else 2 if studio else rng.choice([0, 1, 1, 2]),
            fact,
        )
    else:
        item, where = in_place(sprites, rng, number, bust)
    if paint:
        item.recolour[0] = target(colour, rng)
    return item, {"what": [number], "colour": colour, "where": where, "count": 1}


def suited(fact: dict, rng: Random) -> str:
    """A place for a thing: mostly one where it is usually found."""
    group = fact["group"]
    usual = next((names for start, names in USUAL if group.startswith(start)), None)
    if usual and rng.random() < (0.85 if group in KEPT_APART else 0.6):
        return rng.choice(usual)
    return rng.choice(places.NAMES)


def shown(name: str, rng: Random, *, held: bool = False) -> Item:
    """An item with one of a place's backdrops: its number, where it is cut, whether it is turned, brightness, tint."""
    item = empty(scenes.PLACE)
    number = places.number_of(name, rng, held=held)
    tint = [rng.uniform(0.95, 1.05) for _ in range(3)]
    item.numbers[:7] = [number, rng.random(), rng.random() < 0.5, rng.uniform(0.88, 1.08), *tint]
    return item


def in_place(sprites: Sprites, rng: Random, number: int, bust: bool) -> tuple[Item, str]:
    """One thing standing, flying or swimming somewhere."""
    name = suited(sprites.facts[number], rng)
    item = shown(name, rng)
    stand(sprites, item, number, rng, bust)
    return item, places.phrase(name, rng)


def stand(sprites: Sprites, item: Item, number: int, rng: Random, bust: bool = False) -> None:
    """Put one thing into a place."""
    fact, backdrop = sprites.facts[number], int(item.numbers[0])
    size, aloft = rng.uniform(0.44, 0.72), places.PLACES[places.name_of(backdrop)].floats
    y = rng.uniform(0.42, 0.56) if aloft else places.ground(backdrop) + rng.uniform(0, 0.06) - size / 2
    if bust and not aloft and rng.random() < 0.7:
        size = rng.uniform(0.6, 0.78)
        y = 1.0 - size / 2 + 0.005
    put(item, 0, number, 0.5 + rng.gauss(0, 0.07), y, size, rng, 0 if aloft or bust else 2, fact)


def several(sprites: Sprites, rng: Random, count: int, same: bool) -> tuple[Item, dict]:
    """Two or three things side by side."""
    numbers = [sprites.draw(rng)] * count
    if not same:
        kind = look(sprites.facts[numbers[0]])
        while len(set(numbers)) < count or any(look(sprites.facts[n]) != kind for n in numbers):
            numbers = [numbers[0], *(sprites.draw(rng) for _ in range(count - 1))]
    if rng.random() < 0.7:
        item, where = background(sprites, numbers, rng)
        base = 0.5
    else:
        item, where = in_place(sprites, rng, numbers[0], False)
        base = float(item.layers[0, 2])
    size = rng.uniform(0.44, 0.56) if count == 2 else rng.uniform(0.32, 0.42)
    for slot, number in enumerate(numbers):
        x = 0.5 + (slot - (count - 1) / 2) * (0.42 if count == 2 else 0.3) + rng.gauss(0, 0.01)
        put(item, slot, number, x, base + rng.gauss(0, 0.02), size, rng, rng.choice([0, 1, 2]), sprites.facts[number])
    return item, {"what": numbers, "colour": "", "where": where, "count": count if same else 1}


def landscape(rng: Random) -> tuple[Item, dict]:
    """A place with nothing in it."""
    name = rng.choice(places.NAMES)
    where = rng.choice(places.PLACES[name].alone.split("|"))
    return shown(name, rng), {"what": [], "colour": "", "where": where, "count": 0}


def plural(name: str) -> str:
    """English plural, near enough."""
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es" if not name.endswith("s") else name
    return name[:-1] + "ies" if name.endswith("y") and name[-2] not in "aeiou" else name + "s"


def subject(sprites: Sprites, story: dict, rng: Random) -> str:
    """The words for what is shown."""
    if not story["what"]:
        return story["where"]
    if story["count"] > 1:
        name = plural(sprites.facts[story["what"][0]]["names"][0])
        return f"{ {2: 'two', 3: 'three'}[story['count']] } {name}"
    parts = [article(named(sprites, n, story["colour"], rng), rng) for n in story["what"]]
    return (
        rng.choice([" and ", " and ", " next to ", " with "]).join(parts)
        if len(parts) < 3
        else f"{parts[0]}, {parts[1]} and {parts[2]}"
    )


def dressed(template: str, text: str) -> str:
    """A look template filled in; after an adjective the noun stands without its own article."""
    if not re.search(r"(of|^|draw) ?\{\}", template):
        text = re.sub(r"^(an?|the) ", "", text)
    return template.format(text)


class Writer:
    """Captions of planned pictures, as token rows."""

    def __init__(self, sprites: Sprites) -> None:
        self.sprites = sprites
        self.styles, _, (self.default, _) = words.styles()

    def rows(self, item: Item, story: dict, rng: Random) -> np.ndarray:
        """Four wordings of one picture, [4, 77] ids."""
        wrapper = self.wrapper(item, story, rng)
        return np.stack([tokens.row(self.text(item, story, rng, wrapper if n < 2 else None)) for n in range(ROWS)])

    def wrapper(self, item: Item, story: dict, rng: Random) -> str | None:
        """A style template for this picture, or None; some styles set a visible effect."""
        kind = look(self.sprites.facts[story["what"][0]]) if story["what"] else "3d"
        chance = rng.random()
        if chance < 0.07:
            effect = rng.choice(list(EFFECT_WORDS))
            item.effect = effect
            fitting = [
                t
                for group in self.styles.values()
                for name, t in group
                if re.search(EFFECT_STYLES[effect], name.lower())
            ]
            if fitting and rng.random() < 0.6:
                return rng.choice(fitting)
            phrase = rng.choice(EFFECT_WORDS[effect].split("|"))
            return rng.choice(["{prompt}, " + phrase, phrase + " of {prompt}"])
        if chance < (0.32 if kind == "3d" else 0.15):
            return self.default
        if chance < 0.62:
            return rng.choice(self.styles["noto" if kind == "portrait" else kind])[1]
        return None

    def text(self, item: Item, story: dict, rng: Random, wrapper: str | None) -> str:
        """One wording."""
        what = subject(self.sprites, story, rng)
        chance = rng.random()
        kind = look(self.sprites.facts[story["what"][0]]) if story["what"] else "3d"
        if story["what"] and chance < (0.10 if kind == "3d" else 0.03) and not item.effect:
            text = (
                named(self.sprites, story["what"][0], story["colour"], rng)
                if story["count"] == 1 and len(story["what"]) == 1
                else what
            )
        else:
            text = what
            if rng.random() < (0.35 if kind == "3d" else 0.88):
                text = dressed(rng.choice(words.PREFIXES[kind]), text)
            if story["what"] and rng.random() < (0.95 if item.kind == scenes.PLACE else 0.85):
                text = f"{text}{rng.choice([' ', ' ', ', '])}{story['where']}"
            if story["what"] and rng.random() < 0.18 and (tags := self.sprites.facts[story["what"][0]]["tags"]):
                text += ", " + ", ".join(rng.sample(tags, min(len(tags), rng.randint(1, 2))))
        if wrapper:
            text = wrapper.replace("{prompt}", text)
        elif item.effect:
            text = f"{text}, {rng.choice(EFFECT_WORDS[item.effect].split('|'))}"
        if rng.random() < 0.35:
            text += ", " + words.bag(rng, words.QUALITY, 1, 8)
        return text


def plan(sprites: Sprites, rng: Random, only: list[int] | None = None, mix: Mix = BROAD) -> tuple[Item, dict]:
    """One picture in the shares of `mix`; `only` draws one of those sprites."""
    if only is not None:
        return single(sprites, rng, rng.choice(only))
    chance = rng.random()
    if chance < mix.single:
        return single(sprites, rng, sprites.draw(rng))
    if chance < mix.single + mix.pair:
        return several(sprites, rng, 2, same=False)
    if chance < mix.single + mix.pair + mix.counted:
        return several(sprites, rng, rng.choice([2, 3]), same=True)
    return landscape(rng)


def portion(task: tuple[list[dict], int, int, bool, Mix]) -> dict[str, np.ndarray]:
    """Plans of one worker process."""
    facts, count, seed, captions, mix = task
    rng, sprites = Random(seed), Sprites.of(facts, mix)
    writer = Writer(sprites)
    kept: dict[str, list] = {
        k: [] for k in ("kind", "colours", "numbers", "layers", "recolour", "effect", "rows", "sprite")
    }
    for _ in range(count):
        item, story = plan(sprites, rng, mix=mix)
        if captions:
            kept["rows"].append(writer.rows(item, story, rng))
        for key in ("kind", "colours", "numbers", "layers", "recolour", "effect"):
            kept[key].append(getattr(item, key))
        kept["sprite"].append(story["what"][0] if len(story["what"]) == 1 else -1)
    return {k: np.array(v) for k, v in kept.items() if v}


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Portions put together."""
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def negative_rows(count: int, seed: int) -> np.ndarray:
    """Token rows of negative prompts: the default one first, style negatives and word bags after."""
    rng, (_, negatives, (_, default)) = Random(seed), words.styles()
    texts = [default, next(n for n in negatives if n != default)]
    sharp = [n for n in negatives if "soft focus" in n][:1]
    while len(texts) < count:
        chance = rng.random()
        texts.append(
            default
            if chance < 0.2
            else sharp[0]
            if sharp and chance < 0.35
            else rng.choice(negatives)
            if chance < 0.65
            else words.bag(rng, words.BAD, 2, 16)
        )
    return np.stack([tokens.row(t) for t in texts])
