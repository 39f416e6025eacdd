"""Full-size SDXL on a CUDA machine: load, draw, and how near the arithmetic limit; then the built-in model.

    python -m benchmarks.gpu                    make two random checkpoints of 6.9 GB and two LoRAs, draw 1152×896
    python -m benchmarks.gpu --models FOLDER    the same with what `benchmarks.parity models` made
    python -m benchmarks.gpu --tiny             a dry run anywhere
    python -m benchmarks.gpu --brief            without exchanging LoRAs and checkpoints, and without eager drawing

Prints a table and one JSON line. The limit of a step is 13.29 TFLOP (guidance: a batch of two) at 750 TFLOP/s.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import GPT2Config

from benchmarks.make_checkpoint import SIZES
from benchmarks.parity import psnr
from benchmarks.parity_models import BASE as FIRST
from benchmarks.parity_models import LORAS, SECOND, write_models
from engine.files.builtin_set import CHECKPOINT
from engine.files.catalogue import Folders
from engine.gpu.capabilities import DrawingSettings, Precision
from engine.messages import Draw, Ended, Message, PictureDone, Progressed
from engine.models.expansion import CONFIG, END, MERGES, VOCABULARY, WORDS
from engine.modes import most_pictures
from engine.params import GenerateParams
from engine.pipeline.pipeline import Pipeline
from engine.prompt.tokens import _byte_characters

DEFAULTS = json.loads((Path(__file__).parent / "default_params.json").read_text())
PLACES = [f"checkpoints/{name}" for name in (FIRST, SECOND)] + [f"loras/{name}" for name in LORAS]
EXPANSION = "prompt_expansion/fooocus_expansion/pytorch_model.bin"
PROMPTS = (
    *("a lighthouse on a cliff at sunset", "portrait of an old sailor", "a bowl of oranges", "two foxes in tall grass"),
    *("an empty street after rain", "a paper boat, close-up", "mountains", "a red bicycle against a wall"),
)
"""Of the requests by which 8 bits are compared."""
LISTED = 640
"""Words of the expansion's list, about as many as the real one has."""
STYLES = ["Fooocus Enhance", "Fooocus Sharp"]
STEP_TFLOP, PEAK_TFLOPS = 13.29, 750.0


class Clock:
    """Hears a task's events and when they came."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.pictures: list[str] = []

    @property
    def between(self) -> float:
        """Milliseconds from one step to the next, once they are under way."""
        times = self.steps[2:]
        return 1000 * (times[-1] - times[0]) / max(1, len(times) - 1) if times else 0.0

    def __call__(self, event: Message) -> None:
        if isinstance(event, Progressed) and event.message.startswith("Sampling"):
            self.steps.append(time.perf_counter())
        if isinstance(event, PictureDone):
            self.pictures.append(event.path)


def request(folder: Path, checkpoint: Path | None, steps: int, size: str, **changes: Any) -> Draw:
    """A default request of this size."""
    settled = {
        "prompt": "a lighthouse on a cliff at sunset",
        "style_selections": STYLES,
        "aspect_ratios_selection": size,
        "overwrite_step": steps,
        "image_seed": 12345,
    }
    params = {**DEFAULTS, **settled, **changes}
    outputs = [str(folder / f"{n}.png") for n in range(most_pictures(GenerateParams.from_dict(params)))]
    return Draw("bench", params, outputs, str(checkpoint) if checkpoint else None, log=False)


def timed(pipeline: Pipeline, draw: Draw) -> dict[str, Any]:
    """Seconds of each stage and in all, and the milliseconds between previews in the middle of the run."""
    clock = Clock()
    started = time.perf_counter()
    ended: Ended = pipeline.draw(draw, clock)
    total = (time.perf_counter() - started) / draw.params["image_number"]
    assert ended.outcome == "finished" and clock.pictures, ended
    steps = len(clock.steps)
    return {
        "total_s": round(total, 3),
        **{f"{stage}_s": round(seconds, 3) for stage, seconds in ended.seconds.items()},
        "step_ms": round(1000 * ended.seconds["sampling"] / max(1, steps), 2),
        "between_ms": round(clock.between, 2),
    }


def write_words(model: Path) -> None:
    """What a random expansion model needs beside it: GPT-2's settings, a vocabulary of letters and made-up words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    listed = [first + second for first in letters for second in letters][:LISTED]
    merges = [f"Ġ {letter}" for letter in letters] + [f"Ġ{word[0]} {word[1]}" for word in listed]
    pieces = [*_byte_characters(), *(merge.replace(" ", "") for merge in merges)]
    config = GPT2Config()
    pieces += [f"<{n}>" for n in range(len(pieces), config.vocab_size - 1)] + [END]
    (model.parent / VOCABULARY).write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (model.parent / MERGES).write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (model.parent / WORDS).write_text("\n".join(listed) + "\n")
    (model.parent / CONFIG).write_text(json.dumps(config.to_dict()))


def page_in(path: Path) -> float:
    """Read the file once, so that loading is timed from the page cache; seconds."""
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(64 << 20)
        while file.readinto(buffer):
            pass
    return time.perf_counter() - started


def show(title: str, figures: dict[str, Any]) -> None:
    """One row of the table, at once."""
    print(f"{title:<50}  " + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


CASES: dict[str, dict[str, Any]] = {
    "first": {},
    "again": {},
    "again, no preview": {"disable_preview": True},
    "four pictures, each": {"image_number": 4},
    "dpmpp_2m, no preview": {"disable_preview": True, "sampler_name": "dpmpp_2m"},
    "with prompt expansion": {"style_selections": ["Fooocus V2", *STYLES]},
    "guidance 1, no preview": {"disable_preview": True, "guidance_scale": 1.0},
}
"""Expansion has a row of its own; it is off where a folder has no model for it."""


def measure_checkpoint(
    device: str, models: Path, steps: int, size: str, out: Path, *, brief: bool = False
) -> dict[str, Any]:
    """Load and draw with one checkpoint: the first time, again, in other ways, and without recorded calls."""
    figures: dict[str, Any] = {}
    pipeline = Pipeline(device, Folders.below(models))
    path = models / "checkpoints" / FIRST
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for title, changes in CASES.items():
        rounds = range(1 if title == "first" else 3)
        times = [timed(pipeline, request(out, path, steps, size, **changes, image_seed=12345 + n)) for n in rounds]
        figures[title] = min(times, key=lambda figures: figures["total_s"])
        if pipeline.kernels is not None:
            pipeline.kernels.wait()  # what follows is drawn with them
        show(title, figures[title])
    if brief:
        return figures
    replayed = (out / "0.png").read_bytes()
    pipeline.renderer.graphs = None
    figures["without graphs"] = timed(pipeline, request(out, path, steps, size, **CASES["guidance 1, no preview"]))
    figures["graphs change no byte"] = (out / "0.png").read_bytes() == replayed
    figures["eager, no preview"] = timed(pipeline, request(out, path, steps, size, **CASES["again, no preview"]))
    show("eager, no preview", figures["eager, no preview"])
    show("recorded calls", {"change no byte": figures["graphs change no byte"]})
    figures["precision"] = str(Precision.for_device(torch.device(device)))
    if device == "cuda":
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        step = figures["again, no preview"]["step_ms"]
        figures["share_of_limit"] = round(1000 * STEP_TFLOP / PEAK_TFLOPS / step, 3)
        show("peak memory, share of the limit", {key: figures[key] for key in ("peak_gib", "share_of_limit")})
    return figures


def compare_plans(device: str, models: Path, size: str, out: Path) -> dict[str, Any]:
    """Whether a picture of four steps is the same bytes with the UNet's blocks streamed, in full and in 8 bits."""
    path, figures = models / "checkpoints" / FIRST, {}
    for name, settings in (("fp16", DrawingSettings()), ("8 bits", DrawingSettings(unet_arithmetic="fp8"))):
        drawn = []
        for least in ("resident", "streamed"):
            pipeline = Pipeline(device, Folders.below(models), least=least, settings=settings)
            if pipeline.kernels is not None:
                pipeline.kernels.wait()
            timed(pipeline, request(out, path, 4, size, disable_preview=True, save_metadata_to_images=False))
            drawn.append((out / "0.png").read_bytes())
        figures[name] = drawn[0] == drawn[1]
    show("streamed blocks give the same bytes", figures)
    return figures


def measure_eight_bits(device: str, models: Path, steps: int, size: str, out: Path) -> dict[str, Any]:
    """Drawing with products in 8 bits, and how far its pictures are from those in full, of eight requests."""
    path, distances = models / "checkpoints" / FIRST, []
    plain = Pipeline(device, Folders.below(models))
    eight = Pipeline(device, Folders.below(models), settings=DrawingSettings(unet_arithmetic="fp8"))
    figures: dict[str, Any] = {}
    for pipeline in (plain, eight):
        timed(pipeline, request(out, path, steps, size))
        if pipeline.kernels is not None:
            pipeline.kernels.wait()
    for number, prompt in enumerate(PROMPTS):
        pictures = []
        for pipeline in (plain, eight):
            asked = request(out, path, steps, size, prompt=prompt, image_seed=number, disable_preview=True)
            figures = timed(pipeline, asked)
            pictures.append(np.asarray(Image.open(out / "0.png")))
        distances.append(round(psnr(*pictures), 1))
    told = {key: figures[key] for key in ("total_s", "step_ms", "between_ms")} | {"psnr_db": distances}
    show("products in 8 bits", told)
    return told


def measure_switches(device: str, models: Path, size: str, out: Path, rounds: int = 50) -> dict[str, Any]:
    """Seconds that another LoRA and another checkpoint cost, and the memory after many of both."""
    pipeline = Pipeline(device, Folders.below(models))
    loads: dict[str, list[float]] = {"lora": [], "checkpoint": []}
    held: list[int] = []
    for turn in range(rounds):
        name = SECOND if (turn // 10) % 2 else FIRST
        lora = {"enabled": True, "model_name": LORAS[turn % 2], "weight": 0.5}
        # Without room for two, a checkpoint is read anew each time.
        pipeline.store.cache.budget = 1
        changes = {"base_model_name": name, "loras": [lora], "disable_preview": True}
        figures = timed(pipeline, request(out, models / "checkpoints" / name, 1, size, **changes))
        if turn > 1 and turn % 10 != 0:
            loads["lora"].append(figures["load_s"])
        elif turn > 1:
            loads["checkpoint"].append(figures["load_s"])
        held.append(torch.cuda.memory_allocated() if device == "cuda" else 0)
    told = {f"{kind}_switch_s": sorted(seconds)[len(seconds) // 2] for kind, seconds in loads.items() if seconds}
    told["growth_mb"] = round((held[-1] - held[len(held) // 2 - 1]) / 1e6, 1)
    show(f"{rounds} requests, switching", told)
    return told


def measure_builtin(device: str, folder: Path) -> dict[str, Any]:
    """The built-in model's default picture, the second time."""
    pipeline = Pipeline(device)
    timed(pipeline, request(folder, None, -1, "1152×896"))
    figures = timed(pipeline, request(folder, None, -1, "1152×896"))
    show("built-in model, 1152×896, 30 steps", figures)
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the engine on a CUDA machine.")
    parser.add_argument("--models", type=Path, help="a folder made by benchmarks.parity; made otherwise")
    parser.add_argument("--tiny", action="store_true", help="a tiny checkpoint and picture: a dry run")
    parser.add_argument("--brief", action="store_true", help="only draw, with one checkpoint and recorded calls")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--make", type=Path, help="only make the models, in this folder, for another call's --models")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.tiny:
        parser.error("there is no CUDA device; --tiny runs anywhere")
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__}
    show("device", figures)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = arguments.models or arguments.make or folder / "models"
        if arguments.models is None:
            started = time.perf_counter()
            places = PLACES[:1] if arguments.brief else PLACES
            write_models(models, SIZES["tiny" if arguments.tiny else "sdxl"], places=[*places, EXPANSION])
            write_words(models / EXPANSION)
            show("made", {"s": round(time.perf_counter() - started, 1)})
        if arguments.make:
            return
        figures["page_in_s"] = round(page_in(models / "checkpoints" / FIRST), 2)
        size = "128×96" if arguments.tiny else "1152×896"
        figures["checkpoint"] = measure_checkpoint(device, models, arguments.steps, size, folder, brief=arguments.brief)
        figures["eight_bits"] = measure_eight_bits(device, models, arguments.steps, size, folder)
        figures["plans"] = compare_plans(device, models, size, folder)
        if arguments.brief:
            return
        figures["switches"] = measure_switches(device, models, "128×96" if arguments.tiny else "512×512", folder)
        if CHECKPOINT.is_file():
            figures["builtin"] = measure_builtin(device, folder)
    line = json.dumps(figures)
    print(line)
    if arguments.json:
        arguments.json.write_text(line + "\n")


if __name__ == "__main__":
    main()
