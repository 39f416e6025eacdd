"""Throughput of several graphics cards of a machine: of one, of all as lanes of one server, and of all as a Ray fleet.

    python -m benchmarks.cards --models FOLDER                   with what `benchmarks.gpu` or `make_checkpoint` made
    python -m benchmarks.cards --models FOLDER --tiny --cards 2  a dry run anywhere, with a tiny checkpoint

Each way draws the same default requests of one picture, no two alike, which all wait at once; the clock runs from the
first one's start to the last one's end. Engines are warm before. `--target 1.9` is how many times one card's throughput
two cards are to give. The last line is JSON.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu import STYLES, show
from benchmarks.gpu_service import PLACES
from benchmarks.parity_models import BASE
from tests.fleet_cluster import FleetCluster, FleetServer, fleet_environment
from tests.patience import patiently
from tests.serving import Server

STAGE = re.compile(r"\b(load|text|sampling|decode|save|total)=([\d.]+)")
"""What a task's line in the log tells of its stages, in seconds."""
WARM_SECONDS = 25.0
"""Kernels are compiled within the first pictures, unless another way of the same call has compiled them."""


def requests(number: int, first: int, tiny: bool) -> Iterator[dict[str, Any]]:
    """So many default requests, no two alike."""
    smaller = {"aspect_ratios_selection": "64*64", "overwrite_step": 4} if tiny else {}
    for count in range(first, first + number):
        words = {"prompt": f"a lighthouse beside {PLACES[count % len(PLACES)]}, number {count}", "image_seed": count}
        yield {"base_model_name": BASE, "style_selections": STYLES, "image_number": 1, **words, **smaller}


@contextmanager
def serving(models: Path, threads: int, make: type[Server] = Server, **settings: str) -> Iterator[Server]:
    """A server in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"OMP_NUM_THREADS": str(threads), "FOOOCUS_ENGINE_THREADS": str(threads)}
        server = make(Path(folder) / "instance", models, **environment, **settings)
        try:
            yield server
        except BaseException:
            print("".join(server.lines[-80:]))
            raise
        finally:
            server.stop()


@contextmanager
def one(models: Path, threads: int, cards: int) -> Iterator[Server]:
    """A server that draws on one card."""
    with serving(models, threads) as server:
        yield server


@contextmanager
def lanes(models: Path, threads: int, cards: int) -> Iterator[Server]:
    """A server with an engine for each card."""
    with serving(models, threads, FOOOCUS_ENGINES=str(cards)) as server:
        yield server


@contextmanager
def fleet(models: Path, threads: int, cards: int) -> Iterator[Server]:
    """A server whose cards are those of a Ray cluster of this machine alone."""
    with fleet_environment(), tempfile.TemporaryDirectory() as name:
        gpus = 0 if tiny_machine() else cards
        cluster = FleetCluster(Path(name), gpus)
        if not gpus:
            cluster.join(cards)
        try:
            with serving(models, threads, FleetServer, FOOOCUS_FLEET=cluster.address) as server:
                yield server
        finally:
            cluster.close()


WAYS: dict[str, Callable[[Path, int, int], Any]] = {"one": one, "engines": lanes, "ray": fleet}


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


def stages(lines: list[str]) -> dict[str, float]:
    """The median seconds that the finished tasks of these lines of a log took for each stage."""
    finished = [dict(STAGE.findall(line)) for line in lines if "status=finished" in line]
    return {stage: round(statistics.median(float(one[stage]) for one in finished), 3) for stage in finished[0]}


def measured(way: str, models: Path, cards: int, number: int, tiny: bool, warm: float) -> float:
    """Pictures a minute, which are printed."""
    threads = 1 if tiny else max(1, min(8, (os.cpu_count() or 1) // cards))
    wanted = 1 if way == "one" else cards
    begun = time.monotonic()
    with WAYS[way](models, threads, cards) as server:
        ready(server, wanted)
        started = time.monotonic() - begun
        for first in itertools.count(1000, 2 * wanted):
            drawn(server, requests(2 * wanted, first, tiny))
            if tiny or time.monotonic() - begun - started > warm:
                break
        before = len(server.lines)
        records = drawn(server, requests(number, 1, tiny))
        durations = stages(list(server.lines)[before:])
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
    show(f"{way}: medians", durations)
    return speed


def main() -> None:
    """Print the throughput of each way, and how many times that of one card it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="a folder with checkpoints/" + BASE)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--cards", type=int, help="how many cards draw; all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="seconds of drawing before those that count")
    parser.add_argument("--target", type=float, default=1.9)
    parser.add_argument("--tiny", action="store_true", help="small pictures of few steps: a dry run")
    arguments = parser.parse_args()
    cards = arguments.cards or counted_cards()
    found = {}
    for way in arguments.ways:
        found[way] = measured(
            way, arguments.models.resolve(), cards, arguments.requests, arguments.tiny, arguments.warm
        )
        if way != "one" and "one" in found:
            ratio = found[way] / found["one"]
            show(
                f"{way} to one card",
                {"ratio": round(ratio, 3), "target": arguments.target, "met": ratio >= arguments.target},
            )
    print(json.dumps({way: round(speed, 2) for way, speed in found.items()}))


if __name__ == "__main__":
    main()
