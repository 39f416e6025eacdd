"""How fast a full-size SDXL draws on cards of 12 to 4 GiB: a second process fills the rest of this machine's GPU.

    python -m benchmarks.small_cards                       make a random checkpoint of 6.9 GB, draw with 4, 8, 6, 10, 12
    python -m benchmarks.small_cards --cases all           every kind of request without limit and at 8 GiB (19 GB)
    python -m benchmarks.small_cards --gib 6 --mixed 50    so many requests of all kinds, one after the other
    python -m benchmarks.small_cards --tiny --cases all    a dry run anywhere, with every plan forced

Each size is a process of its own: the first picture, loading included, then the same request again, then one with
another prompt. Files are compared with those of the card without limit, and where they differ (a note about a step down
is in the file) their pixels. Every figure is printed as it comes, and all of them are written to `--out`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import card_cases
from benchmarks.gpu import Clock, page_in, request, show
from benchmarks.make_checkpoint import SIZES
from benchmarks.parity_models import BASE
from engine.files.catalogue import Folders
from engine.gpu.device_memory import give_back
from engine.memory_plan import GIB, MODES
from engine.models.model_cache import card_budget
from engine.pipeline.pipeline import Pipeline

GIBS = (4.0, 8.0, 6.0, 10.0, 12.0)
"""The sizes of cards, those that tell most first."""
ALL_KINDS_AT = 8.0
NO_LIMIT = "no limit"
GRACE = 60.0
"""Seconds that a process has to end by itself after its time is over."""


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


class Drawer:
    """Draws requests one after the other with one pipeline, as a card of `gib` would; None: as this one does."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.models, self.steps, self.folder = arguments.draw, arguments.steps, folder
        self.size = "128×96" if arguments.tiny else "1152×896"
        self.cuda = torch.cuda.is_available()
        folders = Folders.below(self.models)
        self.pipeline = Pipeline(
            "cuda" if self.cuda else "cpu", folders, kernels=arguments.kernels, least=arguments.least
        )
        if arguments.of is not None:
            self.pipeline.store.cache.budget = card_budget(int(arguments.of * GIB))
        if self.pipeline.kernels is not None:
            self.pipeline.kernels.wait()

    def figures(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Seconds, plan, memory and hashes of one request's pictures, or how it failed."""
        try:
            return self._figures(changes)
        except Exception as error:  # the other requests tell something too
            return {"failed": f"{type(error).__name__}: {error}"[:500]}

    def _figures(self, changes: dict[str, Any]) -> dict[str, Any]:
        draw = request(self.folder, self.models / "checkpoints" / BASE, self.steps, self.size, **changes)
        draw = replace(draw, inputs=str(self.models / "pictures"))
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        clock, started = Clock(), time.perf_counter()
        ended = self.pipeline.draw(draw, clock)
        seconds = (time.perf_counter() - started) / draw.params["image_number"]
        paths = [Path(path) for path in clock.pictures]
        return {
            "s": round(seconds, 2),
            "plan": ended.drawn_with["memory"],
            "notes": ended.notes,
            "stages": {name: round(s, 2) for name, s in ended.seconds.items()},
            **self._memory(),
            "pictures": len(paths),
            "bytes": _hash(path.read_bytes() for path in paths),
            "pixels": _hash(np.asarray(Image.open(path)).tobytes() for path in paths),
        }

    def _memory(self) -> dict[str, float]:
        """GiB of the GPU at most and afterwards, and of the host: what the process holds, mapped files not counted."""
        lines = Path("/proc/self/status").read_text().splitlines()
        anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
        host = {
            "host_gib": round(anonymous * 1024 / GIB, 2),
            "host_peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        }
        if not self.cuda:
            return host
        peak = round(torch.cuda.max_memory_reserved() / GIB, 2)
        give_back(self.pipeline.device)
        return {"peak_gib": peak, "gpu_gib": round(torch.cuda.memory_allocated() / GIB, 3), **host}


def _hash(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def draw_row(arguments: argparse.Namespace) -> None:
    """Be the process of one row: a line of JSON for each request."""
    ends = time.monotonic() + arguments.seconds
    sizes = ("128×96", "96×128") if arguments.tiny else card_cases.SIZES
    kinds = card_cases.ALL if arguments.cases == "all" else card_cases.FEW
    chosen = ((title, changes) for title, changes in kinds.items() if re.search(arguments.only, title))
    cases = card_cases.mixture(arguments.mixed, sizes) if arguments.mixed else chosen
    with tempfile.TemporaryDirectory() as folder:
        drawer = Drawer(arguments, Path(folder))
        for title, changes in cases:
            if time.monotonic() > ends:
                print(json.dumps({"case": title, "failed": "not begun: the time is over"}), flush=True)
                break
            print(json.dumps({"case": title, **drawer.figures(changes)}), flush=True)


def row(arguments: argparse.Namespace, title: str, gib: float | None, least: str, seconds: float) -> Iterator[Any]:
    """The figures of each request of one row, as they come, from a process of its own."""
    every = arguments.cases == "all" and (arguments.tiny or gib in (None, ALL_KINDS_AT))
    command = [sys.executable, "-m", "benchmarks.small_cards", "--draw", str(arguments.models), "--least", least]
    command += ["--cases", "all" if every else "few", "--steps", str(arguments.steps), "--mixed", str(arguments.mixed)]
    command += ["--kernels", str(arguments.kernels), "--seconds", str(seconds), "--only", arguments.only]
    command += ["--tiny"] if arguments.tiny else []
    command += [] if gib is None else ["--of", str(gib)]
    with ballast(gib), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        late = threading.Timer(seconds + GRACE, process.kill) if math.isfinite(seconds) else None
        if late:
            late.start()
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        if late:
            late.cancel()
        if process.wait():
            yield {"case": "the process", "failed": f"it ended with {process.returncode}"}


def draw_rows(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All rows, each request printed and written to `--out` as it is done."""
    ends = time.monotonic() + arguments.seconds
    rows: list[tuple[str, float | None, str]] = [] if arguments.mixed else [(NO_LIMIT, None, "resident")]
    if arguments.tiny:
        rows += [(least, None, least) for least in MODES[1:]]
    else:
        rows += [(f"{gib:g} GiB", gib, "resident") for gib in arguments.gib]
    figures: dict[str, dict[str, Any]] = {}
    for title, gib, least in rows:
        left = ends - time.monotonic()
        if left <= 0:
            show(title, {"not begun": "the time is over"})
            continue
        figures[title] = {}
        for told in row(arguments, title, gib, least, left):
            case = told.pop("case")
            told["same"] = same_as(told, figures.get(NO_LIMIT, {}).get(case, {}))
            figures[title][case] = told
            show(f"{title}, {case}", told)
            if arguments.out:
                arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def same_as(told: dict[str, Any], other: dict[str, Any]) -> str:
    """What pictures have in common with others: their bytes, else their pixels, else nothing."""
    if not told.get("pictures") or not other.get("pictures"):
        return "not compared"
    return next((what for what in ("bytes", "pixels") if told[what] == other[what]), "**nothing**")


def growth(figures: dict[str, Any]) -> dict[str, Any]:
    """How many of a mixture's requests failed or had to go on with less, and memory after half of them and the last."""
    done = [told for told in figures.values() if "failed" not in told]
    middle, last = (done[len(done) // 2], done[-1]) if done else ({}, {})
    held = {name: (middle[name], last[name]) for name in ("gpu_gib", "host_gib") if name in last}
    stepped = sum(any("ran out of memory" in note for note in told["notes"]) for told in done)
    return {"drawn": len(done), "failed": len(figures) - len(done), "stepped down": stepped, **held}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw with little GPU memory.")
    parser.add_argument("--gib", type=float, nargs="*", default=list(GIBS), help="sizes of cards")
    parser.add_argument("--models", type=Path, help="a folder whose missing files are made; a temporary one otherwise")
    parser.add_argument("--cases", choices=("few", "all"), default="few")
    parser.add_argument("--only", default="", help="a regular expression that the titles of requests match")
    parser.add_argument("--mixed", type=int, default=0, help="so many requests of all kinds instead, at each size")
    parser.add_argument("--steps", type=int, default=-1, help="in place of each kind's own")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing after this long")
    parser.add_argument("--out", type=Path, help="where the figures are written as they come")
    parser.add_argument("--tiny", action="store_true", help="a tiny checkpoint and pictures: a dry run")
    parser.add_argument("--kernels", type=Path, default=Path(tempfile.gettempdir()) / "kernels")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--least", choices=MODES, default="resident", help=argparse.SUPPRESS)
    parser.add_argument("--ballast", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ballast is not None:
        hold(arguments.ballast)
    elif arguments.draw is not None:
        draw_row(arguments)
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Make what is missing, draw all rows, and print their figures in one line."""
    began, which = time.monotonic(), "all" if arguments.mixed else arguments.cases
    with tempfile.TemporaryDirectory() as temporary:
        arguments.models = arguments.models or Path(temporary) / "models"
        card_cases.prepare(arguments.models, SIZES["tiny" if arguments.tiny else "sdxl"], which)
        for place in card_cases.CHECKPOINTS if which == "all" else card_cases.CHECKPOINTS[:1]:
            page_in(arguments.models / place)
        made = time.monotonic() - began
        show("models", {"s": round(made, 1)})
        arguments.seconds -= made
        figures = draw_rows(arguments)
    print(json.dumps(figures))
    if arguments.mixed:
        for title, told in figures.items():
            show(title, growth(told))


if __name__ == "__main__":
    main()
