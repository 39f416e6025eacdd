"""Square textures of surfaces: wood, marble, bricks, tiles, cloth, grass, sand, water and more."""

from itertools import pairwise

import cv2
import numpy as np

from training.backdrops.canvas import TEXTURE, Array, Canvas, rgb

SIDE = TEXTURE


def tinted(grain: Array, dark: Array, bright: Array) -> Array:
    """Noise [h,w] as a mix of two colours."""
    return dark + (bright - dark) * np.clip(grain, 0, 1)[..., None]


def stretched(grain: Array, contrast: float) -> Array:
    """Noise with its middle at 0.5 and more contrast."""
    return np.clip((grain - float(grain.mean())) * contrast + 0.5, 0, 1)


def wood(c: Canvas, planks: int, dark: Array, bright: Array, *, across: bool = False) -> Array:
    """Boards with grain along them, side by side; `across` turns them."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    edges = np.linspace(0, SIDE, planks + 1).astype(int)
    for left, right in pairwise(edges):
        width = right - left
        wave = c.noise(2, 2, SIDE, width, 2) * 2.2
        rings = 0.5 + 0.5 * np.sin((np.arange(width)[None] / width * c.between(1.5, 3) + wave) * 9)
        fibre = c.noise(4, max(2, width // 3), SIDE, width, 2)
        grain = 0.45 * rings + 0.55 * stretched(fibre, 2.2)
        board = tinted(grain, dark, bright) * c.between(0.86, 1.1)
        board[:, :2] *= 0.55
        picture[:, left:right] = board
    return np.ascontiguousarray(picture.transpose(1, 0, 2)) if across else picture


def marble(c: Canvas, ground: Array, vein: Array) -> Array:
    """Polished stone with thin veins."""
    bend = c.noise(3, 3, SIDE, SIDE, 5)
    veins = 1 - np.abs(np.sin((np.linspace(0, 3, SIDE)[None] + np.linspace(0, 2, SIDE)[:, None] + bend * 5) * 2.4))
    cloudy = c.noise(4, 4, SIDE, SIDE, 3)
    return tinted(np.clip(veins**7 * 0.8 + (cloudy - 0.5) * 0.35, 0, 1), ground, vein)


def checks(c: Canvas, count: int, one: Array, two: Array) -> Array:
    """Woven checks: squares of one colour, of the other, and of both between them."""
    stripe = (np.arange(SIDE) * count // SIDE) % 2
    return tinted((stripe[None] + stripe[:, None]) / 2, one, two) * (
        0.94 + 0.12 * c.noise(96, 96, SIDE, SIDE, 1)[..., None]
    )


def bricks(c: Canvas, rows: int, dark: Array, bright: Array, mortar: Array, ratio: float = 2.4) -> Array:
    """A wall of bricks or blocks, each of its own shade."""
    height = SIDE / rows
    columns = max(2, round(SIDE / (height * ratio)))
    width = SIDE / columns
    row = (np.arange(SIDE) / height).astype(int)[:, None]
    at = np.arange(SIDE)[None] / width + 0.5 * (row % 2)
    shade = c.rng.random((rows + 1, columns + 2), np.float32)[row, at.astype(int) % (columns + 2)]
    grain = c.noise(48, 48, SIDE, SIDE, 2)
    picture = tinted(0.7 * shade + 0.6 * (grain - 0.25), dark, bright)
    joint = max(2.0, height * 0.07)
    inside = ((np.arange(SIDE) % height)[:, None] > joint) & ((at % 1) * width > joint)
    return np.where(inside[..., None], picture, mortar).astype(np.float32)


def tiles(c: Canvas, count: int, ground: Array, joint: Array, other: Array | None = None) -> Array:
    """Square tiles, plain or of two colours."""
    size = SIDE / count
    row, column = (np.arange(SIDE) / size).astype(int)[:, None], (np.arange(SIDE) / size).astype(int)[None]
    shade = c.rng.uniform(0.93, 1.05, (count + 1, count + 1)).astype(np.float32)[row, column][..., None]
    base = ground if other is None else np.where(((row + column) % 2)[..., None] == 0, ground, other)
    inside = ((np.arange(SIDE) % size)[:, None] > size * 0.05) & ((np.arange(SIDE) % size)[None] > size * 0.05)
    return np.where(inside[..., None], base * shade, joint).astype(np.float32)


def grass(c: Canvas, dark: Array, bright: Array) -> Array:
    """Turf with lighter and darker patches."""
    return tinted(
        0.5 * stretched(c.noise(6, 6, SIDE, SIDE, 3), 2) + 0.5 * stretched(c.noise(90, 140, SIDE, SIDE, 2), 1.8),
        dark,
        bright,
    )


def sand(c: Canvas, dark: Array, bright: Array) -> Array:
    """Sand with soft ripples."""
    bend = c.noise(4, 4, SIDE, SIDE, 3)
    ripple = 0.5 + 0.5 * np.sin(np.linspace(0, 90, SIDE)[:, None] + bend * 14)
    return tinted(0.45 * ripple + 0.3 * bend + 0.25 * c.noise(200, 200, SIDE, SIDE, 1), dark, bright)


def stone(c: Canvas, dark: Array, bright: Array) -> Array:
    """Rock, concrete or asphalt: grain at every size."""
    return tinted(stretched(c.noise(8, 8, SIDE, SIDE, 6), 1.7), dark, bright)


def water(c: Canvas, dark: Array, bright: Array) -> Array:
    """Waves seen from the side: short bright crests on a darker body."""
    bend = c.noise(8, 5, SIDE, SIDE, 4)
    crest = np.clip(1 - np.abs(np.sin(np.linspace(0, 60, SIDE)[:, None] + bend * 26)) * 1.5, 0, 1)
    return tinted(0.35 * c.noise(6, 6, SIDE, SIDE, 3) + 0.75 * crest**1.5, dark, bright)


def leaves(c: Canvas, colours: list[Array], count: int, least: int, most: int) -> Array:
    """Leaves lying over each other, later ones on top."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = colours[0] * 0.5
    for n in range(count):
        centre = tuple(int(v) for v in c.rng.integers(0, SIDE, 2))
        length = int(c.rng.integers(least, most))
        shade = colours[int(c.rng.integers(len(colours)))] * (0.55 + 0.5 * n / count) * c.between(0.85, 1.1)
        angle = c.between(0, 360)
        cv2.ellipse(
            picture, centre, (length, max(2, length // 3)), angle, 0, 360, tuple(map(float, shade)), -1, cv2.LINE_AA
        )
    return picture


def carpet(c: Canvas, ground: Array, border: Array, figure: Array) -> Array:
    """A woven rug: borders and a row of diamonds."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    edge = np.maximum(np.abs(x), np.abs(y))
    diamonds = np.abs(((x * 3) % 1) - 0.5) + np.abs(((y * 3) % 1) - 0.5)
    picture = np.where((diamonds < 0.3)[..., None], figure, ground)
    picture = np.where(((diamonds > 0.3) & (diamonds < 0.36))[..., None], border, picture)
    picture = np.where(
        ((edge > 0.82) & (edge < 0.9))[..., None], figure, np.where((edge > 0.76)[..., None], border, picture)
    )
    return (picture * (0.9 + 0.2 * c.noise(150, 150, SIDE, SIDE, 1)[..., None])).astype(np.float32)


def books(c: Canvas, shelves: int) -> Array:
    """Shelves full of books."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = rgb("3a2414")
    height = SIDE // shelves
    colours = [
        rgb(t) for t in ("8a2b2b", "2b4a7a", "2f6a45", "b08a3a", "6a3a6a", "c8b48a", "3a3a4a", "9a5a2a", "20606a")
    ]
    for shelf in range(shelves):
        foot, left = (shelf + 1) * height - 10, 6
        while left < SIDE - 8:
            wide, tall = int(c.rng.integers(10, 28)), int(height * c.between(0.62, 0.86))
            shade = colours[int(c.rng.integers(len(colours)))] * c.between(0.8, 1.15)
            picture[foot - tall : foot, left : min(SIDE, left + wide - 1)] = shade
            picture[foot - tall + tall // 6 : foot - tall + tall // 6 + 4, left : min(SIDE, left + wide - 1)] = (
                shade * 1.5
            )
            left += wide
            if c.chance(0.06):
                left += 16
        picture[foot : foot + 10] = rgb("7a4f2a")
    return picture
