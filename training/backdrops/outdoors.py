"""Places under the sky: each a painter of a canvas whose things stand at the height `ground`."""

import cv2
import numpy as np

from training.backdrops import surfaces
from training.backdrops.canvas import HEIGHT, WIDTH, Array, Canvas, rgb

PINES, TREES = ["evergreen tree"], ["deciduous tree"]
FLOWERS = ["tulip", "sunflower", "rose", "blossom", "cherry blossom", "hibiscus"]


def sky(c: Canvas, top: str, bottom: str, horizon: float, clouds: float = 0.5) -> None:
    """A sky with soft clouds."""
    c.gradient(c.colour(top), c.colour(bottom), horizon)
    if clouds > 0:
        puffs = np.clip((c.noise(3, 4, octaves=5) - 0.62 + 0.16 * clouds) * 6, 0, 1)
        c.over(puffs * 0.85 * np.clip(1.1 - c.y / max(horizon, 0.1), 0, 1), rgb("ffffff"))


def sun(c: Canvas, x: float, y: float, radius: float, colour: str, glow: float) -> None:
    """A sun or moon with light about it."""
    tone = rgb(colour)
    far = np.hypot((c.x - x) * WIDTH / HEIGHT, c.y - y)
    c.over(glow * np.exp(-((far / (radius * 3.2)) ** 2)), tone)
    c.over(c.disc(x, y, radius), tone)


def stars(c: Canvas, count: int, until: float = 1.0) -> None:
    """Bright points, a few of them large."""
    for _ in range(count):
        place = int(c.between(0, WIDTH)), int(c.between(0, HEIGHT * until))
        size = 2 if c.chance(0.12) else 1
        cv2.circle(c.pixels, place, size, (c.between(0.7, 1),) * 3, -1, cv2.LINE_AA)


def peaks(c: Canvas, horizon: float, rise: float, rock: Array, snow: float) -> None:
    """Mountains lit from one side, white above the share `snow` of their rise."""
    line = c.ridge(horizon - 0.04, rise, 1.0)
    slope = cv2.GaussianBlur(np.gradient(line)[None].astype(np.float32), (0, 0), 3)[0] * WIDTH
    folds = np.sin((c.y - line) * 26 + c.noise(5, 7) * 16)
    lit = np.clip(0.82 + 0.35 * np.sign(slope + 0.6 * folds) * 0.6, 0.5, 1.15)[..., None]
    c.below(line, rock * lit)
    cap = np.clip((line + rise * snow * (0.6 + 0.5 * c.noise(6, 16)) - c.y) * 60, 0, 1) * ((c.y > line) * 1.0)
    c.over(cap, rgb("f4f8fc") * np.clip(lit + 0.1, 0.75, 1))


def meadow(c: Canvas, ground: float) -> None:
    """A green field with hills and flowers."""
    horizon = ground - c.between(0.14, 0.24)
    sky(c, "4a9ae8", "d4edfa", horizon, c.between(0.3, 1))
    c.below(c.ridge(horizon, 0.1, 0), c.colour("8fc088"))
    c.below(c.ridge(horizon + 0.02, 0.06, 0), c.colour("78b85c"))
    c.scatter(TREES, 5, horizon - 0.01, horizon + 0.04, 0.08, 0.13, haze=rgb("a8d0a0"), share=0.25)
    c.plane(surfaces.grass(c, c.colour("4f9a35"), c.colour("8fd05c")), horizon + 0.04)
    for _ in range(70):
        base = horizon + 0.06 + (1 - horizon) * c.rng.random() ** 0.7
        c.dot(c.between(0, 1), base, 0.003 + 0.01 * (base - horizon), c.colour("ffffff", "ffe04a", "f7a0c0", "e85a5a"))


def mountains(c: Canvas, ground: float) -> None:
    """Snowy mountains behind a valley."""
    horizon = ground - c.between(0.12, 0.2)
    sky(c, "3f86d8", "dcecf8", horizon, c.between(0.2, 0.8))
    peaks(c, horizon, c.between(0.34, 0.5), c.colour("93a6c4"), 0.5)
    peaks(c, horizon + 0.03, c.between(0.2, 0.3), c.colour("6b7f9c"), 0.32)
    c.below(c.ridge(horizon, 0.05, 0), c.colour("56885e"))
    c.scatter(PINES, 12, horizon - 0.0, horizon + 0.07, 0.1, 0.17)
    c.plane(surfaces.grass(c, c.colour("447a38"), c.colour("7fb865")), horizon + 0.06)


def shore(c: Canvas, sea: float, foam: float) -> None:
    """The sea from its horizon to a curved line of foam, sand below."""
    c.plane(surfaces.water(c, c.colour("1f86c0"), c.colour("6cd0e0")), sea, 1.2, 0.9)
    line = foam + 0.02 * np.sin(c.x[0] * c.between(4, 8) + c.between(0, 6)) + 0.01 * (c.noise(1, 12, 1, WIDTH)[0] - 0.5)
    kept = c.pixels.copy()
    c.plane(surfaces.sand(c, c.colour("dcb878"), c.colour("f8e6b8")), foam - 0.06)
    c.pixels = kept + (c.pixels - kept) * np.clip((c.y - line) * HEIGHT + 0.5, 0, 1)[..., None]
    c.over(np.exp(-(((c.y - line) / 0.035) ** 2)) * (c.y > line) * 0.35, rgb("b8905a"))
    c.over(np.exp(-(((c.y - line) / 0.009) ** 2)), rgb("ffffff"))


def beach(c: Canvas, ground: float) -> None:
    """Sand, the sea and palms."""
    foam = ground - c.between(0.08, 0.12)
    sea = foam - c.between(0.12, 0.2)
    sky(c, "3f9ae8", "d8f2fa", sea, c.between(0.1, 0.7))
    if c.chance(0.5):
        sun(c, c.between(0.1, 0.9), c.between(0.1, 0.25), c.between(0.04, 0.07), "fff6c0", 0.6)
    shore(c, sea, foam)
    side = 1 if c.chance(0.5) else 0
    c.prop("palm tree", abs(side - c.between(0.02, 0.14)), foam + 0.08, c.between(0.5, 0.75))
    if c.chance(0.5):
        c.prop("umbrella on ground", abs(1 - side - c.between(0.08, 0.18)), foam + 0.1, c.between(0.2, 0.3))
    if c.chance(0.4):
        c.prop("spiral shell", c.between(0.1, 0.9), 0.97, 0.07)


def sea(c: Canvas, ground: float) -> None:
    """Water up to the horizon."""
    horizon = ground - c.between(0.16, 0.26)
    sky(c, "58aef0", "e4f5fc", horizon, c.between(0.3, 1))
    if c.chance(0.35):
        c.below(c.ridge(horizon, 0.07, 0), c.colour("9cc0cc"))
    c.plane(surfaces.water(c, c.colour("1a5fa0", "1f74a8"), c.colour("7cc8ea")), horizon, 1.3, 1.0)


def lake(c: Canvas, ground: float) -> None:
    """A still lake that mirrors mountains and trees, its bank in front."""
    bank = ground - 0.07
    water = bank - c.between(0.2, 0.28)
    sky(c, "4a94dc", "e0f0fa", water, c.between(0.2, 0.7))
    peaks(c, water + 0.03, c.between(0.25, 0.38), c.colour("8aa0bc"), 0.4)
    c.scatter(PINES, 16, water - 0.005, water + 0.01, 0.1, 0.16)
    top, rows = int(water * HEIGHT), HEIGHT - int(water * HEIGHT)
    mirror = c.pixels[max(0, top - rows) : top][::-1]
    mirror = cv2.GaussianBlur(cv2.resize(mirror, (WIDTH, rows)), (0, 0), 2)
    ripple = surfaces.stretched(c.noise(90, 5, rows, WIDTH, 2), 1.5)[..., None]
    c.pixels[top:] = mirror * 0.72 + rgb("3f8cb8") * 0.28 + 0.1 * (ripple - 0.5)
    line = bank + 0.015 * np.sin(c.x[0] * 5 + c.between(0, 6))
    c.below(line, rgb("8a7a56"))
    kept = c.pixels.copy()
    c.plane(surfaces.grass(c, c.colour("4a8438"), c.colour("86c060")), bank - 0.03)
    c.pixels = kept + (c.pixels - kept) * np.clip((c.y - line - 0.015) * HEIGHT, 0, 1)[..., None]


def snow(c: Canvas, ground: float) -> None:
    """White hills, pines under snow, falling flakes."""
    horizon = ground - c.between(0.14, 0.22)
    sky(c, "8fbce4", "eaf4fb", horizon, c.between(0.3, 0.9))
    if c.chance(0.6):
        peaks(c, horizon + 0.02, c.between(0.18, 0.32), c.colour("a9bcd2"), 0.8)
    c.below(c.ridge(horizon, 0.09, 0), c.colour("d4e2ee"))
    c.scatter(PINES, 9, horizon - 0.01, horizon + 0.06, 0.14, 0.26, haze=rgb("f0f6fc"), share=0.45)
    c.plane(surfaces.tinted(c.noise(5, 5, 768, 768, 4), rgb("c4d8ec"), rgb("ffffff")) * 1.02, horizon + 0.05)
    for _ in range(int(c.between(60, 180))):
        c.dot(c.between(0, 1), c.between(0, 1), c.between(0.002, 0.007), rgb("ffffff"), 0.9)


def desert(c: Canvas, ground: float) -> None:
    """Sand dunes, each with a lit and a dark side, and cactuses."""
    horizon = ground - c.between(0.14, 0.22)
    sky(c, "5aa4e0", "fbe6bf", horizon, c.between(0, 0.2))
    sun(c, c.between(0.1, 0.9), c.between(0.1, 0.3), c.between(0.04, 0.07), "fff3c0", 0.6)
    for n in range(3):
        line = c.ridge(horizon + 0.03 * n, c.between(0.1, 0.18), 0)
        c.below(line, c.colour("e8bc74", "dfae66"))
        shade = np.clip(np.gradient(cv2.GaussianBlur(line[None], (0, 0), 8)[0]) * WIDTH * 6, 0, 1)
        c.over(np.clip((c.y - line) * 60, 0, 1) * np.exp(-((c.y - line) / 0.16)) * shade * 0.6, rgb("a86c34"))
    c.plane(surfaces.sand(c, c.colour("c98f48"), c.colour("f2cc88")), horizon + 0.08)
    c.scatter(["cactus"], int(c.between(1, 4)), horizon + 0.02, horizon + 0.1, 0.14, 0.26)


def evening(c: Canvas, horizon: float, tones: tuple[str, str, str], hills: str, low: float) -> None:
    """A sky of three tones with a low sun before dark hills."""
    c.gradient(c.colour(tones[0]), c.colour(tones[1]), horizon * 0.6)
    c.over(np.clip((c.y - horizon * 0.55) / (horizon * 0.45), 0, 1), c.colour(tones[2]))
    bands = np.clip((c.noise(14, 3, octaves=4) - 0.5) * 5, 0, 1)
    c.over(bands * 0.5 * np.clip(1.2 - c.y / horizon, 0, 1), c.colour("ff8f7a"))
    sun(c, c.between(0.2, 0.8), horizon - low, c.between(0.07, 0.12), "fff0a8", 0.75)
    c.below(c.ridge(horizon, 0.12, 1.0), rgb(hills) * 1.35)
    c.below(c.ridge(horizon + 0.03, 0.06, 0), rgb(hills))


def sunset(c: Canvas, ground: float) -> None:
    """An orange and purple sky, dark land."""
    horizon = ground - c.between(0.12, 0.2)
    evening(c, horizon, ("5b3f8f", "e8607a", "ffa64a"), "3c2748", c.between(0.02, 0.1))
    c.plane(surfaces.tinted(c.noise(6, 6, 768, 768, 5), c.colour("2a1a30"), c.colour("6a4050")), horizon + 0.04)


def sunrise(c: Canvas, ground: float) -> None:
    """A pale pink and blue sky, green land in mist."""
    horizon = ground - c.between(0.12, 0.2)
    evening(c, horizon, ("7fb0ea", "f4c8d4", "ffe0b0"), "7a8a94", c.between(0.0, 0.06))
    c.plane(surfaces.grass(c, c.colour("5f8a50"), c.colour("b0cc88")), horizon + 0.04)
    c.over(np.exp(-(((c.y - horizon - 0.03) / 0.06) ** 2)) * 0.6, rgb("fff0e4"))


def night(c: Canvas, ground: float) -> None:
    """Stars, a moon and dark hills."""
    horizon = ground - c.between(0.12, 0.22)
    c.gradient(c.colour("0a1038"), c.colour("34508c"), horizon)
    stars(c, int(c.between(90, 200)), horizon)
    x, y = c.between(0.1, 0.9), c.between(0.1, 0.26)
    sun(c, x, y, c.between(0.05, 0.09), "f8f4d8", 0.35)
    c.below(c.ridge(horizon, 0.14, 1.0), c.colour("1c2a54"))
    c.below(c.ridge(horizon + 0.02, 0.06, 0), c.colour("131c38"))
    c.plane(surfaces.grass(c, c.colour("0c1a2a"), c.colour("24445c")), horizon + 0.04)


def wood_of(c: Canvas, ground: float, far: str, trunk: str, crowns: tuple[str, ...], floor: Array) -> None:
    """A wood: rows of trunks in haze under crowns, and its floor."""
    horizon = ground - c.between(0.1, 0.18)
    c.gradient(c.colour(far) * 0.9, c.colour(far), 1)
    tones = [c.colour(t) for t in crowns]
    for n in range(3):
        near = (n + 1) / 3
        haze = rgb(far)
        for x in c.rng.uniform(-0.05, 1.05, 9 - 2 * n):
            wide = c.between(0.012, 0.022) * (0.6 + 1.4 * near)
            tone = haze + (rgb(trunk) - haze) * (0.35 + 0.6 * near)
            foot = horizon + 0.05 * near
            c.polygon([(x - wide * 0.7, -0.02), (x + wide * 0.7, -0.02), (x + wide, foot), (x - wide, foot)], tone)
            c.polygon(
                [(x + wide * 0.2, -0.02), (x + wide * 0.7, -0.02), (x + wide, foot), (x + wide * 0.3, foot)],
                tone * 0.75,
            )
        for _ in range(26):
            tone = haze + (tones[int(c.rng.integers(len(tones)))] * c.between(0.7, 1.15) - haze) * (0.35 + 0.65 * near)
            c.dot(c.between(-0.05, 1.05), c.between(-0.08, 0.3 - 0.06 * n), c.between(0.05, 0.11), tone)
    c.plane(floor, horizon)
    for x in np.linspace(-0.02, 1.02, 14):
        tone = tones[int(c.rng.integers(len(tones)))] * c.between(0.6, 0.95)
        c.dot(x + c.between(-0.03, 0.03), horizon + 0.03, c.between(0.03, 0.06), tone)


def forest(c: Canvas, ground: float) -> None:
    """A green wood."""
    floor = surfaces.grass(c, c.colour("3a6028"), c.colour("7faf50"))
    wood_of(c, ground, "cfe6c0", "5a3e28", ("3f7a38", "5a9a48", "2f6a34", "6fae4c"), floor)
    c.scatter(["mushroom", "herb", "seedling"], 4, ground + 0.02, 1.0, 0.04, 0.08)


def autumn(c: Canvas, ground: float) -> None:
    """A wood in autumn, leaves on the ground."""
    fallen = surfaces.leaves(c, [rgb("c8642a"), rgb("e09a30"), rgb("a83c22"), rgb("d8b848")], 2600, 8, 22)
    wood_of(c, ground, "f6dcae", "5a3a28", ("e07828", "d8a030", "b84a24", "e8bc48"), fallen)
    c.scatter(["maple leaf", "fallen leaf"], 6, 0.1, 1.0, 0.03, 0.07)


def jungle(c: Canvas, ground: float) -> None:
    """Large leaves everywhere."""
    c.gradient(c.colour("9fd8a0"), c.colour("3f8a48"), 1)
    for n in range(3):
        tones = [rgb(t) * (1.1 - 0.22 * n) for t in ("4fa050", "2f7a3c", "6fb84a", "1f6038")]
        for _ in range(34):
            x, y, angle = c.between(-0.1, 1.1), c.between(-0.1, 0.45 + 0.15 * n), c.between(0, np.pi)
            long, tone = c.between(0.12, 0.26), tones[int(c.rng.integers(4))] * c.between(0.8, 1.15)
            along, over = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            points = [np.array([x, y]) + along * long * a + over * long * 0.22 * b for a, b in ((-1, 0), (-0.4, 0.8), (0.3, 0.7), (1, 0), (0.3, -0.7), (-0.4, -0.8))]  # fmt: skip  # noqa: E501
            c.polygon([tuple(p) for p in points], tone)
            c.polygon([tuple(points[0]), tuple(points[3]), tuple(points[3] + over * 0.006)], tone * 0.7)
    c.plane(surfaces.grass(c, c.colour("24501f"), c.colour("5f9a40")), ground - 0.1)
    c.prop("palm tree", c.between(0.0, 0.15), ground, c.between(0.6, 0.85))
    c.prop("palm tree", c.between(0.85, 1.0), ground, c.between(0.6, 0.85))


def tower(
    c: Canvas, left: float, top: float, right: float, bottom: float, wall: Array, pane: Array, lit: float
) -> None:
    """A building with rows of windows, a share of them lit."""
    c.box(left, top, right, bottom, wall)
    c.box(right - (right - left) * 0.14, top, right, bottom, wall * 0.8)
    columns = max(2, int((right - left) / 0.028))
    step, y = (right - left) / columns, top + 0.025
    while y < bottom - 0.03:
        for n in range(columns):
            glow = c.chance(lit)
            tone = rgb("ffd873") if glow else pane * c.between(0.85, 1.15)
            c.box(left + (n + 0.25) * step, y, left + (n + 0.75) * step, y + 0.022, tone)
        y += 0.04


def skyline(c: Canvas, horizon: float, walls: tuple[str, ...], pane: str, lit: float, haze: Array) -> None:
    """Two rows of towers."""
    for row, (low, high, share) in enumerate(((0.3, 0.5, 0.45), (0.16, 0.36, 0.0))):
        x = c.between(-0.08, 0)
        while x < 1:
            wide = c.between(0.08, 0.15)
            wall = c.colour(*walls)
            glass = rgb(pane)
            tower(c, x, horizon - c.between(low, high), x + wide, horizon + 0.02 * row, wall + (haze - wall) * share, glass + (haze - glass) * share, lit)  # fmt: skip  # noqa: E501
            x += wide + c.between(0.0, 0.03)


def city(c: Canvas, ground: float) -> None:
    """Towers by day."""
    horizon = ground - c.between(0.06, 0.12)
    sky(c, "5aa0dc", "e4f0fa", horizon, c.between(0.2, 0.8))
    skyline(c, horizon, ("b8a890", "8c9cb4", "c4b8a8", "9a7a68", "a8b4c4"), "3f5f80", 0.03, rgb("d4e2ee"))
    c.plane(surfaces.tiles(c, 14, c.colour("b4b4b4"), rgb("8c8c8c")), horizon)


def citynight(c: Canvas, ground: float) -> None:
    """Lit windows and neon signs by night."""
    horizon = ground - c.between(0.06, 0.12)
    c.gradient(c.colour("0c0f2c"), c.colour("4a3474"), horizon)
    stars(c, 40, 0.4)
    skyline(c, horizon, ("20244a", "2a2044", "1a2a44"), "10142c", 0.5, rgb("3a2c60"))
    for _ in range(5):
        x, y = c.between(0.05, 0.9), c.between(horizon - 0.3, horizon - 0.1)
        tone = c.colour("ff4fa0", "40e0ff", "ffd040", "8f60ff")
        c.over(np.exp(-((np.hypot((c.x - x - 0.03) * 1.3, c.y - y) / 0.07) ** 2)) * 0.55, tone)
        c.box(x, y, x + c.between(0.04, 0.08), y + c.between(0.02, 0.05), tone)
    c.plane(surfaces.tinted(c.noise(6, 6, 768, 768, 4), rgb("14142a"), rgb("4a3f6e")), horizon)
    top, rows = int(horizon * HEIGHT), HEIGHT - int(horizon * HEIGHT)
    mirror = cv2.GaussianBlur(c.pixels[max(0, top - rows) : top][::-1], (0, 0), 5)
    c.pixels[top : top + len(mirror)] += 0.35 * mirror


def street(c: Canvas, ground: float) -> None:
    """A road with lanes between two rows of houses that run to a point."""
    middle, far = 0.5 + c.between(-0.06, 0.06), ground - c.between(0.2, 0.28)
    sky(c, "66aae4", "e8f3fa", far, c.between(0.2, 0.8))
    walls = ("c87a5a", "d8b880", "b8c4cc", "a86a5a", "e0c8a0", "8fa0a8", "d09a70")
    for side in (-1, 1):
        edge, depth = 0.62, 1.0
        while depth > 0.12:
            nearer, farther = depth, depth * c.between(0.62, 0.76)
            rise, wall = c.between(0.62, 0.95), c.colour(*walls) * (1.0 if side < 0 else 0.86)
            x1, x2 = (middle + side * edge * d for d in (nearer, farther))
            c.polygon([(x1, far - rise * nearer), (x2, far - rise * farther), (x2, far + 0.12 * farther), (x1, far + 0.12 * nearer)], wall)  # fmt: skip  # noqa: E501
            for row in range(4):
                for column in range(3):
                    a, b = ((column + 0.25) / 3, (column + 0.75) / 3)
                    ends = [nearer * (farther / nearer) ** t for t in (a, b)]
                    low, high = -0.1 + row / 4 * rise + 0.1, -0.1 + (row + 0.55) / 4 * rise + 0.1
                    quad = [(middle + side * edge * d, far - h * d) for d, h in ((ends[0], high), (ends[1], high), (ends[1], low), (ends[0], low))]  # fmt: skip  # noqa: E501
                    c.polygon(quad, rgb("4a6478") if row else rgb("5a3a2a"))
            depth = farther
    floor = (1 - far) / 1.0
    c.polygon([(middle, far), (middle + 1.9, 1.02), (middle - 1.9, 1.02)], c.colour("b8b4ac"))
    c.polygon([(middle, far), (middle + 0.72, 1.02), (middle - 0.72, 1.02)], c.colour("5a5c62", "6a6a6c"))
    for n in range(6):
        a, b = 0.06 * 1.7**n, 0.06 * 1.7**n * 1.35
        if b < 1.2:
            ends = [(far + floor * t, 0.022 * t) for t in (a, b)]
            c.polygon([(middle - ends[0][1], ends[0][0]), (middle + ends[0][1], ends[0][0]), (middle + ends[1][1], ends[1][0]), (middle - ends[1][1], ends[1][0])], rgb("f4f0e0"))  # fmt: skip  # noqa: E501
    c.pixels *= (0.94 + 0.12 * c.noise(60, 80))[..., None]


def road(c: Canvas, ground: float) -> None:
    """A country road through fields."""
    horizon = ground - c.between(0.16, 0.24)
    middle = 0.5 + c.between(-0.08, 0.08)
    sky(c, "4a98e4", "dcf0fa", horizon, c.between(0.3, 0.9))
    c.below(c.ridge(horizon, 0.08, 0), c.colour("88b078"))
    c.plane(surfaces.grass(c, c.colour("5f9a3c"), c.colour("a8cc60")), horizon)
    c.polygon(
        [(middle - 0.01, horizon), (middle + 0.01, horizon), (middle + 0.62, 1.02), (middle - 0.62, 1.02)],
        c.colour("66686c"),
    )
    for side in (-1, 1):
        c.polygon([(middle + side * 0.008, horizon), (middle + side * 0.01, horizon), (middle + side * 0.56, 1.02), (middle + side * 0.53, 1.02)], rgb("f0ece0"))  # fmt: skip  # noqa: E501
    for n in range(6):
        a, b = 0.06 * 1.7**n, 0.06 * 1.7**n * 1.35
        y1, y2 = horizon + (1 - horizon) * a, horizon + (1 - horizon) * b
        c.polygon(
            [(middle - 0.02 * a, y1), (middle + 0.02 * a, y1), (middle + 0.02 * b, y2), (middle - 0.02 * b, y2)],
            rgb("f8d850"),
        )
    for side in (-1, 1):
        for n in range(4):
            share = 0.1 * 1.8**n
            c.prop("deciduous tree", middle + side * (0.04 + 0.72 * share), horizon + 0.3 * share, 0.08 + 0.3 * share)


def space(c: Canvas, ground: float) -> None:
    """Stars, a nebula, now and then a planet."""
    c.gradient(c.colour("04061a", "0a0820"), c.colour("140f38", "0c1030"), 1)
    for tone in ("5a2f9a", "2a5ab0", "b0408a"):
        cloud = np.clip((c.noise(3, 3, octaves=5) - 0.5) * 3.4, 0, 1)
        c.over(cloud * c.between(0.15, 0.5), rgb(tone))
    stars(c, int(c.between(160, 300)))
    if c.chance(0.5):
        x, y, radius = c.between(0.08, 0.92), c.between(0.1, 0.3), c.between(0.06, 0.14)
        tone = c.colour("d88a4a", "6a9ad8", "b86a8a", "8ac0a0")
        c.over(c.disc(x, y, radius), tone * (0.6 + 0.7 * c.noise(12, 2, octaves=2))[..., None])
        c.over(
            c.disc(x, y, radius) * (1 - c.disc(x - radius * 0.4, y - radius * 0.4, radius * 1.05, 0.08)) * 0.75,
            rgb("080818"),
        )


def clouds(c: Canvas, ground: float) -> None:
    """A blue sky full of clouds."""
    sky(c, "3f8fe8", "c4e4fa", 1.0, 0.0)
    for _ in range(int(c.between(4, 8))):
        x, y, size = c.between(0, 1), c.between(0.05, 0.98), c.between(0.05, 0.1)
        for _ in range(9):
            dx, dy = c.between(-2, 2) * size, c.between(-0.5, 0.25) * size
            tone = rgb("ffffff") * (0.94 + 0.06 * (dy < 0))
            c.over(c.disc(x + dx * 0.75, y + dy, size * c.between(0.5, 0.95), 0.03) * 0.8, tone)


def underwater(c: Canvas, ground: float) -> None:
    """Blue water with rays of light, weeds and a sandy bottom."""
    c.gradient(c.colour("4fd0e8"), c.colour("0c4f98"), 1)
    for _ in range(6):
        x, lean = c.between(0, 1), c.between(-0.25, 0.25)
        ray = np.exp(-(((c.x - x - lean * c.y) / (0.015 + 0.05 * c.y)) ** 2)) * np.clip(0.9 - c.y, 0, 1)
        c.over(ray * 0.4, rgb("d8f8ff"))
    c.plane(surfaces.sand(c, rgb("4f8088"), rgb("a8c0a0")), c.between(0.82, 0.88))
    for _ in range(9):
        x, high, sway = c.between(0, 1), c.between(0.12, 0.4), c.between(0, 6)
        side = 0.5 + (x - 0.5) * 1.2
        path = [(side + 0.012 * np.sin(t * 9 + sway) + d * 0.012 * (1 - t), 0.97 - high * t) for d, ts in ((-1, np.linspace(0, 1, 12)), (1, np.linspace(1, 0, 12))) for t in ts]  # fmt: skip  # noqa: E501
        c.polygon(path, c.colour("2f8a5a", "1f6a4a", "4aa05a"))
    c.scatter(["tropical fish", "fish"], int(c.between(0, 4)), 0.15, 0.7, 0.06, 0.09, haze=rgb("2f90c0"), share=0.45)
    c.scatter(["coral", "spiral shell"], int(c.between(1, 4)), 0.92, 0.99, 0.08, 0.13, haze=rgb("2f80b0"), share=0.2)
    for _ in range(30):
        x, y, radius = c.between(0, 1), c.between(0, 0.9), c.between(0.004, 0.012)
        c.dot(x, y, radius, rgb("e4fbff"), 0.5)
        c.dot(x - radius * 0.3, y - radius * 0.3, radius * 0.35, rgb("ffffff"))


def mars(c: Canvas, ground: float) -> None:
    """A red stony plain under a dusty sky."""
    horizon = ground - c.between(0.12, 0.2)
    c.gradient(c.colour("7a4434"), c.colour("eab488"), horizon)
    c.below(c.ridge(horizon, 0.16, 1.0), c.colour("a85a3c"))
    c.plane(surfaces.stone(c, c.colour("6a2c1c"), c.colour("d08050")), horizon)
    for base in sorted(c.rng.uniform(horizon + 0.02, 1.0, 16)):
        x, size = c.between(0, 1), 0.006 + 0.05 * (base - horizon)
        rock = [(x + size * np.cos(t) * c.between(0.7, 1.2), base + size * 0.7 * np.sin(t) * c.between(0.7, 1.2)) for t in np.linspace(0, 6.28, 9)]  # fmt: skip  # noqa: E501
        c.polygon([(px + size * 0.2, py + size * 0.3) for px, py in rock], rgb("4a1c14"))
        c.polygon(rock, c.colour("9a4c30", "b8663e"))


def garden(c: Canvas, ground: float) -> None:
    """Beds of flowers before a hedge."""
    horizon = ground - c.between(0.1, 0.16)
    sky(c, "66b0ec", "e0f4fa", horizon, c.between(0.2, 0.7))
    hedge = surfaces.leaves(c, [rgb("3f8a3c"), rgb("5aa84a"), rgb("2f7038")], 2400, 8, 18)
    top = horizon - c.between(0.16, 0.26)
    line = top + 0.012 * (c.noise(1, 30, 1, WIDTH)[0] - 0.5)
    c.over(((c.y - line) * HEIGHT) * (c.y < horizon + 0.02), cv2.resize(hedge, (WIDTH, HEIGHT)))
    c.plane(surfaces.grass(c, c.colour("4f9a3c"), c.colour("8fd060")), horizon)
    c.scatter(FLOWERS, 26, horizon - 0.01, horizon + 0.06, 0.08, 0.13)
    c.scatter(FLOWERS, 8, ground + 0.1, 1.04, 0.12, 0.17)


def rain(c: Canvas, ground: float) -> None:
    """Grey clouds, falling rain, puddles."""
    horizon = ground - c.between(0.1, 0.18)
    c.gradient(c.colour("5c6876"), c.colour("a4b0ba"), horizon)
    c.over(np.clip((c.noise(3, 5, octaves=5) - 0.45) * 4, 0, 1) * np.clip(0.8 - c.y / horizon, 0, 1), rgb("48525e"))
    skyline(c, horizon, ("7a8894", "6c7886"), "5a6672", 0.15, rgb("98a4ae"))
    c.blur(2.5)
    c.plane(surfaces.stone(c, c.colour("4a525a"), c.colour("808a92")), horizon)
    for _ in range(7):
        x, y = c.between(0, 1), c.between(horizon + 0.05, 0.98)
        wide = 0.05 + 0.2 * (y - horizon)
        puddle = np.clip((1 - np.hypot((c.x - x) / wide, (c.y - y) / (wide * 0.22))) * 12, 0, 1)
        c.over(puddle * 0.75, rgb("b4c4d0"))
    for _ in range(240):
        x, y, long = c.between(-0.05, 1.05), c.between(-0.05, 1), c.between(0.03, 0.08)
        start, end = (int(x * WIDTH), int(y * HEIGHT)), (int((x - long * 0.22) * WIDTH), int((y + long) * HEIGHT))
        cv2.line(c.pixels, start, end, (0.84, 0.9, 0.95), 1, cv2.LINE_AA)


def wheat(c: Canvas, ground: float) -> None:
    """A golden field of grain."""
    horizon = ground - c.between(0.14, 0.22)
    sky(c, "4a98e0", "e4f0f4", horizon, c.between(0.3, 0.9))
    c.below(c.ridge(horizon, 0.05, 0), c.colour("8aa868"))
    c.plane(
        surfaces.tinted(surfaces.stretched(c.noise(20, 200, 768, 768, 2), 2), c.colour("b07a24"), c.colour("f4d470")),
        horizon,
    )
    for base in sorted(horizon + (1.1 - horizon) * c.rng.random(420) ** 0.8):
        x, near = c.between(0, 1), (base - horizon) / (1 - horizon)
        high, lean = 0.03 + 0.11 * near, c.between(-0.012, 0.012)
        tone = c.colour("d8a438", "e8c058", "c08a2c")
        c.polygon([(x, base), (x + 0.003, base), (x + lean + 0.002, base - high)], tone * 0.85)
        c.polygon([(x + lean - 0.002 - 0.004 * near, base - high * 0.8), (x + lean + 0.002 + 0.004 * near, base - high * 0.8), (x + lean + 0.001, base - high * 1.2)], tone)  # fmt: skip  # noqa: E501


def cave(c: Canvas, ground: float) -> None:
    """Dark rock around a bright opening."""
    rock = cv2.resize(surfaces.stone(c, c.colour("1c1a20"), c.colour("6a6068")), (WIDTH, HEIGHT))
    c.pixels[:] = rock
    x, y = 0.5 + c.between(-0.12, 0.12), ground - c.between(0.3, 0.36)
    bend = 0.12 * (c.noise(5, 5) - 0.5)
    opening = np.clip((0.24 + bend - np.hypot((c.x - x), (c.y - y) * 0.8)) * 30, 0, 1)
    light = c.colour("bfe4f4", "f4e0b0", "c8f0c8")
    c.over(opening, light)
    c.plane(surfaces.stone(c, c.colour("2a262c"), c.colour("80746c")), ground - 0.1)
    c.over(np.exp(-((np.hypot(c.x - x, c.y - y) / 0.42) ** 2)) * 0.35, light)
    for _ in range(13):
        left, wide, long = c.between(0, 1), c.between(0.02, 0.06), c.between(0.08, 0.3)
        c.polygon(
            [(left - wide, -0.01), (left + wide, -0.01), (left + c.between(-0.01, 0.01), long)],
            c.colour("2a262c", "3a343c"),
        )
