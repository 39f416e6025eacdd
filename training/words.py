# ruff: noqa: E501 - tables and word lists
"""The words captions are dressed with: looks per sprite source, quality words, style files, negative word bags."""

import json
import re
from pathlib import Path
from random import Random

STYLE_FILES = Path(__file__).parent.parent / "engine/prompt/data/sdxl_styles"

PREFIXES = {
    "3d": "3d render of {}|a 3d render of {}|photo of {}|a photo of {}|a picture of {}|an image of {}|cinematic photo of {}|realistic {}|"
    "3d model of {}|a close up of {}|digital art of {}|a beautiful picture of {}|glossy 3d {}|octane render of {}|cute 3d {}|{}, 3d render|"
    "{}, 3d|{}, photo|{}, digital art|studio photo of {}|product photo of {}|draw {}|a cute {0}".replace("{0}", "{}"),
    "noto": "cartoon of {}|a cartoon {}|cute cartoon {}|{}, cartoon|drawing of {}|a drawing of {}|{}, drawing|cartoon drawing of {}|comic {}|anime {}|"
    "a painting of {}|{}, painting|{}, cartoon style",
    "flat": "flat vector illustration of {}|flat illustration of {}|vector art of {}|{}, flat vector|flat icon of {}|icon of {}|{}, flat design|"
    "minimal {}|minimalist illustration of {}|{}, vector|logo of {}|sticker of {}",
    "portrait": "illustration of {}|cartoon {}|avatar of {}|{}, illustration|character drawing of {}|comic {}|{}, avatar|line art of {}",
}
PREFIXES = {source: text.split("|") for source, text in PREFIXES.items()}

QUALITY = [
    "highly detailed",
    "sharp focus",
    "beautiful",
    "masterpiece",
    "best quality",
    "high quality",
    "4k",
    "8k",
    "hd",
    "professional",
    "elegant",
    "intricate",
    "vivid colors",
    "soft lighting",
    "cinematic lighting",
    "studio lighting",
    "dramatic light",
    "natural light",
    "depth of field",
    "bokeh",
    "clean",
    "crisp",
    "smooth",
    "vibrant",
    "award winning",
    "trending",
    "stunning",
    "gorgeous",
    "colorful",
    "fine details",
    "epic",
    "perfect composition",
    "centered",
    "simple background",
    "ultra detailed",
    "photorealistic",
    "realistic",
    "warm light",
    "bright",
    "detailed",
    "aesthetic",
    "glossy",
    "polished",
    "rich colors",
    "harmonious",
    "artistic",
    "creative",
    "sharp",
]

BAD = [
    "blurry",
    "low quality",
    "worst quality",
    "bad anatomy",
    "ugly",
    "deformed",
    "watermark",
    "text",
    "signature",
    "noise",
    "grainy",
    "jpeg artifacts",
    "cropped",
    "out of frame",
    "duplicate",
    "extra limbs",
    "bad hands",
    "disfigured",
    "lowres",
    "unrealistic",
    "saturated",
    "high contrast",
    "painting",
    "drawing",
    "sketch",
    "cartoon",
    "anime",
    "3d",
    "render",
    "cg",
    "photo",
    "photograph",
    "monochrome",
    "grayscale",
    "dark",
    "overexposed",
    "underexposed",
    "messy",
    "distorted",
    "mutated",
    "poorly drawn",
    "boring",
    "plain",
    "logo",
    "frame",
    "border",
    "people",
    "person",
    "face",
    "hands",
    "nsfw",
    "nude",
    "glitch",
    "pixelated",
    "oversaturated",
    "dull",
    "flat",
    "amateur",
    "error",
    "missing limbs",
    "clutter",
    "washed out",
]

GROUPS = {
    "flat": r"flat|vector|minimal|logo|icon|paper|kirigami|sticker|infographic|bauhaus|stijl|op art|suprem|stencil|poster|travel|airline|quilling|silhouette",
    "noto": r"cartoon|anime|manga|comic|kawaii|doodle|drawing|sketch|ink|illustrat|caricature|colou?ring|painting|paint|watercolor|pop art|cel shaded|"
    r"mario|pokemon|zelda|bubble|whimsical|pencil|folk|art deco|nouveau|graffiti|chicano|embroider|stitch|fairy|playful|character|fauv|expression|cubis|gogh",
}


def group_of(name: str) -> str:
    """Which sprite source a style's name suits."""
    return next((group for group, pattern in GROUPS.items() if re.search(pattern, name.lower())), "3d")


def styles() -> tuple[dict[str, list[tuple[str, str]]], list[str], tuple[str, str]]:
    """Per sprite source the (name, template) of fitting styles; all negatives; the default style's template and negative pair."""
    fitting: dict[str, list[tuple[str, str]]] = {"3d": [], "noto": [], "flat": []}
    negatives, by_name = [], {}
    for path in sorted(STYLE_FILES.glob("*.json")):
        for style in json.loads(path.read_text()):
            by_name[style["name"]] = style
            if "{prompt}" in style.get("prompt", ""):
                fitting[group_of(style["name"])].append((style["name"], style["prompt"]))
            if style.get("negative_prompt"):
                negatives.append(style["negative_prompt"])
    return fitting, negatives, (by_name["Fooocus Sharp"]["prompt"], by_name["Fooocus Enhance"]["negative_prompt"])


def bag(rng: Random, words: list[str], least: int, most: int) -> str:
    """Some of the words, joined with commas."""
    return ", ".join(rng.sample(words, rng.randint(least, most)))
