# ruff: noqa: E501 - a table
"""The places and surfaces that captions name: words, painters, and the heights at which things stand."""

from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np

from training.backdrops import indoors, outdoors
from training.backdrops.canvas import Canvas, Painter, Props


@dataclass(frozen=True)
class Place:
    """`phrases` say that something is there, `alone` name a picture of it; things stand between these heights."""

    painter: Painter
    phrases: str
    alone: str
    low: float = 0.72
    high: float = 0.86
    floats: bool = False
    """Whether things hang in the middle in place of standing."""


PLACES = {
    "meadow": Place(outdoors.meadow, "on the grass|in a meadow|on a green field|in a sunny field|outdoors on grass", "green meadow under a blue sky|sunny green field landscape|rolling green hills"),
    "mountains": Place(outdoors.mountains, "in the mountains|with mountains in the background|in front of mountains|with snowy mountains behind", "mountain landscape|mountains under a blue sky|beautiful mountain view|snowy mountains and a green valley"),
    "beach": Place(outdoors.beach, "on the beach|on a sandy beach|at the beach|by the sea|on the sand by the ocean", "a sandy beach by the sea|tropical beach|beach with blue sea"),
    "sea": Place(outdoors.sea, "on the sea|on the water|in the ocean|on the open sea", "the blue sea|calm ocean under a blue sky", 0.68, 0.8),
    "lake": Place(outdoors.lake, "by a lake|on the shore of a lake|at a mountain lake|in front of a lake", "a lake|a mountain lake|a calm lake with mountains", 0.8, 0.9),
    "snow": Place(outdoors.snow, "in the snow|on snow|in a snowy winter landscape|in winter|snowy background", "snowy winter landscape|snow covered mountains|winter scenery"),
    "desert": Place(outdoors.desert, "in the desert|on sand dunes|in a sandy desert|desert background", "a desert with sand dunes|sandy desert landscape"),
    "sunset": Place(outdoors.sunset, "at sunset|with a sunset in the background|at dusk under an orange sky|sunset sky", "a beautiful sunset|sunset over mountains|orange sunset sky"),
    "sunrise": Place(outdoors.sunrise, "at sunrise|in the morning light|at dawn with a pink sky", "sunrise over hills|a pink morning sky"),
    "night": Place(outdoors.night, "at night under the stars|under a starry sky|at night|in the moonlight|starry night", "starry night sky|night landscape with stars and moon|moonlit mountains at night"),
    "forest": Place(outdoors.forest, "in a forest|in the woods|among trees|with a forest in the background|in a green forest", "a green forest|a forest landscape|trees in a forest"),
    "autumn": Place(outdoors.autumn, "in an autumn forest|in autumn|among autumn leaves|in fall", "an autumn forest|autumn landscape|trees in autumn"),
    "jungle": Place(outdoors.jungle, "in a jungle|in a tropical jungle|among green plants|in a rainforest", "tropical jungle landscape|a jungle"),
    "city": Place(outdoors.city, "in the city|in front of a city skyline|with skyscrapers in the background|downtown", "city skyline|a modern city with skyscrapers|a city in daylight", 0.8, 0.9),
    "citynight": Place(outdoors.citynight, "in a city at night|with city lights at night|in a neon city|on a street at night", "a city at night|cyberpunk neon city at night|night city skyline", 0.8, 0.9),
    "street": Place(outdoors.street, "on a city street|on a street|in the street|on a street with houses", "a city street|a street with houses", 0.78, 0.9),
    "road": Place(outdoors.road, "on a country road|on a road|on a highway|on the road", "a country road|a road through fields", 0.76, 0.88),
    "space": Place(outdoors.space, "in space|in outer space|floating in space among stars|with a galaxy in the background", "outer space with stars|a galaxy full of stars|the starry universe", floats=True),
    "sky": Place(outdoors.clouds, "in the sky|in a blue sky with clouds|among the clouds|flying in the sky", "blue sky with white clouds|clouds in the sky", floats=True),
    "underwater": Place(outdoors.underwater, "underwater|under the sea|in deep blue water|swimming underwater", "underwater scene|the bottom of the sea", floats=True),
    "volcanic": Place(outdoors.mars, "on mars|on a red planet|in a rocky red desert", "the surface of mars|a red desert planet"),
    "garden": Place(outdoors.garden, "in a garden|among flowers|in a flower garden|in a park with flowers", "a flower garden|a garden full of flowers", 0.74, 0.84),
    "rain": Place(outdoors.rain, "in the rain|on a rainy day|in rainy weather", "a rainy day|rain in a city"),
    "wheat": Place(outdoors.wheat, "in a wheat field|in a field of wheat|on a farm|in a golden field", "a wheat field|golden fields of wheat"),
    "cave": Place(outdoors.cave, "in a cave|in a dark cave|inside a cave", "a cave|the inside of a cave"),
    "wood": Place(indoors.wooden_table, "on a wooden table|on a wood table|on a wooden desk|on a wooden surface|on a table", "an empty wooden table|a wooden table", 0.78, 0.9),
    "marble": Place(indoors.marble_table, "on a marble table|on a marble counter|on a marble surface", "a marble table|an empty marble counter", 0.78, 0.9),
    "cloth": Place(indoors.tablecloth, "on a checkered tablecloth|on a tablecloth|on a picnic blanket", "a checkered tablecloth", 0.78, 0.9),
    "brick": Place(indoors.brick_wall, "in front of a brick wall|against a brick wall|with a brick wall in the background", "a brick wall|a red brick wall", 0.84, 0.92),
    "living": Place(indoors.living_room, "in a living room|in a room|at home|on the floor of a living room", "a living room|a cozy living room", 0.82, 0.93),
    "kitchen": Place(indoors.kitchen, "in a kitchen|in the kitchen|on a kitchen counter", "a kitchen|a modern kitchen", 0.78, 0.88),
    "bedroom": Place(indoors.bedroom, "in a bedroom|in the bedroom|in a cozy bedroom", "a bedroom|a cozy bedroom", 0.84, 0.94),
    "library": Place(indoors.library, "in a library|in front of bookshelves|in front of a bookshelf", "a library|shelves full of books", 0.82, 0.92),
    "stage": Place(indoors.stage, "on a stage|on stage in a spotlight|on a theater stage", "a theater stage|a stage with red curtains", 0.78, 0.88),
    "bathroom": Place(indoors.bathroom, "in a bathroom|in the bathroom|on a tiled floor", "a bathroom|a tiled bathroom", 0.84, 0.93),
    "dungeon": Place(indoors.dungeon, "in a dungeon|in a stone hall|in front of a stone wall|on a stone floor", "a dungeon|a stone hall with torches", 0.8, 0.9),
    "rug": Place(indoors.rug, "on a carpet|on a rug|on a persian carpet", "a carpet in a room", 0.86, 0.94),
    "window": Place(indoors.window_sill, "by a window|on a windowsill|in front of a window", "a window|a window with a view", 0.84, 0.92),
    "classroom": Place(indoors.classroom, "in a classroom|in front of a blackboard|at school", "a classroom|a blackboard", 0.8, 0.9),
    "shelf": Place(indoors.shelf, "on a shelf|on a wooden shelf|on a bookshelf", "a shelf on a wall", 0.76, 0.84),
}  # fmt: skip
VARIANTS = 48
SOFTNESS = 0.7, 1.5
"""How far out of focus backdrops are, in pixels: the VAE keeps no finer grain, and things stand out."""
HELD = 8
"""Variants of each place that no model is trained on, after the others: for judges."""
NAMES = list(PLACES)
FILE = "backdrops.npy"
"""Of a bundle: all of them, as `training.backdrops.draw` writes them."""


@cache
def ground(number: int) -> float:
    """The height at which things stand in the backdrop of this number."""
    place = PLACES[name_of(number)]
    return Random(number).uniform(place.low, place.high)


def name_of(number: int) -> str:
    """The place that a backdrop shows."""
    return NAMES[number // (VARIANTS + HELD)]


def number_of(name: str, rng: Random, *, held: bool = False) -> int:
    """One of a place's backdrops."""
    variant = VARIANTS + rng.randrange(HELD) if held else rng.randrange(VARIANTS)
    return NAMES.index(name) * (VARIANTS + HELD) + variant


def drawn(number: int, props: Props) -> np.ndarray:
    """The backdrop of this number, uint8 [576,768,3]."""
    canvas = Canvas(props, 40_000 + number)
    PLACES[name_of(number)].painter(canvas, ground(number))
    canvas.blur(canvas.between(*SOFTNESS))
    return canvas.finished()


def props_of(facts: list[dict], pictures: list[np.ndarray]) -> Props:
    """The 3D sprites by label, of which backdrops take their props."""
    found: dict[str, np.ndarray] = {}
    for fact, picture in zip(facts, pictures, strict=True):
        if fact["source"] == "3d":
            found.setdefault(fact["label"], picture)
    return found


def phrase(name: str, rng: Random) -> str:
    """Words for being in that place."""
    return rng.choice(PLACES[name].phrases.split("|"))
