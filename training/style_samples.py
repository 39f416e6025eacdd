"""The sample pictures of styles that the web page shows: a sprite for each file of styles, by the built-in model."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

import torch
from PIL import Image

from engine.choices import EXPANSION_STYLE, RANDOM_STYLE
from engine.files.builtin_set import CHECKPOINT
from engine.prompt.styles import FAMILIES, SHIPPED, Styles, normalised

FOLDER = Path(__file__).parents[1] / "blueprints" / "webui" / "static" / "styles"
REQUEST = {
    "prompt": "portrait of a woman with red hair",
    "image_seed": 7,
    "overwrite_step": 14,
    "guidance_scale": 7.0,
}
"""More guidance than by default: the small model follows few styles' words, and these from afar."""
DRAWN, SIDE, COLUMNS = 320, 128, 8
"""Pixels of a picture's sides as it is drawn and in a sprite; pictures in a row."""
QUALITY = 72
LARGEST = 1_500_000
"""Bytes of all sprites together."""


def groups() -> dict[str, list[str]]:
    """The shipped styles by the name of their file; the two without a template stand with Fooocus's own."""
    found = {}
    for family in FAMILIES:
        entries = json.loads((SHIPPED / family).read_text("utf-8"))
        name = family.removeprefix("sdxl_styles_").removesuffix(".json")
        found[name] = [normalised(entry["name"]) for entry in entries]
    found["fooocus"] = [EXPANSION_STYLE, RANDOM_STYLE, *found["fooocus"]]
    return found


def samples(names: list[str], folder: Path) -> dict[str, Image.Image]:
    """A picture of each style by its name; one of the same words by the same model in the folder is not drawn again."""
    from engine.pipeline.pipeline import Pipeline
    from training.evaluate import answered

    pipeline, found = Pipeline("cuda" if torch.cuda.is_available() else "cpu"), {}
    model, styles = hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest(), Styles()
    for number, name in enumerate(names):
        made_of = repr([model, REQUEST, DRAWN, name, styles.template(name)])
        path = folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:20]}.png"
        if not path.exists():
            answered(pipeline, folder, path.stem, {**REQUEST, "style_selections": [name]}, (DRAWN, DRAWN))
            print(f"{number + 1} of {len(names)}: {name}", flush=True)
        found[name] = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return found


def mixed(pictures: dict[str, Image.Image]) -> Image.Image:
    """Quarters of four styles' pictures, for the style that is another one each time."""
    made, half = Image.new("RGB", (SIDE, SIDE)), SIDE // 2
    for place, name in enumerate(random.Random(REQUEST["image_seed"]).sample(sorted(pictures), 4)):
        corner = (place % 2 * half, place // 2 * half)
        made.paste(pictures[name].crop((*corner, corner[0] + half, corner[1] + half)), corner)
    return made


def sprite(pictures: list[Image.Image]) -> Image.Image:
    """The pictures in rows."""
    rows = -(-len(pictures) // COLUMNS)
    made = Image.new("RGB", (SIDE * min(COLUMNS, len(pictures)), SIDE * rows), "white")
    for place, picture in enumerate(pictures):
        made.paste(picture, (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return made


def main() -> None:
    """Draw what is missing and write the sprites and `index.json`, which tells the page where each style is.

    Raises:
        SystemExit: the sprites have become too large to be tracked.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("training/made/style_samples"), help="folder of what is drawn"
    )
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    by_group = groups()
    names = [name for group in by_group.values() for name in group if name != RANDOM_STYLE]
    pictures = samples(names, options.work.resolve())
    pictures[RANDOM_STYLE] = mixed(pictures)
    for group, members in by_group.items():
        sprite([pictures[name] for name in members]).save(options.out / f"{group}.webp", quality=QUALITY, method=6)
    index = {"columns": COLUMNS, "groups": by_group}
    (options.out / "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n", "utf-8")
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{len(pictures)} styles in {size:,} bytes")
    if size > LARGEST:
        raise SystemExit(f"the sprites take {size:,} bytes, and should take at most {LARGEST:,}")


if __name__ == "__main__":
    main()
