"""How fast a full-size SDXL draws on cards of 12 to 4 GiB: a second process fills the rest of this machine's GPU.

    python -m benchmarks.small_cards                       make a random checkpoint of 6.9 GB, draw with 8, 6, 4, 10, 12
    python -m benchmarks.small_cards --cases all           every kind of request without limit and at 8 GiB (19 GB)
    python -m benchmarks.small_cards --gib 6 --mixed 50    so many requests of all kinds, one after the other
    python -m benchmarks.small_cards --tiny --cases all    a dry run anywhere, with every plan forced
    python -m benchmarks.card_table FIGURES                what `--out` wrote as a table, beside the public Fooocus

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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import card_cases
from benchmarks.ballast import ballast
from benchmarks.card_meters import Meters
from benchmarks.card_table import NO_LIMIT, Figures, lines
from benchmarks.gpu import Clock, page_in, request, show
from benchmarks.make_checkpoint import SIZES
from benchmarks.parity_models import BASE
from engine.files.catalogue import Folders
from engine.memory_plan import GIB, MODES
from engine.models.model_cache import card_budget
from engine.pipeline.pipeline import Pipeline

GIBS = (8.0, 6.0, 4.0, 10.0, 12.0)
"""The sizes of cards, those that tell most first."""
ALL_KINDS_AT = 8.0
GRACE = 60.0
"""Seconds that a process has to end by itself after its time is over."""


class Drawer:
    """Draws requests one after the other with one pipeline, as a card of `gib` would; None: as this one does."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.models, self.steps, self.folder = arguments.draw, arguments.steps, folder
        self.size = "128×96" if arguments.tiny else "1152×896"
        device, folders = "cuda" if torch.cuda.is_available() else "cpu", Folders.below(self.models)
        self.pipeline = Pipeline(device, folders, kernels=arguments.kernels, least=arguments.least)
        if arguments.of is not None:
            self.pipeline.store.cache.budget = card_budget(int(arguments.of * GIB))
        if self.pipeline.kernels is not None:
            self.pipeline.kernels.wait()

    def figures(self, title: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Seconds, plan, memory and hashes of one request's pictures, or how it failed."""
        try:
            return self._figures(changes) | {"files_gib": round(self._files(title) / GIB, 2)}
        except Exception as error:  # the other requests tell something too
            return {"failed": f"{type(error).__name__}: {error}"[:500]}

    def _figures(self, changes: dict[str, Any]) -> dict[str, Any]:
        draw = request(self.folder, self.models / "checkpoints" / BASE, self.steps, self.size, **changes)
        draw = replace(draw, inputs=str(self.models / "pictures"))
        with Meters(self.pipeline.device) as meters:
            clock, started = Clock(), time.perf_counter()
            ended = self.pipeline.draw(draw, clock)
            seconds = (time.perf_counter() - started) / draw.params["image_number"]
        paths = [Path(path) for path in clock.pictures]
        return {
            "s": round(seconds, 2),
            "plan": ended.drawn_with["memory"],
            "notes": ended.notes,
            "stages": {name: round(s, 2) for name, s in ended.seconds.items()},
            **meters.figures(),
            "pictures": len(paths),
            "bytes": _hash(path.read_bytes() for path in paths),
            "pixels": _hash(np.asarray(Image.open(path)).tobytes() for path in paths),
        }

    def _files(self, title: str) -> int:
        """Bytes of the model files that a request reads, and of those that are kept loaded."""
        kept = [
            key[1][0] for key in self.pipeline.store.cache.parts if isinstance(key, tuple) and key[0] != "expansion"
        ]
        return sum(file.stat().st_size for file in {*map(Path, kept), *card_cases.files_of(title, self.models)})


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
            print(json.dumps({"case": title, **drawer.figures(title, changes)}), flush=True)


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


def draw_rows(arguments: argparse.Namespace) -> Figures:
    """All rows, each request printed and written to `--out` as it is done."""
    ends = time.monotonic() + arguments.seconds
    unlimited: Figures = {}
    if arguments.reference:
        unlimited[NO_LIMIT] = json.loads(arguments.reference.read_text())[NO_LIMIT]
    without = arguments.mixed or unlimited
    rows: list[tuple[str, float | None, str]] = [] if without else [(NO_LIMIT, None, "resident")]
    if arguments.tiny:
        rows += [(least, None, least) for least in MODES[1:]]
    else:
        rows += [(f"{gib:g} GiB", gib, "resident") for gib in arguments.gib]
    figures: Figures = {}
    for title, gib, least in rows:
        left = ends - time.monotonic()
        if left <= 0:
            show(title, {"not begun": "the time is over"})
            continue
        figures[title] = {}
        for told in row(arguments, title, gib, least, left):
            case = told.pop("case")
            told["same"] = same_as(told, (figures | unlimited).get(NO_LIMIT, {}).get(case, {}))
            figures[title][case] = told
            show(f"{title}, {case}", told)
            if arguments.out:
                arguments.out.write_text(json.dumps(unlimited | figures, indent=1) + "\n")
    return unlimited | figures


def same_as(told: dict[str, Any], other: dict[str, Any]) -> str:
    """What pictures have in common with others: their bytes, else their pixels, else nothing."""
    if not told.get("pictures") or not other.get("pictures"):
        return "not compared"
    return next((what for what in ("bytes", "pixels") if told[what] == other[what]), "**nothing**")


def growth(figures: dict[str, Any]) -> dict[str, Any]:
    """How many of a mixture's requests failed or had to go on with less, and what memory grew by.

    The latter is held against what was held after the request of the same kind one round before, the first of each kind
    left out; the most of all kinds.
    """
    done = {title: told for title, told in figures.items() if "failed" not in told}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for title, told in done.items():
        kinds.setdefault(title.partition(", ")[2], []).append(told)
    grown = {
        f"{name} grew by": max(
            (told[-1][name] - told[-2][name] for told in kinds.values() if len(told) > 2), default=None
        )
        for name in ("gpu_gib", "host_gib")
        if all(name in told for told in done.values())
    }
    stepped = sum(told["steps_down"] > 0 for told in done.values())
    return {"drawn": len(done), "failed": len(figures) - len(done), "stepped down": stepped, **grown}


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
    parser.add_argument("--reference", type=Path, help="what --out wrote before: its row without limit is not redrawn")
    parser.add_argument("--out", type=Path, help="where the figures are written as they come")
    parser.add_argument("--tiny", action="store_true", help="a tiny checkpoint and pictures: a dry run")
    parser.add_argument("--kernels", type=Path, default=Path(tempfile.gettempdir()) / "kernels")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--least", choices=MODES, default="resident", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw is not None:
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
        print(*lines(figures), sep="\n")
    print(json.dumps(figures))
    if arguments.mixed:
        for title in figures.keys() - {NO_LIMIT}:
            show(title, growth(figures[title]))


if __name__ == "__main__":
    main()
