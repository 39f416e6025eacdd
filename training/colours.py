# ruff: noqa: E501 - tables
"""Colour words: what each looks like, as background and as the body of a recoloured thing, and how to see it again."""

import colorsys

import numpy as np

# word: (hue degrees, saturation, value) of a body; backgrounds vary around it
COLOURS = {
    "red": (0, 0.88, 0.85), "orange": (28, 0.92, 0.97), "yellow": (52, 0.85, 0.98), "green": (125, 0.72, 0.68),
    "blue": (218, 0.82, 0.88), "purple": (275, 0.65, 0.75), "pink": (335, 0.48, 0.98), "brown": (24, 0.65, 0.50),
    "black": (0, 0.0, 0.10), "white": (0, 0.0, 0.97), "gray": (0, 0.0, 0.55), "teal": (178, 0.75, 0.62),
    "turquoise": (175, 0.62, 0.88), "gold": (45, 0.75, 0.85), "light blue": (203, 0.38, 0.95), "dark blue": (225, 0.85, 0.42),
    "light green": (110, 0.40, 0.90), "dark green": (140, 0.75, 0.32), "beige": (38, 0.22, 0.93), "lavender": (262, 0.25, 0.95),
    "magenta": (312, 0.75, 0.85), "cyan": (188, 0.70, 0.92), "cream": (48, 0.15, 0.98), "navy": (228, 0.78, 0.32),
    "mint": (155, 0.32, 0.92), "peach": (24, 0.36, 0.98), "silver": (210, 0.04, 0.78), "dark red": (358, 0.85, 0.45),
}  # fmt: skip
BODY = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "teal", "gold"]
MAIN = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white", "gray"]
WORDS = list(COLOURS)


def rgb(word: str) -> np.ndarray:
    """The word's colour, floats in 0..1."""
    hue, saturation, value = COLOURS[word]
    return np.array(colorsys.hsv_to_rgb(hue / 360, saturation, value), dtype=np.float32)


def hsv(pixels: np.ndarray) -> np.ndarray:
    """RGB floats [..., 3] in 0..1 to hue in degrees, saturation, value."""
    top, low = pixels.max(-1), pixels.min(-1)
    spread = np.maximum(top - low, 1e-6)
    r, g, b = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    hue = np.where(top == r, (g - b) / spread % 6, np.where(top == g, (b - r) / spread + 2, (r - g) / spread + 4)) * 60
    return np.stack([hue, (top - low) / np.maximum(top, 1e-6), top], -1)


def plain_word(pixels: np.ndarray) -> np.ndarray:
    """Each pixel's basic colour word (one of MAIN, or brown), as an array of strings."""
    hue, saturation, value = np.moveaxis(hsv(pixels), -1, 0)
    chroma = saturation * value
    words = np.select(
        [
            value < 0.2,
            (chroma < 0.13) & (value > 0.8),
            chroma < 0.11,
            (hue < 14) | (hue >= 342),
            hue < 42,
            hue < 68,
            hue < 168,
        ],
        ["black", "white", "gray", "red", "orange", "yellow", "green"],
        "blue",
    ).astype("<U6")
    words[(words == "blue") & (hue > 250)] = "purple"
    words[(words == "purple") & (hue > 300)] = "pink"
    words[(words == "red") & (saturation < 0.62) & (value > 0.75)] = "pink"
    words[((words == "orange") | (words == "red")) & (value < 0.62) & (hue < 42) & (hue > 8)] = "brown"
    return words
