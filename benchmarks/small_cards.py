"""How fast a full-size SDXL draws on cards of 12 to 4 GiB: a second process fills the rest of this machine's GPU.

    python -m benchmarks.small_cards                       make a random checkpoint of 6.9 GB, draw with 12, 10, 8, 6, 4
    python -m benchmarks.small_cards --gib 8 6 --cases all     more kinds of request at 8 and 6 GiB
    python -m benchmarks.small_cards --tiny                a dry run anywhere, with every plan forced

Each size is a process of its own: the first picture, loading included, then the same request again, then one with
another prompt. Bytes are compared with those of the card without limit. The figures go to a table and one JSON line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import page_in, request, show
from benchmarks.make_checkpoint import SIZES
from benchmarks.parity_models import BASE, LORAS, write_models
from engine.files.catalogue import Folders
from engine.memory_plan import GIB, MODES
from engine.pipeline.pipeline import Pipeline

GIBS = (12.0, 10.0, 8.0, 6.0, 4.0)
PLACES = [f"checkpoints/{BASE}", f"loras/{LORAS[0]}"]
CASES: dict[str, dict[str, Any]] = {
    "cold": {},
    "warm": {},
    "another prompt": {"prompt": "a harbour in the morning fog"},
}
MORE_CASES: dict[str, dict[str, Any]] = CASES | {
    "four pictures, each": {"image_number": 4},
    "a LoRA": {"loras": [{"enabled": True, "model_name": LORAS[0], "weight": 0.5}]},
    "without it again": {},
}


@contextmanager
def ballast(gib: float | None) -> Iterator[None]:
    """A second process holds all of the GPU's memory but so many GiB; None: there is no such process."""
    if gib is None:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.small_cards", "--ballast", str(gib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        print(process.stdout.readline().strip(), flush=True)
        try:
            yield
        finally:
            process.stdin.close()


def hold(gib: float) -> None:
    """Be that second process, until standard input ends."""
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - int(gib * GIB)), dtype=torch.uint8, device="cuda")
    print(f"ballast of {held.nbytes / GIB:.1f} GiB, {torch.cuda.mem_get_info()[0] / GIB:.2f} GiB are free", flush=True)
    sys.stdin.read()


def measure(models: Path, kernels: Path, size: str, steps: int, cases: dict[str, Any], least: str) -> dict[str, Any]:
    """Seconds, plans and hashes of pictures of each case, drawn one after the other by one pipeline."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(device, Folders.below(models), kernels=kernels, least=least)  # type: ignore[arg-type]
        if pipeline.kernels is not None:
            pipeline.kernels.wait()
        for title, changes in cases.items():
            draw = request(Path(folder), models / "checkpoints" / BASE, steps, size, **changes)
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            try:
                ended = pipeline.draw(draw, lambda _message: None)
            except MemoryError as error:
                figures[title] = {"failed": str(error)}
                continue
            seconds = (time.perf_counter() - started) / draw.params["image_number"]
            pictures = b"".join(Path(path).read_bytes() for path in draw.outputs)
            figures[title] = {
                "s": round(seconds, 2),
                "plan": ended.drawn_with["memory"],
                "notes": ended.notes,
                "stages": {name: round(s, 2) for name, s in ended.seconds.items()},
                "peak_gib": round(torch.cuda.max_memory_reserved() / GIB, 2) if device == "cuda" else None,
                "bytes": hashlib.sha256(pictures).hexdigest()[:16],
            }
    return figures


def in_a_process(arguments: argparse.Namespace, models: Path, gib: float | None, least: str) -> dict[str, Any]:
    """The figures of one size of card."""
    command = [sys.executable, "-m", "benchmarks.small_cards", "--draw", str(models), "--least", least]
    command += ["--cases", arguments.cases, "--steps", str(arguments.steps), "--kernels", str(arguments.kernels)]
    command += ["--tiny"] if arguments.tiny else []
    with ballast(gib):
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        return {}
    return json.loads(ended.stdout.splitlines()[-1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw with little GPU memory.")
    parser.add_argument("--gib", type=float, nargs="*", default=list(GIBS), help="sizes of cards")
    parser.add_argument("--models", type=Path, help="a folder made by benchmarks.parity; made otherwise")
    parser.add_argument("--cases", choices=("few", "all"), default="few")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="a tiny checkpoint and picture: a dry run")
    parser.add_argument("--kernels", type=Path, default=Path(tempfile.gettempdir()) / "kernels")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--least", choices=MODES, default="resident", help=argparse.SUPPRESS)
    parser.add_argument("--ballast", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, cases = "128×96" if arguments.tiny else "1152×896", MORE_CASES if arguments.cases == "all" else CASES
    if arguments.ballast is not None:
        hold(arguments.ballast)
        return
    if arguments.draw is not None:
        print(json.dumps(measure(arguments.draw, arguments.kernels, size, arguments.steps, cases, arguments.least)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        models = arguments.models or Path(temporary) / "models"
        if arguments.models is None:
            write_models(models, SIZES["tiny" if arguments.tiny else "sdxl"], places=PLACES)
        page_in(models / "checkpoints" / BASE)
        rows: list[tuple[str, float | None, str]] = [("no limit", None, "resident")]
        rows += [(least, None, least) for least in MODES[1:]] if arguments.tiny else []
        rows += [] if arguments.tiny else [(f"{gib:g} GiB", gib, "resident") for gib in arguments.gib]
        figures: dict[str, Any] = {}
        for title, gib, least in rows:
            figures[title] = in_a_process(arguments, models, gib, least)
            for case, told in figures[title].items():
                same = told.get("bytes") == figures["no limit"].get(case, {}).get("bytes")
                show(f"{title}, {case}", {**told, "same bytes": same})
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
