"""Our pictures of a list of cases beside those of the public Fooocus, both drawn with the same random weights.

    python -m benchmarks.parity models FOLDER                      the model files, pictures and requests (20 GB)
    python -m benchmarks.parity draw FOLDER OUT                    draw our half: OUT/<case>.npy, and the times
    python -m benchmarks.parity table OURS THEIRS FLOOR [--md F]   PSNR of ours, and of theirs with another attention
    python -m benchmarks.parity sheet OURS THEIRS OUT.jpg          both halves side by side, to look at

`parity_cases.json` lists the cases in the public program's words, the most wanted first; `models` writes them out as
complete requests for whoever draws the other half. A case passes within 3 dB of its floor: how far the public program
is from itself when only the attention kernel changes. One with several prompts (`each`) counts as so many. Its `beside`
names a case that differs in the one thing it is about; a half that ignored that thing would draw both alike.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.make_checkpoint import SIZES, Size
from benchmarks.parity_models import BASE, write_models
from benchmarks.parity_pictures import write_pictures
from engine.files.catalogue import Folders
from engine.messages import Draw, PictureDone
from engine.pipeline.pipeline import Pipeline

HERE = Path(__file__).parent
EACH = "each"
"""The member of a case that holds several prompts with their seeds, each of which is a case of its own."""


def cases(listed: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The cases of a list, each prompt of one that has several by itself, beside that of the same number."""
    several = {case["name"] for case in listed if EACH in case}
    for case in listed:
        if EACH not in case:
            yield case
            continue
        shared = {name: value for name, value in case.items() if name != EACH}
        for number, (prompt, seed) in enumerate(case[EACH], 1):
            named = {name: f"{case[name]}-{number}" for name in ("name", "beside") if case.get(name) in several}
            yield shared | named | {"prompt": prompt, "seed": seed}


CASES = list(cases(json.loads((HERE / "parity_cases.json").read_text("utf-8"))))
DEFAULTS = json.loads((HERE / "default_params.json").read_text("utf-8"))
MOST_BEHIND = 3.0
THUMBNAIL = 224
NAMES = {
    "styles": "style_selections",
    "performance": "performance_selection",
    "size": "aspect_ratios_selection",
    "seed": "image_seed",
    "cfg": "guidance_scale",
    "refiner": "refiner_model_name",
    "adm_p": "adm_scaler_positive",
    "adm_n": "adm_scaler_negative",
    "adm_end": "adm_scaler_end",
    "adaptive": "adaptive_cfg",
    "sampler": "sampler_name",
    "scheduler": "scheduler_name",
    "steps": "overwrite_step",
    "swap": "refiner_swap_method",
}
"""What the cases call a member by another name."""
OWN = {"name", "beside", "loras", "freeu", "controlnet"}
"""The members of a case that are not a request's."""


def request(case: dict[str, Any]) -> dict[str, Any]:
    """A case as our request.

    Raises:
        KeyError: it has a member that no request has.
    """
    given = {NAMES.get(name, name): value for name, value in case.items() if name not in OWN}
    if unknown := given.keys() - DEFAULTS.keys():
        raise KeyError(f"{case['name']}: {', '.join(sorted(unknown))}")
    settled = {"style_selections": [], "image_seed": 42, "prompt": "a cat", "disable_preview": True}
    params = {**DEFAULTS, **settled, **given, "save_metadata_to_images": False, "base_model_name": BASE}
    params["loras"] = [
        {"enabled": True, "model_name": name, "weight": weight} for name, weight in case.get("loras", [])
    ]
    params["controlnet_image"] = [
        {"cn_img": picture, "cn_stop": stop, "cn_weight": weight, "cn_type": kind}
        for picture, stop, weight, kind in case.get("controlnet", [])
    ]
    if "freeu" in case:
        params |= dict(zip(("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), case["freeu"], strict=True))
        params["freeu_enabled"] = True
    return params


def prepare(folder: Path, size: Size) -> None:
    """Write what both halves read: `pictures/`, `requests.json` (in the order of the cases) and the model files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pictures(folder / "pictures")
    requests = {case["name"]: request(case) for case in CASES}
    (folder / "requests.json").write_text(json.dumps(requests, ensure_ascii=False), "utf-8")
    write_models(folder, size)


def draw_all(folder: Path, out: Path, changes: dict[str, Any], only: str, seconds: float) -> None:
    """Draw the cases whose name `only` matches, with our engine, until `seconds` are over."""
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    pipeline = Pipeline("cuda" if torch.cuda.is_available() else "cpu", Folders.below(folder))
    times: dict[str, float] = {}
    for case in CASES:
        if not re.search(only, case["name"]) or time.perf_counter() - began > seconds:
            continue
        started = time.perf_counter()
        try:
            draw_one(pipeline, case["name"], {**request(case), **changes}, folder, out)
        except Exception as error:  # the other cases tell something too
            print(case["name"], "failed:", repr(error), flush=True)
            continue
        times[case["name"]] = round(time.perf_counter() - started, 3)
        (out / "times.json").write_text(json.dumps(times))


def draw_one(pipeline: Pipeline, name: str, params: dict[str, Any], folder: Path, out: Path) -> None:
    """Draw one request, and keep its picture as `<name>.npy`."""
    path, done = out / f"{name}.png", []
    checkpoint, pictures = str(folder / "checkpoints" / BASE), str(folder / "pictures")
    draw = Draw(name, params, [str(path)], checkpoint, log=False, inputs=pictures)
    ended = pipeline.draw(draw, lambda event: done.append(event) if isinstance(event, PictureDone) else None)
    seconds = {part: round(took, 2) for part, took in ended.seconds.items()}
    print(name, ended.outcome, seconds, *ended.notes, flush=True)
    with Image.open(done[0].path) as image:
        np.save(out / f"{name}.npy", np.asarray(image))
    path.unlink()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures, in dB."""
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def table(ours: Path, theirs: Path, floor: Path) -> str:
    """A Markdown table of the cases that were drawn, and of those that were not."""
    lines = ["| case | ours against theirs, dB | floor, dB | within 3 dB | without what it is about, dB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for case in CASES:
        own, other, third = (_drawn(folder, case["name"]) for folder in (ours, theirs, floor))
        beside = _apart(own, _drawn(ours, case.get("beside", "")))
        distance, least = _apart(own, other), _apart(other, third)
        verdict = _verdict(own, other, least)
        numbers = ("" if number is None else f"{number:.1f}" for number in (distance, least))
        lines.append(
            f"| {case['name']} | {' | '.join(numbers)} | {verdict} | {'' if beside is None else f'{beside:.1f}'} |"
        )
    return "\n".join(lines) + "\n"


def _verdict(own: np.ndarray | None, other: np.ndarray | None, least: float | None) -> str:
    """Whether ours is near enough; a picture without attention in it has no floor, but a last bit."""
    distance = _apart(own, other)
    if distance is None:
        return "not drawn" if own is None or other is None else "**another size**"
    if least is None:
        return "floor not drawn"
    if distance >= least - MOST_BEHIND:
        return "yes"
    return "yes: by one level at most" if np.abs(own.astype(int) - other).max() <= 1 else "**no**"


def _drawn(folder: Path, name: str) -> np.ndarray | None:
    path = folder / f"{name}.npy"
    return np.load(path) if path.is_file() else None


def _apart(one: np.ndarray | None, other: np.ndarray | None) -> float | None:
    """The two pictures' PSNR; nothing where one is missing, or they differ in size."""
    if one is None or other is None or one.shape != other.shape:
        return None
    return psnr(one, other)


def sheet(ours: Path, theirs: Path, path: Path) -> None:
    """Every case that both halves have, small: ours, theirs, and ten times what lies between them."""
    rows = []
    for case in CASES:
        own, other = _drawn(ours, case["name"]), _drawn(theirs, case["name"])
        if own is not None and other is not None:
            between = np.abs(own.astype(int) - other) if own.shape == other.shape else np.full((8, 8, 3), 255)
            rows.append((case["name"], own, other, np.clip(between * 10, 0, 255).astype(np.uint8)))
    _montage(rows).save(path, quality=80)


def _montage(rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], across: int = 3) -> Image.Image:
    cell, line = 3 * THUMBNAIL, THUMBNAIL + 14
    page = Image.new("RGB", (across * cell, line * max(1, math.ceil(len(rows) / across))), "white")
    pen = ImageDraw.Draw(page)
    for number, (name, *pictures) in enumerate(rows):
        left, top = cell * (number % across), line * (number // across)
        pen.text((left + 2, top), name, fill="black")
        for place, picture in enumerate(pictures):
            image = Image.fromarray(picture)
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            page.paste(image, (left + place * THUMBNAIL, top + 14))
    return page


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare with the public Fooocus.")
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models")
    models.add_argument("folder", type=Path)
    models.add_argument("--size", choices=SIZES, default="sdxl")
    draw = commands.add_parser("draw")
    draw.add_argument("folder", type=Path)
    draw.add_argument("out", type=Path)
    draw.add_argument("--only", default="", help="a regular expression that the cases' names match")
    draw.add_argument("--seconds", type=float, default=math.inf, help="begin no case after this long")
    draw.add_argument("--change", type=json.loads, default={}, help="JSON of request members to set in every case")
    compare, look = commands.add_parser("table"), commands.add_parser("sheet")
    for name in ("ours", "theirs", "floor"):
        compare.add_argument(name, type=Path)
    compare.add_argument("--md", type=Path)
    for name in ("ours", "theirs", "path"):
        look.add_argument(name, type=Path)
    arguments = parser.parse_args()
    if arguments.command == "models":
        prepare(arguments.folder, SIZES[arguments.size])
    elif arguments.command == "draw":
        draw_all(arguments.folder, arguments.out, arguments.change, arguments.only, arguments.seconds)
    elif arguments.command == "sheet":
        sheet(arguments.ours, arguments.theirs, arguments.path)
    else:
        text = table(arguments.ours, arguments.theirs, arguments.floor)
        print(text)
        if arguments.md:
            arguments.md.write_text(text)


if __name__ == "__main__":
    main()
