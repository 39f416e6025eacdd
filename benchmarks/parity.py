"""Our pictures of a list of cases beside those of the public Fooocus, both drawn with the same random weights.

    python -m benchmarks.parity models FOLDER                      write the random model files the cases need (22 GB)
    python -m benchmarks.parity draw FOLDER OUT                    draw our half: OUT/<case>.npy, and the times
    python -m benchmarks.parity table OURS THEIRS FLOOR [--md F]   PSNR of ours, and of theirs with another attention

`parity_cases.json` lists the cases in the public program's words; whoever draws the other half reads it too. A case
passes within 3 dB of its floor: how far the public program is from itself when only the attention kernel changes.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.make_checkpoint import SIZES, Size, layout, write
from engine.events import Draw, PictureDone
from engine.models.catalogue import Folders
from engine.pipeline import Pipeline

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "parity_cases.json").read_text())
DEFAULTS = json.loads((HERE / "default_params.json").read_text())
BASE, SECOND = "base.safetensors", "second.safetensors"
LORAS = ("style.safetensors", "sdxl_lcm_lora.safetensors")
MOST_BEHIND = 3.0
NAMES = {
    "styles": "style_selections",
    "performance": "performance_selection",
    "size": "aspect_ratios_selection",
    "seed": "image_seed",
    "cfg": "guidance_scale",
    "base": "base_model_name",
    "refiner": "refiner_model_name",
    "adm_p": "adm_scaler_positive",
    "adm_n": "adm_scaler_negative",
    "adm_end": "adm_scaler_end",
    "adaptive": "adaptive_cfg",
    "sampler": "sampler_name",
    "scheduler": "scheduler_name",
    "vae": "vae_name",
    "steps": "overwrite_step",
    "swap": "refiner_swap_method",
}
"""What the cases call a member by another name."""


def request(case: dict[str, Any]) -> dict[str, Any]:
    """A case as our request."""
    known = {NAMES.get(name, name): value for name, value in case.items() if NAMES.get(name, name) in DEFAULTS}
    settled = {"style_selections": [], "image_seed": 42, "prompt": "a cat", "disable_preview": True}
    params = {**DEFAULTS, **settled, **known, "save_metadata_to_images": False, "base_model_name": BASE}
    params["loras"] = [
        {"enabled": True, "model_name": name, "weight": weight} for name, weight in case.get("loras", [])
    ]
    if "freeu" in case:
        params |= dict(zip(("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), case["freeu"], strict=True))
        params["freeu_enabled"] = True
    return params


def make_models(folder: Path, size: Size = SIZES["sdxl"]) -> None:
    """Random files: two checkpoints of this size, and two LoRAs, one under a fast mode's name."""
    for kind in ("checkpoints", "loras"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate((BASE, SECOND)):
        write(folder / "checkpoints" / name, size, seed=number)
    for number, name in enumerate(LORAS):
        save_file(random_lora(size, number), folder / "loras" / name)


def random_lora(size: Size, seed: int, rank: int = 16, strength: float = 0.15) -> dict[str, torch.Tensor]:
    """A kohya-style LoRA of every attention projection, as strong as a trained one."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    for name, like in layout(size).items():
        if not re.fullmatch(r"model\.diffusion_model\..*\.attn\d\.\S+\.weight", name):
            continue
        key = "lora_unet_" + name.removeprefix("model.diffusion_model.").removesuffix(".weight").replace(".", "_")
        up = torch.randn(like.shape[0], rank, generator=generator)
        down = torch.randn(rank, like.shape[1], generator=generator)
        found[f"{key}.lora_up.weight"] = (up * strength / math.sqrt(rank)).half()
        found[f"{key}.lora_down.weight"] = (down / math.sqrt(like.shape[1])).half()
        found[f"{key}.alpha"] = torch.tensor(float(rank))
    return found


def draw_all(folder: Path, out: Path) -> None:
    """Draw every case with our engine."""
    out.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline("cuda" if torch.cuda.is_available() else "cpu", Folders.below(folder))
    times: dict[str, list[float]] = {}
    for case in CASES:
        for _ in range(case.get("repeat", 1)):
            params = request(case)
            files = [str(out / f"{case['name']}-{n}.png") for n in range(params["image_number"])]
            done: list[str] = []
            started = time.perf_counter()
            draw = Draw(case["name"], params, files, str(folder / "checkpoints" / BASE), log=False)
            try:
                ended = pipeline.draw(
                    draw, lambda event, done=done: isinstance(event, PictureDone) and done.append(event.path)
                )
            except Exception as error:  # the other cases tell something too
                print(case["name"], "failed:", error, flush=True)
                break
            times.setdefault(case["name"], []).append(round(time.perf_counter() - started, 3))
        if not done:
            continue
        print(case["name"], ended.outcome, times[case["name"]], *ended.notes, flush=True)
        with Image.open(done[0]) as image:
            np.save(out / f"{case['name']}.npy", np.asarray(image))
    (out / "times.json").write_text(json.dumps(times))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures, in dB."""
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def table(ours: Path, theirs: Path, floor: Path) -> str:
    """A Markdown table of all cases that both halves have."""
    lines = ["| case | ours against theirs, dB | floor, dB | within 3 dB |", "| --- | --- | --- | --- |"]
    for case in CASES:
        name = f"{case['name']}.npy"
        if not all((folder / name).is_file() for folder in (ours, theirs, floor)):
            lines.append(f"| {case['name']} | not drawn | | |")
            continue
        own, other, third = (np.load(folder / name) for folder in (ours, theirs, floor))
        distance, least = psnr(own, other), psnr(other, third)
        verdict = "yes" if distance >= least - MOST_BEHIND else "**no**"
        lines.append(f"| {case['name']} | {distance:.1f} | {least:.1f} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare with the public Fooocus.")
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models")
    models.add_argument("folder", type=Path)
    draw = commands.add_parser("draw")
    draw.add_argument("folder", type=Path)
    draw.add_argument("out", type=Path)
    compare = commands.add_parser("table")
    for name in ("ours", "theirs", "floor"):
        compare.add_argument(name, type=Path)
    compare.add_argument("--md", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "models":
        make_models(arguments.folder)
    elif arguments.command == "draw":
        draw_all(arguments.folder, arguments.out)
    else:
        text = table(arguments.ours, arguments.theirs, arguments.floor)
        print(text)
        if arguments.md:
            arguments.md.write_text(text)


if __name__ == "__main__":
    main()
