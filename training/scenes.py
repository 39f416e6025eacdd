# ruff: noqa: E501 - tables and word lists
"""Procedural places: for each a phrase, colours and shape parameters that `compose` turns into a picture.

A place fills eight colours (sky top, sky bottom, far, middle, near ridge, ground top, ground bottom, sun) and sixteen numbers:
0 horizon, 1-3 sun x, y, radius, 4 stars, 5 clouds, 6-8 ridge amplitudes, 9-11 ridge heights above the horizon,
12 ridge shape (0 mountain, 1 city, 2 trees, 3 hills), 13 ground texture, 14 water glint, 15 seed.
"""

from collections.abc import Callable
from random import Random

FLAT, GRADIENT, STUDIO, SCENE, BOKEH = range(5)

# phrase alternatives, sky top, sky bottom, ridges far to near, ground top, ground bottom, sun; then overrides of the numbers
Place = tuple[str, list[str], dict[int, float | tuple[float, float]]]
PLACES: dict[str, Place] = {
    "meadow": ("on the grass|in a meadow|on a green field|in a sunny field|outdoors on grass", ["4a9ae8", "cfeaf8", "8fc3a0", "7fbf6a", "6fb552", "8fd05c", "4f9a35", "fff3b0"],
               {0: (0.55, 0.68), 3: (0.0, 0.09), 5: (0.2, 0.8), 6: (0.02, 0.06), 7: (0.02, 0.05), 9: (0.04, 0.1), 10: (0.0, 0.05), 12: 3, 13: (0.3, 0.8)}),
    "mountains": ("in the mountains|with mountains in the background|in front of mountains|with snowy mountains behind", ["3f86d8", "d8ecf8", "a9bfd8", "7590b0", "56785e", "7fb865", "447a38", "fff6d0"],
                  {0: (0.6, 0.72), 3: (0.0, 0.07), 5: (0.1, 0.7), 6: (0.12, 0.22), 7: (0.08, 0.16), 8: (0.02, 0.06), 9: (0.12, 0.26), 10: (0.04, 0.14), 11: (0.0, 0.03), 12: 0, 13: (0.2, 0.6)}),
    "beach": ("on the beach|on a sandy beach|at the beach|by the sea|on the sand by the ocean", ["3f9ae8", "d0effa", "3fb0d0", "3fb0d0", "2f9fc8", "f3dfae", "d9b878", "fff3b0"],
              {0: (0.62, 0.74), 3: (0.03, 0.09), 5: (0.1, 0.6), 6: (0.0, 0.003), 9: (0.10, 0.18), 10: 0.05, 11: (0.02, 0.04), 7: 0.002, 8: (0.004, 0.012), 12: 3, 13: (0.2, 0.6), 14: 0.7}),
    "sea": ("on the sea|on the water|in the ocean|on a blue lake", ["58aef0", "dff3fb", "8fc0d0", "6fa9c0", "5a98b8", "3f98d0", "14528f", "fff8d8"],
            {0: (0.5, 0.62), 3: (0.0, 0.07), 5: (0.1, 0.8), 6: (0.0, 0.04), 9: (0.0, 0.05), 12: 3, 13: 0.1, 14: (0.6, 1.0)}),
    "snow": ("in the snow|on snow|in a snowy winter landscape|in winter|snowy background", ["7fb4e0", "e6f2fa", "c4d6e8", "a8bfd4", "dbe8f2", "f6fbff", "c8dcee", "ffffff"],
             {0: (0.58, 0.7), 3: (0.0, 0.05), 4: 0.25, 5: (0.2, 0.8), 6: (0.08, 0.18), 7: (0.03, 0.08), 8: (0.02, 0.04), 9: (0.08, 0.2), 10: (0.03, 0.08), 12: 0, 13: (0.1, 0.3)}),
    "desert": ("in the desert|on sand dunes|in a sandy desert|desert background", ["5aa4e0", "fbe6bf", "e3b878", "d9a560", "cf9550", "eec078", "c98a40", "fff3c0"],
               {0: (0.58, 0.72), 3: (0.03, 0.09), 5: (0.0, 0.2), 6: (0.04, 0.1), 7: (0.03, 0.08), 8: (0.02, 0.05), 9: (0.05, 0.12), 10: (0.02, 0.08), 12: 3, 13: (0.2, 0.5)}),
    "sunset": ("at sunset|with a sunset in the background|at dusk under an orange sky|sunset sky", ["5b3f8f", "ff9a4f", "7a4a78", "5a3660", "3c2748", "6a4458", "2a1a30", "ffe08a"],
               {0: (0.58, 0.72), 2: (0.4, 0.56), 3: (0.06, 0.13), 5: (0.3, 0.8), 6: (0.05, 0.16), 7: (0.03, 0.08), 9: (0.04, 0.14), 10: (0.0, 0.06), 12: 0, 13: (0.1, 0.4)}),
    "sunrise": ("at sunrise|in the morning light|at dawn with a pink sky", ["6fa0e0", "ffd2c0", "c0a0c0", "98809f", "7a8a70", "9fb878", "5a7a48", "fff0c0"],
                {0: (0.58, 0.72), 2: (0.38, 0.56), 3: (0.05, 0.1), 5: (0.2, 0.7), 6: (0.05, 0.14), 7: (0.03, 0.08), 9: (0.04, 0.14), 10: (0.0, 0.06), 12: 0, 13: (0.1, 0.4)}),
    "night": ("at night under the stars|under a starry sky|at night|in the moonlight|starry night", ["0a1038", "2f4480", "26355f", "1c2848", "131c34", "24405a", "0e1a28", "f5f2d8"],
              {0: (0.6, 0.74), 2: (0.1, 0.3), 3: (0.03, 0.08), 4: (0.6, 1.0), 5: (0.0, 0.2), 6: (0.04, 0.14), 7: (0.02, 0.08), 9: (0.04, 0.12), 10: (0.0, 0.05), 12: 0, 13: (0.1, 0.3)}),
    "forest": ("in a forest|in the woods|among trees|with a forest in the background|in a green forest", ["8fc4d8", "e2f2d8", "a8cfa8", "6fa570", "3f7a48", "7faf50", "3f6a2c", "fff8d0"],
               {0: (0.62, 0.74), 3: 0, 5: (0.1, 0.3), 6: (0.1, 0.18), 7: (0.1, 0.2), 8: (0.1, 0.22), 9: (0.2, 0.3), 10: (0.1, 0.2), 11: (0.03, 0.1), 12: 2, 13: (0.4, 0.9)}),
    "city": ("in the city|in front of a city skyline|on a city street|with skyscrapers in the background", ["5aa0dc", "dfeefa", "b4c4d8", "90a4be", "70849f", "a0a4aa", "6a6e74", "fff8e0"],
             {0: (0.66, 0.76), 3: (0.0, 0.05), 5: (0.1, 0.6), 6: (0.16, 0.24), 7: (0.12, 0.2), 8: (0.06, 0.14), 9: (0.16, 0.24), 10: (0.08, 0.16), 11: (0.02, 0.08), 12: 1, 13: (0.05, 0.2)}),
    "citynight": ("in a city at night|with city lights at night|in a neon city|on a street at night", ["0c0f2c", "3c2f68", "2c2a58", "201f44", "151530", "2c2c44", "12121e", "f0eeda"],
                  {0: (0.66, 0.76), 2: (0.08, 0.2), 3: (0.0, 0.05), 4: (0.1, 0.5), 5: (0.0, 0.2), 6: (0.16, 0.24), 7: (0.12, 0.2), 8: (0.06, 0.14), 9: (0.16, 0.24), 10: (0.08, 0.16), 11: (0.02, 0.08), 12: 1.5, 13: (0.05, 0.2)}),
    "space": ("in space|in outer space|floating in space among stars|with a galaxy in the background", ["050818", "1a1440", "000000", "000000", "000000", "1a1440", "2c1858", "ffffff"],
              {0: 1.5, 3: 0, 4: (0.8, 1.0), 5: (0.1, 0.5), 6: 0, 7: 0, 8: 0, 9: -1, 10: -1, 11: -1, 12: 3, 13: 0}),
    "sky": ("in the sky|in a blue sky with clouds|among the clouds|flying in the sky", ["3f8fe8", "c4e4fa", "000000", "000000", "000000", "c4e4fa", "c4e4fa", "fff6c8"],
            {0: 1.5, 3: (0.0, 0.07), 5: (0.5, 1.0), 6: 0, 7: 0, 8: 0, 9: -1, 10: -1, 11: -1, 12: 3, 13: 0}),
    "underwater": ("underwater|under the sea|in deep blue water|swimming underwater", ["3fc0e0", "0f5fa8", "0f5088", "0c4070", "0a3860", "c8b888", "6a7868", "d8f8ff"],
                   {0: (0.82, 0.92), 3: 0, 5: (0.1, 0.4), 6: (0.02, 0.08), 7: (0.02, 0.06), 9: (0.0, 0.08), 10: 0.0, 12: 3, 13: (0.2, 0.5), 14: 0.2}),
    "jungle": ("in a jungle|in a tropical jungle|among green plants", ["6fb88f", "cfe8a8", "5fa060", "3f8048", "2a6038", "4f8a40", "1f4a20", "fff8d0"],
               {0: (0.68, 0.8), 3: 0, 5: (0.0, 0.2), 6: (0.1, 0.2), 7: (0.1, 0.2), 8: (0.1, 0.2), 9: (0.3, 0.45), 10: (0.18, 0.3), 11: (0.05, 0.14), 12: 3, 13: (0.5, 1.0)}),
    "volcanic": ("on mars|on a red planet|in a rocky red desert", ["6a3a30", "e8a878", "b8684a", "98503a", "7a3c2c", "c0704a", "7a3a28", "fff0d8"],
                 {0: (0.6, 0.72), 3: (0.0, 0.05), 5: (0.0, 0.3), 6: (0.06, 0.14), 7: (0.04, 0.1), 8: (0.02, 0.04), 9: (0.06, 0.14), 10: (0.02, 0.08), 12: 0, 13: (0.4, 0.8)}),
}  # fmt: skip
LANDSCAPES = {
    "meadow": "green meadow under a blue sky|sunny green field landscape|rolling green hills",
    "mountains": "mountain landscape|mountains under a blue sky|beautiful mountain view|snowy mountains and a green valley",
    "beach": "a sandy beach by the sea|tropical beach|beach with blue sea", "sea": "the blue sea|calm ocean under a blue sky|a lake",
    "snow": "snowy winter landscape|snow covered mountains|winter scenery", "desert": "a desert with sand dunes|sandy desert landscape",
    "sunset": "a beautiful sunset|sunset over mountains|orange sunset sky", "sunrise": "sunrise over hills|a pink morning sky",
    "night": "starry night sky|night landscape with stars and moon|moonlit mountains at night", "forest": "a green forest|a forest landscape|trees in a forest",
    "city": "city skyline|a modern city with skyscrapers|a city in daylight", "citynight": "a city at night|cyberpunk neon city at night|night city skyline",
    "space": "outer space with stars|a galaxy full of stars|the starry universe", "sky": "blue sky with white clouds|clouds in the sky",
    "underwater": "underwater scene|the bottom of the sea", "jungle": "tropical jungle landscape", "volcanic": "the surface of mars|a red desert planet",
}  # fmt: skip
FLYING, SWIMMING = {"space", "sky"}, {"underwater"}


def colour(text: str, rng: Random) -> list[float]:
    """A hex colour with a little jitter."""
    shift = rng.uniform(-0.03, 0.03)
    return [min(1.0, max(0.0, int(text[i : i + 2], 16) / 255 + shift + rng.uniform(-0.025, 0.025))) for i in (0, 2, 4)]


def place(name: str, rng: Random) -> tuple[list[list[float]], list[float]]:
    """Colours and numbers of one place."""
    _, colours, overrides = PLACES[name]
    numbers = [
        0.65,
        rng.uniform(0.1, 0.9),
        rng.uniform(0.08, 0.35),
        0.0,
        0.0,
        0.3,
        0.05,
        0.03,
        0.01,
        0.08,
        0.03,
        0.0,
        0.0,
        0.3,
        0.0,
        rng.random() * 1000,
    ]
    for index, value in overrides.items():
        numbers[index] = rng.uniform(*value) if isinstance(value, tuple) else float(value)
    return [colour(c, rng) for c in colours], numbers


Phrase = Callable[[str, Random], str]


def phrase(name: str, rng: Random) -> str:
    """Words for being in that place."""
    return rng.choice(PLACES[name][0].split("|"))
