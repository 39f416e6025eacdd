"""The canvas backdrops are drawn on: colours, noise, ridges, planes in perspective and props. RGB floats in 0..1."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

HEIGHT, WIDTH = 576, 768
Array = np.ndarray
Props = Mapping[str, Array]
"""Sprites by name, RGBA uint8."""
TEXTURE = 768
"""Side of the square textures that are laid out in perspective."""


def rgb(text: str) -> Array:
    """A hex colour as floats."""
    return np.array([int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)], np.float32)


class Canvas:
    """A picture [576,768,3] being drawn, its random numbers and the props there are."""

    def __init__(self, props: Props, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.props = props
        self.pixels = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        self.y = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None]
        self.x = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :]

    def between(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < share)

    def colour(self, *texts: str) -> Array:
        """One of the hex colours, a little off."""
        found = rgb(texts[int(self.rng.integers(len(texts)))])
        return np.clip(found + self.between(-0.04, 0.04) + self.rng.uniform(-0.02, 0.02, 3), 0, 1).astype(np.float32)

    def noise(self, rows: int, columns: int, height: int = HEIGHT, width: int = WIDTH, octaves: int = 4) -> Array:
        """Smooth noise [height,width] around 0.5 that begins with so many cells."""
        total, weight, whole = np.zeros((height, width), np.float32), 1.0, 0.0
        for octave in range(octaves):
            cells = min(height, rows << octave), min(width, columns << octave)
            grain = self.rng.random(cells, np.float32)
            total += weight * cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
            whole, weight = whole + weight, weight * 0.55
        return total / whole

    def gradient(self, top: Array, bottom: Array, until: float = 1.0) -> None:
        """Fill everything from one colour to another at the height `until`."""
        share = np.clip(self.y / until, 0, 1)[..., None]
        self.pixels[:] = top + (bottom - top) * share

    def over(self, mask: Array, colour: Array) -> None:
        """Lay a colour, or a picture, over where the mask [576,768] is."""
        self.pixels += (colour - self.pixels) * np.clip(mask, 0, 1)[..., None]

    def below(self, line: Array | float, colour: Array) -> None:
        """Fill what is below a line [768] of heights."""
        self.over((self.y - line) * HEIGHT + 0.5, colour)

    def ridge(self, height: float, rise: float, rough: float) -> Array:
        """A skyline [768] about `height`, up to `rise` higher; the rougher, the more mountainous."""
        line = self.noise(1, 3, 1, WIDTH, 7 if rough > 0.5 else 2)[0]
        line = (line - line.min()) / max(1e-3, float(np.ptp(line)))
        return height - rise * (line if rough > 0.5 else line * 0.8)

    def polygon(self, points: list[tuple[float, float]], colour: Array) -> None:
        """Fill a polygon of points in 0..1."""
        scaled = np.array([[x * WIDTH * 16, y * HEIGHT * 16] for x, y in points]).round().astype(np.int32)
        cv2.fillPoly(self.pixels, [scaled], tuple(map(float, colour)), cv2.LINE_AA, 4)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Array) -> None:
        """Fill a rectangle with corners in 0..1."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def disc(self, x: float, y: float, radius: float, soft: float = 2 / HEIGHT) -> Array:
        """A mask of a disc; the radius is a share of the height."""
        far = np.hypot((self.x - x) * WIDTH / HEIGHT, self.y - y)
        return np.clip((radius - far) / soft + 0.5, 0, 1)

    def dot(self, x: float, y: float, radius: float, colour: Array, share: float = 1.0) -> None:
        """Fill a small disc: as `disc` and `over`, but only the pixels there are touched."""
        reach = max(2, int(radius * HEIGHT * 1.5) + 2)
        top, left = int(y * HEIGHT) - reach, int(x * WIDTH) - reach
        up, start = max(0, top), max(0, left)
        region = self.pixels[up : max(up, top + 2 * reach), start : max(start, left + 2 * reach)]
        if region.size == 0:
            return
        rows = np.arange(up, up + region.shape[0])[:, None] - y * HEIGHT
        columns = np.arange(start, start + region.shape[1])[None] - x * WIDTH
        mask = np.clip(radius * HEIGHT - np.hypot(rows, columns) + 0.5, 0, 1) * share
        region += (colour - region) * mask[..., None]

    def plane(self, texture: Array, horizon: float, near: float = 1.0, far: float = 0.55, bottom: float = 1.0) -> None:
        """Lay a square texture out as the ground from the horizon down; `far` and 1.6 `near` are its half widths."""
        side, middle, near = texture.shape[0], 0.5 + self.between(-0.08, 0.08), near * 1.6
        source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
        goal = np.array(
            [[middle - far, horizon], [middle + far, horizon], [middle + near, bottom], [middle - near, bottom]],
            np.float32,
        )  # fmt: skip
        matrix = cv2.getPerspectiveTransform(source, goal * np.array([WIDTH, HEIGHT], np.float32))
        laid = cv2.warpPerspective(
            texture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
        )
        self.over(((self.y - horizon) * HEIGHT + 0.5) * ((bottom - self.y) * HEIGHT > 0), laid)

    def prop(
        self,
        name: str,
        x: float,
        base: float,
        size: float,
        haze: Array | None = None,
        share: float = 0.0,
        soft: float = 0.0,
    ) -> None:
        """Stand a sprite on the height `base`, `size` high, with some haze over it; nothing if there is no such."""
        if name not in self.props:
            return
        side = max(4, int(size * HEIGHT))
        picture = cv2.resize(self.props[name], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        if self.chance(0.5):
            picture = picture[:, ::-1]
        if soft:
            picture[..., :3] *= picture[..., 3:]
            picture = cv2.GaussianBlur(np.pad(picture, ((8, 8), (8, 8), (0, 0))), (0, 0), soft)
            picture[..., :3] /= np.maximum(picture[..., 3:], 1e-3)
        high, wide = picture.shape[:2]
        top, left = int(base * HEIGHT) - high, int(x * WIDTH) - wide // 2
        up, down = max(0, -top), min(high, HEIGHT - top)
        start, end = max(0, -left), min(wide, WIDTH - left)
        if up >= down or start >= end:
            return
        part = picture[up:down, start:end]
        colours = part[..., :3] if haze is None else part[..., :3] + (haze - part[..., :3]) * share
        region = self.pixels[top + up : top + down, left + start : left + end]
        region += (colours - region) * part[..., 3:]

    def scatter(self, names: list[str], count: int, low: float, high: float, least: float, most: float, **haze) -> None:
        """Props standing about between two heights, the farther the smaller."""
        for base in sorted(self.rng.uniform(low, high, count)):
            share = (base - low) / max(1e-6, high - low)
            size = (least + (most - least) * share) * self.between(0.8, 1.2)
            self.prop(names[int(self.rng.integers(len(names)))], self.between(-0.02, 1.02), float(base), size, **haze)

    def blur(self, sigma: float) -> None:
        """Put everything so far out of focus."""
        if sigma > 0.2:
            self.pixels = cv2.GaussianBlur(self.pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)

    def light(self, share: float) -> None:
        """Light from somewhere above: brighter around there, darker away from it."""
        far = np.hypot(self.x - self.between(0.2, 0.8), self.y - self.between(0.0, 0.4))
        self.pixels *= (1 + share * (0.45 - far))[..., None]

    def finished(self) -> Array:
        """The picture, uint8."""
        return (np.clip(self.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


Painter = Callable[[Canvas, float], None]
"""Draws a place whose things stand at that height."""
