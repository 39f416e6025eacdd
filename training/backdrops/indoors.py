"""Rooms, tables and walls: each a painter of a canvas whose things stand at the height `ground`."""

import cv2
import numpy as np

from training.backdrops import surfaces
from training.backdrops.canvas import HEIGHT, WIDTH, Array, Canvas, rgb

WALLS = ("e8dcc8", "c8d8e0", "d8c0a8", "b8ccb8", "e0c8c8", "d0d0d8", "f0e4b8", "a8b8c8")
WOODS = (("6a3f1e", "b87c44"), ("7a4a24", "d09a5c"), ("4a2a16", "8a5a34"), ("9a6a3a", "e0b47c"))


def wall(c: Canvas, texture: Array) -> None:
    """A wall with a little light on it."""
    c.pixels[:] = cv2.resize(texture[: int(surfaces.SIDE * 0.9)], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    c.light(0.25)


def painted(c: Canvas, *colours: str) -> None:
    """A painted wall."""
    c.pixels[:] = c.colour(*(colours or WALLS)) * (0.97 + 0.06 * c.noise(3, 3)[..., None])
    c.light(0.3)


def boards(c: Canvas, planks: int = 9, *, across: bool = False) -> Array:
    """Wooden boards of some wood."""
    dark, bright = WOODS[int(c.rng.integers(len(WOODS)))]
    return surfaces.wood(c, planks, c.colour(dark), c.colour(bright), across=across)


def skirting(c: Canvas, height: float, colour: Array) -> None:
    """A strip between wall and floor, with its shadow."""
    c.box(0, height - 0.025, 1, height, colour)
    c.over(np.exp(-(((c.y - height) / 0.03) ** 2)) * (c.y >= height) * 0.4, rgb("201810"))


def window(c: Canvas, left: float, top: float, right: float, bottom: float, frame: Array) -> None:
    """A window that shows sky and green."""
    c.box(left - 0.02, top - 0.025, right + 0.02, bottom + 0.025, frame)
    c.box(left, top, right, bottom, c.colour("a8d8f8", "c4e6fa"))
    c.box(left, top + (bottom - top) * 0.65, right, bottom, c.colour("8fc078", "78b068"))
    for _ in range(4):
        x, y = c.between(left, right), top + (bottom - top) * c.between(0.1, 0.45)
        inside = (c.x > left) * (c.x < right) * (c.y > top) * (c.y < bottom)
        c.over(c.disc(x, y, c.between(0.02, 0.05), 0.03) * inside * 0.9, rgb("ffffff"))
    middle = (left + right) / 2
    c.box(middle - 0.008, top, middle + 0.008, bottom, frame)
    c.box(left, (top + bottom) / 2 - 0.01, right, (top + bottom) / 2 + 0.01, frame * 0.97)


def table(c: Canvas, texture: Array, ground: float, soft: float) -> None:
    """A table's top from edge to edge before what is there, which is out of focus."""
    c.blur(soft)
    edge = ground - c.between(0.14, 0.24)
    c.plane(texture, edge, 0.95, 0.62)
    c.over(np.exp(-(((c.y - edge) / 0.012) ** 2)) * 0.35, rgb("fff4e0"))
    shine = np.exp(-(((c.x - c.between(0.2, 0.8)) / 0.3) ** 2)) * np.clip(1 - (c.y - edge) * 3, 0, 1) * (c.y > edge)
    c.over(shine * 0.18, rgb("ffffff"))


def behind(c: Canvas) -> None:
    """Something to be out of focus behind a table: a wall, a window, lights, a garden."""
    kind = int(c.rng.integers(4))
    painted(c)
    if kind == 1:
        window(c, c.between(0.1, 0.3), 0.05, c.between(0.65, 0.9), 0.5, rgb("f4f0e8"))
    elif kind == 2:
        c.pixels[:] = c.colour("4a3424", "3a3a4a", "5a4a3a")
        for _ in range(16):
            c.over(
                c.disc(c.between(0, 1), c.between(0, 0.6), c.between(0.03, 0.07), 0.01) * 0.35,
                c.colour("ffd890", "ffe8c0"),
            )
    elif kind == 3:
        c.gradient(c.colour("cfe8b8"), c.colour("78a860"), 0.6)
        for _ in range(20):
            c.over(
                c.disc(c.between(0, 1), c.between(0, 0.6), c.between(0.05, 0.1), 0.03) * 0.5,
                c.colour("9fd080", "5f9a50", "e4f4c0"),
            )


def wooden_table(c: Canvas, ground: float) -> None:
    """A table of boards."""
    behind(c)
    table(c, boards(c, int(c.rng.integers(5, 9)), across=c.chance(0.25)), ground, 6)


def marble_table(c: Canvas, ground: float) -> None:
    """A table of white or dark marble."""
    behind(c)
    light = c.chance(0.75)
    table(
        c, surfaces.marble(c, *((rgb("f2f0ee"), rgb("8a8c94")) if light else (rgb("26282e"), rgb("d0ccc4")))), ground, 6
    )


def tablecloth(c: Canvas, ground: float) -> None:
    """A checked tablecloth."""
    behind(c)
    one = c.colour("d03030", "3060c0", "3a9a4a", "e0a030")
    table(c, surfaces.checks(c, int(c.rng.integers(9, 14)) * 2, rgb("fbf8f4"), one), ground, 6)


def brick_wall(c: Canvas, ground: float) -> None:
    """A wall of red or white bricks, a pavement before it."""
    kinds = (("8a3a28", "c86a4a", "c8b8a8"), ("a04830", "d88058", "d8ccc0"), ("c8c4bc", "f0ece6", "a8a49c"))
    tones = [rgb(t) for t in kinds[int(c.rng.choice(3, p=(0.45, 0.4, 0.15)))]]
    wall(c, surfaces.bricks(c, int(c.rng.integers(13, 20)), *tones))
    foot = ground - c.between(0.04, 0.1)
    c.plane(surfaces.tiles(c, 9, c.colour("a8a49c", "8c8a86"), rgb("6a6864")), foot)
    skirting(c, foot, rgb("8a867e"))


def living_room(c: Canvas, ground: float) -> None:
    """A sofa, a picture, a plant and a wooden floor."""
    painted(c)
    foot = ground - c.between(0.12, 0.2)
    c.plane(boards(c, 11), foot, 1.0, 0.6)
    skirting(c, foot, rgb("f4f0ea"))
    side = c.between(0.26, 0.4) if c.chance(0.5) else c.between(0.6, 0.74)
    c.prop("framed picture", 1 - side + c.between(-0.08, 0.08), foot - c.between(0.24, 0.3), c.between(0.2, 0.28))
    if c.chance(0.5):
        window(c, 1 - side - 0.13, 0.08, 1 - side + 0.13, 0.42, rgb("f8f6f0"))
    c.prop("couch and lamp", side, foot + 0.1, c.between(0.46, 0.6))
    c.prop("potted plant", abs(c.between(0.04, 0.1) - (side < 0.5)), foot + 0.07, c.between(0.26, 0.36))
    c.blur(c.between(0, 1.5))


def kitchen(c: Canvas, ground: float) -> None:
    """Cupboards above tiles, a worktop to stand on."""
    doors = c.colour("f0ece4", "8fb0a8", "c09468", "6a8098", "e8d8b0")
    top = ground - c.between(0.16, 0.22)
    wall(c, surfaces.tiles(c, 15, c.colour("f4f2ee", "dcebe8", "f0e4d0"), rgb("c8c4bc")))
    gap, low = c.between(0.34, 0.5), c.between(0.26, 0.34)
    count, x = 4, -0.03
    for _ in range(count):
        wide = c.between(0.2, 0.27)
        if not gap < x + wide / 2 < gap + 0.26:
            c.box(x, -0.01, x + wide - 0.008, low, doors)
            c.box(x + 0.02, 0.03, x + wide - 0.028, low - 0.03, doors * 0.93)
            c.box(x + wide - 0.045, low - 0.08, x + wide - 0.037, low - 0.03, rgb("5a5a5a"))
        x += wide
    c.over(np.exp(-(((c.y - low) / 0.02) ** 2)) * (c.y > low) * 0.3, rgb("302820"))
    if c.chance(0.6):
        window(c, gap, 0.05, gap + 0.24, low + 0.06, rgb("f8f6f0"))
    else:
        c.box(gap + 0.03, -0.01, gap + 0.2, 0.2, rgb("b8bcc0"))
        c.polygon([(gap + 0.03, 0.2), (gap + 0.2, 0.2), (gap + 0.26, 0.3), (gap - 0.03, 0.3)], rgb("9ca0a6"))
    c.plane(
        surfaces.marble(c, rgb("e8e4de"), rgb("a8a49e")) if c.chance(0.5) else boards(c, 7, across=True), top, 1.0, 0.7
    )
    c.over(np.exp(-(((c.y - top) / 0.015) ** 2)) * 0.4, rgb("403830"))
    things = [
        "teapot",
        "cooking",
        "pot of food",
        "bottle with popping cork",
        "potted plant",
        "salt",
        "honey pot",
        "bread",
    ]
    for x in (c.between(0.06, 0.16), c.between(0.84, 0.94)):
        c.prop(things[int(c.rng.integers(len(things)))], x, top + 0.07, c.between(0.14, 0.2))
    c.blur(c.between(0, 1.2))


def bedroom(c: Canvas, ground: float) -> None:
    """A bed, a window and a carpet."""
    painted(c, "c8d4e8", "e8d4d8", "d8d0e8", "f0e4d0", "c0d0c8")
    foot = ground - c.between(0.14, 0.2)
    c.plane(
        boards(c, 11)
        if c.chance(0.6)
        else surfaces.tinted(c.noise(90, 90, 768, 768, 2), c.colour("b8a898"), c.colour("e0d4c8")),
        foot,
    )
    skirting(c, foot, rgb("f4f0ea"))
    side = c.between(0.2, 0.32) if c.chance(0.5) else c.between(0.68, 0.8)
    window(c, 1 - side - 0.12, 0.08, 1 - side + 0.12, 0.44, rgb("fbf8f2"))
    for edge in (-0.16, 0.16):
        c.box(1 - side + edge - 0.03, 0.03, 1 - side + edge + 0.03, 0.54, c.colour("d88a9a", "8aa8d0", "e0c080"))
    c.prop("bed", side, foot + 0.12, c.between(0.5, 0.62))
    c.blur(c.between(0, 1.2))


def library(c: Canvas, ground: float) -> None:
    """Walls of books."""
    foot = ground - c.between(0.08, 0.16)
    c.pixels[: int(foot * HEIGHT)] = cv2.resize(surfaces.books(c, int(c.rng.integers(4, 6))), (WIDTH, int(foot * HEIGHT)), interpolation=cv2.INTER_AREA)  # fmt: skip  # noqa: E501
    c.light(0.4)
    c.plane(boards(c, 11), foot)
    skirting(c, foot, rgb("5a3a20"))
    c.blur(c.between(0, 1.5))


def stage(c: Canvas, ground: float) -> None:
    """Red curtains, a spotlight, a wooden stage."""
    red = c.colour("a01828", "8a1030", "b02020")
    fold = 0.5 + 0.5 * np.sin(c.x * c.between(70, 100) + 1.5 * c.noise(2, 6))
    c.pixels[:] = red * (0.45 + 0.75 * fold[..., None])
    foot = ground - c.between(0.1, 0.16)
    for n in range(7):
        x = (n + 0.5) / 7
        c.over(c.disc(x, -0.02, 0.15, 0.01), red * (0.7 + 0.3 * (n % 2)))
        c.over(np.clip(c.disc(x, -0.02, 0.15, 0.01) - c.disc(x, -0.025, 0.135, 0.01), 0, 1), rgb("e0b048"))
    c.plane(surfaces.wood(c, 13, rgb("5a3418"), rgb("b0784a")), foot)
    c.pixels *= 0.75
    x, lean = 0.5 + c.between(-0.08, 0.08), c.between(-0.2, 0.2)
    beam = np.clip(1 - np.abs(c.x - x - lean * (ground - c.y)) / (0.06 + 0.22 * c.y), 0, 1) ** 0.6 * (c.y < ground)
    c.over(beam * 0.26, rgb("fff4d0"))
    c.over(np.clip((1 - np.hypot((c.x - x) / 0.3, (c.y - ground) / 0.09)) * 3, 0, 1) * 0.45, rgb("fff0c8"))


def bathroom(c: Canvas, ground: float) -> None:
    """Tiles and a bath."""
    wall(c, surfaces.tiles(c, 12, c.colour("d4ecf4", "f4f6f8", "c8e4dc"), c.colour("a8c4cc", "b8c0c4")))
    foot = ground - c.between(0.14, 0.2)
    if c.chance(0.7):
        c.box(0, foot - 0.3, 1, foot - 0.26, c.colour("3f80a8", "4a9a94"))
    c.plane(surfaces.tiles(c, 9, rgb("f0f0ee"), rgb("b0b0ac"), c.colour("5a7a8c", "40464c", "8ab0b8")), foot)
    side = c.between(0.22, 0.32) if c.chance(0.5) else c.between(0.68, 0.78)
    c.prop("bathtub", side, foot + 0.12, c.between(0.44, 0.56))
    mirror = 1 - side
    c.box(mirror - 0.1, 0.08, mirror + 0.1, 0.42, rgb("b8bcc0"))
    c.box(mirror - 0.085, 0.1, mirror + 0.085, 0.4, c.colour("d8eef4"))
    c.polygon([(mirror - 0.06, 0.4), (mirror - 0.01, 0.1), (mirror + 0.02, 0.1), (mirror - 0.03, 0.4)], rgb("f4fcff"))


def dungeon(c: Canvas, ground: float) -> None:
    """Walls of stone blocks by torchlight."""
    wall(c, surfaces.bricks(c, int(c.rng.integers(6, 9)), c.colour("4a4a50"), c.colour("8a8884"), rgb("2a2a2e"), 1.8))
    foot = ground - c.between(0.1, 0.16)
    c.plane(surfaces.bricks(c, 9, c.colour("3a3a3e"), c.colour("74726e"), rgb("222226"), 1.2), foot)
    c.pixels *= 0.7
    for x in (c.between(0.08, 0.22), c.between(0.78, 0.92)):
        y = c.between(0.2, 0.32)
        c.over(np.exp(-((np.hypot(c.x - x, (c.y - y) * 0.8) / 0.26) ** 2)) * 0.6, rgb("e89848"))
        c.box(x - 0.012, y + 0.06, x + 0.012, y + 0.2, rgb("4a3018"))
        c.prop("fire", x, y + 0.08, 0.15)


def rug(c: Canvas, ground: float) -> None:
    """A patterned carpet before a plain wall."""
    painted(c)
    foot = ground - c.between(0.2, 0.26)
    c.plane(boards(c, 11), foot)
    skirting(c, foot, rgb("f0ece4"))
    tones = (("a02830", "e0b860", "2a3a6a"), ("2a4a7a", "e8d8a8", "a83038"), ("7a2848", "e8c890", "3a6a5a"))
    ground_tone, border, figure = (rgb(t) for t in tones[int(c.rng.integers(3))])
    kept = c.pixels.copy()
    texture = surfaces.carpet(c, ground_tone, border, figure)
    side, near, far, top = surfaces.SIDE, 0.52, 0.34, foot + 0.04
    source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    goal = np.array([[0.5 - far, top], [0.5 + far, top], [0.5 + near, 0.99], [0.5 - near, 0.99]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, goal * np.array([WIDTH, HEIGHT], np.float32))
    laid = cv2.warpPerspective(texture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
    inside = cv2.warpPerspective(np.ones((side, side), np.float32), matrix, (WIDTH, HEIGHT))
    c.pixels = kept
    c.over(inside, laid)


def window_sill(c: Canvas, ground: float) -> None:
    """A sill before a large window."""
    painted(c, "f4ece0", "e8e4dc", "dcd4c4")
    sill = ground - c.between(0.08, 0.14)
    left, right = c.between(0.08, 0.14), c.between(0.86, 0.92)
    window(c, left, 0.05, right, sill - 0.03, rgb("fbf9f5"))
    for edge in (left - 0.07, right + 0.07):
        folds = 0.88 + 0.12 * np.sin(c.x * 160)
        c.over(
            (np.abs(c.x - edge) < 0.055) * (c.y < sill) * np.ones_like(c.y),
            c.colour("e0a8a0", "a8c0d8", "f0e0c0") * folds[..., None],
        )
    c.plane(
        surfaces.wood(c, 3, c.colour("e0d8cc"), c.colour("fbf8f2"), across=True)
        if c.chance(0.6)
        else boards(c, 3, across=True),
        sill,
    )
    c.over(np.exp(-(((c.y - sill) / 0.01) ** 2)) * 0.35, rgb("605848"))


def classroom(c: Canvas, ground: float) -> None:
    """A blackboard with chalk on it, a desk before it."""
    painted(c, "f0e4c8", "e0e0d8", "d8e4e0")
    left, right, low = c.between(0.04, 0.1), c.between(0.9, 0.96), c.between(0.5, 0.58)
    c.box(left - 0.02, 0.04, right + 0.02, low + 0.03, rgb("8a5a30"))
    board = c.colour("2a5a44", "2f4f46", "26332f")
    c.box(left, 0.065, right, low, board)
    c.over(
        (c.x > left) * (c.x < right) * (c.y > 0.065) * (c.y < low) * 0.16 * surfaces.stretched(c.noise(3, 4), 2),
        rgb("ffffff"),
    )
    for _ in range(7):
        x, y = c.between(left + 0.05, right - 0.25), c.between(0.12, low - 0.08)
        points = np.array(
            [[(x + 0.02 * n) * WIDTH, (y + c.between(-0.018, 0.018)) * HEIGHT] for n in range(int(c.between(4, 10)))]
        )
        cv2.polylines(c.pixels, [points.astype(np.int32)], False, (0.92, 0.94, 0.9), 2, cv2.LINE_AA)
    table(c, boards(c, 5, across=True), ground, 0.0)


def shelf(c: Canvas, ground: float) -> None:
    """A wooden shelf on a wall, books at its ends."""
    painted(c)
    top, thick = ground - 0.01, c.between(0.05, 0.08)
    grain = cv2.resize(boards(c, 2, across=True), (WIDTH, HEIGHT))
    c.over((c.y > top + thick) * np.exp(-((c.y - top - thick) / 0.06)) * 0.4, rgb("282018"))
    c.over((c.y > top - 0.03) * (c.y < top + thick) * np.ones_like(c.x), grain)
    c.over((c.y > top + 0.005) * (c.y < top + thick) * 0.3 * np.ones_like(c.x), rgb("3a2410"))
    for start, way in ((0.01, 1), (0.99, -1)):
        x = start
        for _ in range(int(c.between(3, 6))):
            wide, tall = c.between(0.024, 0.045), c.between(0.2, 0.34)
            tone = c.colour("b03a3a", "3a5a9a", "3a8a5a", "c89a3a", "7a4a8a")
            c.box(min(x, x + way * wide), top - tall, max(x, x + way * wide) - 0.002, top + 0.002, tone)
            c.box(
                min(x, x + way * wide), top - tall * 0.8, max(x, x + way * wide) - 0.002, top - tall * 0.76, tone * 1.4
            )
            x += way * wide
