"""Throughput of several graphics cards of a machine: of one, of all as lanes of one server, and of all as a Ray fleet.

    python -m benchmarks.cards --models FOLDER                   with what `benchmarks.gpu` or `make_checkpoint` made
    python -m benchmarks.cards --models FOLDER --tiny --cards 2  a dry run anywhere, with a tiny checkpoint

Each way draws the same default requests of one picture, no two alike, which all wait at once; the clock runs from the
first one's start to the last one's end. Engines are warm before. `--target 1.9` is how many times one card's throughput
two cards are to give. The last line is JSON.

Each lane's row tells where its tasks' time went: the medians of the stages; `rest`, which is none of them (messages,
the web process); `pause`, from a task's end to the next one's start; `slowest`, long where kernels were compiled
meanwhile. If all lanes are slower than one card alone, do they share the web process, or the machine? Two servers at
once tell:

    CUDA_VISIBLE_DEVICES=0 python -m benchmarks.cards --models FOLDER --ways one --threads 8 &
    CUDA_VISIBLE_DEVICES=1 python -m benchmarks.cards --models FOLDER --ways one --threads 8
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.gpu import STYLES, show
from benchmarks.gpu_service import PLACES
from benchmarks.parity_models import BASE
from fooocus_flask.runner.engines import KERNELS
from tests.fleet_cluster import FleetCluster, FleetServer, fleet_environment
from tests.patience import patiently
from tests.serving import Server

STAGE = re.compile(r"\b(load|text|sampling|decode|save|total)=([\d.]+)")
"""What a task's line in the log tells of its stages, in seconds."""
LANE = re.compile(r"The lane (\S+) draws (\w+)")
TASK = re.compile(r"\btask=(\w+)")
WARM_SECONDS = 25.0
"""Kernels are compiled within the first pictures, unless another way of the same call has compiled them: ways share
their folder, but for a fleet's cards, which keep theirs."""


@dataclass(frozen=True)
class Setup:
    """What is measured: the models' folder, how many cards, threads of each engine, and where kernels are kept."""

    models: Path
    cards: int
    threads: int
    kernels: Path


def requests(number: int, first: int, tiny: bool) -> Iterator[dict[str, Any]]:
    """So many default requests, no two alike."""
    smaller = {"aspect_ratios_selection": "64*64", "overwrite_step": 4} if tiny else {}
    for count in range(first, first + number):
        words = {"prompt": f"a lighthouse beside {PLACES[count % len(PLACES)]}, number {count}", "image_seed": count}
        yield {"base_model_name": BASE, "style_selections": STYLES, "image_number": 1, **words, **smaller}


@contextmanager
def serving(setup: Setup, make: type[Server] = Server, **settings: str) -> Iterator[Server]:
    """A server in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        instance = Path(folder) / "instance"
        instance.mkdir()
        (instance / KERNELS).symlink_to(setup.kernels)
        environment = {"OMP_NUM_THREADS": str(setup.threads), "FOOOCUS_ENGINE_THREADS": str(setup.threads)}
        server = make(instance, setup.models, **environment, **settings)
        try:
            yield server
        except BaseException:
            print("".join(server.lines[-80:]))
            raise
        finally:
            server.stop()


@contextmanager
def one(setup: Setup) -> Iterator[Server]:
    """A server that draws on one card."""
    with serving(setup) as server:
        yield server


@contextmanager
def lanes(setup: Setup) -> Iterator[Server]:
    """A server with an engine for each card."""
    with serving(setup, FOOOCUS_ENGINES=str(setup.cards)) as server:
        yield server


@contextmanager
def fleet(setup: Setup) -> Iterator[Server]:
    """A server whose cards are those of a Ray cluster of this machine alone."""
    with fleet_environment(), tempfile.TemporaryDirectory() as name:
        gpus = 0 if tiny_machine() else setup.cards
        cluster = FleetCluster(Path(name), gpus)
        if not gpus:
            cluster.join(setup.cards)
        try:
            with serving(setup, FleetServer, FOOOCUS_FLEET=cluster.address) as server:
                yield server
        finally:
            cluster.close()


WAYS: dict[str, Callable[[Setup], Any]] = {"one": one, "engines": lanes, "ray": fleet}


def tiny_machine() -> bool:
    """Whether this machine has no graphics card."""
    import torch

    return not torch.cuda.is_available()


def counted_cards() -> int:
    """How many graphics cards there are."""
    import torch

    return torch.cuda.device_count()


def drawn(server: Server, bodies: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of these requests, which all wait at once, when all have ended."""
    task_ids = [
        server.ask("POST", "/v1/engine/generate/", {**body, "async_process": True}).json["task_id"] for body in bodies
    ]

    def attempt(seconds: float) -> bool:
        lists = server.get("/tasks").json
        if not (lists["pending"] or lists["current"]):
            return True
        time.sleep(2 * seconds)  # the lists are long, and answered by the process that hands out tasks
        return False

    patiently(attempt, "the tasks do not end", server.working)
    records = [server.get(f"/tasks/{task_id}").json for task_id in task_ids]
    assert all(record["task_status"] == "finished" for record in records), [record["error"] for record in records]
    return records


def ready(server: Server, cards: int) -> None:
    """Return when so many cards take tasks."""

    def attempt(seconds: float) -> bool:
        lanes = server.get("/ready").json["lanes"]
        if sum(lane["state"] == "ready" for lane in lanes) >= cards:
            return True
        time.sleep(seconds)
        return False

    patiently(attempt, f"there are not {cards} cards: {server.get('/ready').json}", server.working)


def stages(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """The seconds that each finished task of these lines of a log took for each stage, and for what is none."""
    found = {}
    for line in lines:
        if (task := TASK.search(line)) and "status=finished" in line:
            took = {stage: float(seconds) for stage, seconds in STAGE.findall(line)}
            found[task[1]] = took | {"rest": 2 * took["total"] - sum(took.values())}
    return found


def by_lane(lines: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What each lane's tasks took: how many they were, the medians of their stages and of the pauses between them, and
    the slowest one's whole time. Where there is one lane, no line names it."""
    lanes = {task: lane for line in lines for lane, task in LANE.findall(line)}
    took, times = stages(lines), {one["task_id"]: (one["start_mills"], one["finish_mills"]) for one in records}
    found = {}
    for lane in sorted({lanes.get(task, "0") for task in took}):
        tasks = sorted((task for task in took if lanes.get(task, "0") == lane), key=times.__getitem__)
        figures = {stage: statistics.median(took[task][stage] for task in tasks) for stage in took[tasks[0]]}
        pauses = [(times[after][0] - times[before][1]) / 1000 for before, after in pairwise(tasks)]
        figures |= {"pause": statistics.median(pauses or [0.0]), "slowest": max(took[task]["total"] for task in tasks)}
        found[lane] = {"tasks": len(tasks), **{name: round(seconds, 3) for name, seconds in figures.items()}}
    return found


def measured(way: str, setup: Setup, number: int, tiny: bool, warm: float) -> float:
    """Pictures a minute, which are printed."""
    wanted = 1 if way == "one" else setup.cards
    begun = time.monotonic()
    with WAYS[way](setup) as server:
        ready(server, wanted)
        started = time.monotonic() - begun
        for first in itertools.count(1000, 2 * wanted):
            drawn(server, requests(2 * wanted, first, tiny))
            if tiny or time.monotonic() - begun - started > warm:
                break
        before = len(server.lines)
        records = drawn(server, requests(number, 1, tiny))
        durations = by_lane(list(server.lines)[before:], records)
        workers = server.get("/v1/engine/workers").json["workers"]
    first, last = min(r["start_mills"] for r in records), max(r["finish_mills"] for r in records)
    each = sum(r["finish_mills"] - r["start_mills"] for r in records) / len(records)
    speed = 60_000 * number / (last - first)
    figures = {
        "pictures/min": round(speed, 1),
        "s each": round(each / 1000, 2),
        "s in all": round((last - first) / 1000, 1),
    }
    show(f"{way}: {len(workers)} × {workers[0]['card']}", {**figures, "ready after": f"{started:.0f} s"})
    for lane, figures in durations.items():
        show(f"{way}: lane {lane}", figures)
    return speed


def main() -> None:
    """Print the throughput of each way, and how many times that of one card it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="a folder with checkpoints/" + BASE)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--cards", type=int, help="how many cards draw; all")
    parser.add_argument("--threads", type=int, help="of each engine; its part of the cores, at most 8")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="seconds of drawing before those that count")
    parser.add_argument("--target", type=float, default=1.9)
    parser.add_argument("--tiny", action="store_true", help="small pictures of few steps: a dry run")
    arguments = parser.parse_args()
    cards = arguments.cards or counted_cards()
    threads = arguments.threads or (1 if arguments.tiny else max(1, min(8, (os.cpu_count() or 1) // cards)))
    with tempfile.TemporaryDirectory() as kernels:
        compare(arguments, Setup(arguments.models.resolve(), cards, threads, Path(kernels)))


def compare(arguments: argparse.Namespace, setup: Setup) -> None:
    """Measure one way after another."""
    found = {}
    for way in arguments.ways:
        found[way] = measured(way, setup, arguments.requests, arguments.tiny, arguments.warm)
        if way != "one" and "one" in found:
            ratio = found[way] / found["one"]
            show(
                f"{way} to one card",
                {"ratio": round(ratio, 3), "target": arguments.target, "met": ratio >= arguments.target},
            )
    print(json.dumps({way: round(speed, 2) for way, speed in found.items()}))


if __name__ == "__main__":
    main()
