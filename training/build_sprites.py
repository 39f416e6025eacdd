"""Render the sprites from the unpacked npm packages: WebP files and one list of what is on them, in a single archive.

Needs resvg-py. `--packages DIR` holds the unpacked tarballs, see README.md for the names.
"""

import argparse
import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from training.colours import hsv
from training.concepts import names_and_weight

SIZE_3D, SIZE_VECTOR, SIZE_PORTRAIT = 256, 320, 320
UNWANTED_TAGS = {"face", "animal", "nature", "emoji", "object", "unknown"}


def emoji_facts(packages: Path) -> dict[str, dict]:
    """Code points (without FE0F, lower case) -> names, tags, weight, group, for the emoji that are kept."""
    folder = packages / "emojibase-data-17.0.0/package/en"
    subgroups = {s["order"]: s["key"] for s in json.loads((folder / "messages.json").read_text())["subgroups"]}
    facts = {}
    for emoji in json.loads((folder / "data.json").read_text()):
        subgroup = subgroups.get(emoji.get("subgroup"), "")
        if (kept := names_and_weight(emoji, subgroup)) is None:
            continue
        tags = [
            t for t in emoji.get("tags", []) if t.isascii() and t.replace(" ", "").isalpha() and t not in UNWANTED_TAGS
        ]
        code = emoji["hexcode"].lower().replace("-fe0f", "")
        facts[code] = {
            "names": kept[0],
            "tags": tags[:6],
            "weight": kept[1],
            "group": subgroup,
            "label": emoji["label"],
        }
    return facts


def squared(picture: Image.Image, size: int) -> Image.Image:
    """The picture cut to its alpha box, padded to a square and scaled to `size`."""
    box = picture.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox()
    picture = picture.crop(box)
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas if side == size else canvas.resize((size, size), Image.Resampling.LANCZOS)


def body_colour(picture: Image.Image, group: str) -> dict:
    """The main hue of a sprite (degrees), its saturation and value, and the share of pixels near it.

    Blue panes of vehicles and houses do not count where another hue is there too.
    """
    pixels = np.asarray(picture.resize((64, 64)).convert("RGBA"), dtype=np.float32) / 255
    solid = pixels[pixels[..., 3] > 0.7][:, :3]
    if len(solid) < 40:
        return {"hue": 0.0, "sat": 0.0, "val": 0.5, "share": 0.0}
    hue, saturation, value = hsv(solid).T
    vivid = (saturation > 0.3) & (value > 0.2)
    if vivid.mean() < 0.3:
        rest = ~vivid
        return {
            "hue": -1.0,
            "sat": float(saturation[rest].mean()),
            "val": float(np.median(value[rest])),
            "share": float(rest.mean()),
        }
    counts, _ = np.histogram(hue[vivid], bins=36, range=(0, 360))
    panes = np.zeros(36, bool)
    panes[18:22] = group.startswith(("transport-ground", "place-building"))
    if counts[~panes].sum() > 0.25 * counts.sum():
        counts = np.where(panes, 0, counts)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    centre = float(smooth.argmax() * 10 + 5)
    near = vivid & (np.abs((hue - centre + 180) % 360 - 180) < 35)
    return {
        "hue": round(centre, 1),
        "sat": round(float(saturation[near].mean()), 3),
        "val": round(float(np.median(value[near])), 3),
        "share": round(float(near.mean()), 3),
    }


def rendered(svg: str, size: int) -> Image.Image:
    """An SVG text as RGBA."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size)))).convert("RGBA")


def renders_3d(packages: Path, facts: dict) -> list[tuple[dict, Image.Image]]:
    """Microsoft's glossy 3D emoji."""
    folder, found = packages / "lobehub-fluent-emoji-3d-1.1.0/package/assets", []
    for path in sorted(folder.glob("*.webp")):
        fact = facts.get(path.stem.lower().replace("-fe0f", ""))
        if fact:
            found.append((fact | {"source": "3d"}, squared(Image.open(path).convert("RGBA"), SIZE_3D)))
    return found


def vectors(packages: Path, package: str, source: str, facts: dict, lightest: float) -> list[tuple[dict, Image.Image]]:
    """One iconify collection's emoji as seen on the common facts, weights of at least `lightest`."""
    folder = packages / package / "package"
    icons = json.loads((folder / "icons.json").read_text())
    chars = {
        code.lower().replace("-fe0f", ""): name
        for code, name in json.loads((folder / "chars.json").read_text()).items()
    }
    found = []
    for code, fact in facts.items():
        name = chars.get(code)
        icon = icons["icons"].get(name) or icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent"))
        if icon is None or fact["weight"] < lightest:
            continue
        side = icon.get("width", icons.get("width", 16))
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {side} {side}">{icon["body"]}</svg>'  # noqa: E501
        found.append((fact | {"source": source}, squared(rendered(svg, SIZE_VECTOR), SIZE_VECTOR)))
    return found


def portraits(packages: Path) -> list[tuple[dict, Image.Image]]:
    """DiceBear avatars written by dicebear.mjs: portraits.json (facts and SVG)."""
    path = packages / "portraits.json"
    found = []
    for item in json.loads(path.read_text()) if path.exists() else []:
        fact = {k: item[k] for k in ("names", "tags")} | {
            "weight": item["weight"],
            "group": "portrait",
            "source": item["source"],
            "label": item["names"][0],
        }
        found.append((fact, squared(rendered(item["svg"], SIZE_PORTRAIT), SIZE_PORTRAIT)))
    return found


def write(sprites: list[tuple[dict, Image.Image]], out: Path) -> None:
    """sprites.zip: NNNN.webp files and sprites.json, in a fixed order."""
    facts = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number, (fact, picture) in enumerate(sprites):
            file = io.BytesIO()
            quality = 82 if fact["source"] == "3d" else 72
            picture.save(file, "WEBP", quality=quality, alpha_quality=80, method=6)
            archive.writestr(f"{number:04}.webp", file.getvalue())
            facts.append(fact | body_colour(picture, fact["group"]))
        archive.writestr("sprites.json", json.dumps(facts))


def main() -> None:
    """Build sprites.zip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("training/made/bundle/sprites.zip"))
    options = parser.parse_args()
    random.seed(0)
    facts = emoji_facts(options.packages)
    sprites = renders_3d(options.packages, facts)
    sprites += vectors(options.packages, "iconify-json-noto-1.2.9", "noto", facts, 1.5)
    sprites += vectors(options.packages, "iconify-json-fluent-emoji-flat-1.2.6", "flat", facts, 1.5)
    sprites += portraits(options.packages)
    write(sprites, options.out)
    count = {s: sum(f["source"] == s for f, _ in sprites) for s in {f["source"] for f, _ in sprites}}
    print(f"{len(sprites)} sprites {count}, {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
