"""The default request on a CUDA machine as its user has it: from POST to the answer that names the picture's URL.

    python -m benchmarks.gpu_service --models FOLDER            with what `benchmarks.gpu` or `benchmarks.parity` made
    python -m benchmarks.gpu_service --models FOLDER --tiny     a dry run anywhere, with a tiny checkpoint
    python -m benchmarks.gpu_service --models FOLDER --starts   from starts to their first pictures, with PRELOAD or not

The server is warm and every request has words and a seed of its own, so that no conditioning is remembered. Prompt
expansion is off; previews are on, as in the default request. `--targets 1.6 1.4` are the seconds that one picture and
each of four may take; a ratio of at most 1 meets them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu import STYLES, show
from benchmarks.parity_models import BASE
from benchmarks.service import serving
from tests.serving import GENERATE, Server

PLACES = ("a harbour", "a meadow", "a library", "a desert", "a bridge", "a garden", "a kitchen", "a glacier")
WARM_SECONDS = 30.0
"""Kernels are compiled within the first pictures."""
COMPILING_SECONDS = 60.0
ROUNDS = 5


def requests(number: int, tiny: bool) -> Any:
    """Default requests for this many pictures, no two alike."""
    smaller = {"aspect_ratios_selection": "128*96", "overwrite_step": 2} if tiny else {}
    for count, place in zip(itertools.count(1), itertools.cycle(PLACES)):
        words = {"prompt": f"a lighthouse beside {place}, number {count}", "image_seed": 1000 * number + count}
        yield {"base_model_name": BASE, "style_selections": STYLES, "image_number": number, **words, **smaller}


def drawn(server: Server, body: dict[str, Any]) -> float:
    """Seconds a picture takes from POST to its URL; each file is there when it is asked for."""
    begun = time.perf_counter()
    reply = server.ask("POST", GENERATE, body)
    seconds = time.perf_counter() - begun
    assert reply.status == 200, reply.body
    files = reply.json["result"]
    assert len(files) == body["image_number"], reply.body
    for file in files:
        picture = server.get("/outputs/" + file.partition("/outputs/")[2])
        assert picture.status == 200 and picture.body.startswith(b"\x89PNG"), file
    return seconds / len(files)


def warm(server: Server, tiny: bool) -> None:
    """Draw until everything is loaded, recorded and compiled."""
    until = time.monotonic() + (0 if tiny else WARM_SECONDS)
    for body in requests(1, tiny):
        drawn(server, body)
        if time.monotonic() > until:
            break
    drawn(server, next(requests(2, tiny)))


def measured(server: Server, number: int, target: float, tiny: bool) -> list[float]:
    """Seconds a picture of some requests, which are printed beside the target."""
    seconds = [drawn(server, body) for body in itertools.islice(requests(number, tiny), 1, ROUNDS + 1)]
    middle, worst = statistics.median(seconds), max(seconds)
    found = {"s": round(middle, 2), "worst": round(worst, 2), "target": target, "ratio": round(middle / target, 2)}
    show(f"each of {number}", found)
    return [round(value, 3) for value in seconds]


def first_pictures(server: Server, tiny: bool) -> dict[str, Any]:
    """Seconds from starts to being ready, and from there to the first default picture; kernels are compiled before."""
    server.ready().said("preloaded")
    if not tiny:
        patience = time.monotonic() + COMPILING_SECONDS
        while not list((server.instance / "kernels").glob("compiled*")) and time.monotonic() < patience:
            time.sleep(1)
    figures = {}
    for title, preload, waits in (
        ("without PRELOAD", "0", False),
        ("with it, asked at once", "1", False),
        ("with it, asked when all is loaded", "1", True),
    ):
        server.stop()
        server.environment["FOOOCUS_PRELOAD"] = preload
        begun = time.perf_counter()
        server.start()
        server.ready()
        ready = time.perf_counter()
        loaded = 0.0
        if waits:
            server.said("preloaded")
            loaded = time.perf_counter() - ready
        body = {name: value for name, value in next(requests(1, tiny)).items() if name != "style_selections"}
        first, again = drawn(server, body), drawn(server, body | {"image_seed": 4})
        seconds = {"ready": ready - begun, "loaded after": loaded, "first": first, "second": again}
        figures[title] = {name: round(value, 2) for name, value in seconds.items()}
        show(title, figures[title])
    return figures


def main() -> None:
    """Print the seconds of one picture, and of each of four; or those of first pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="a folder with checkpoints/" + BASE)
    parser.add_argument("--tiny", action="store_true", help="small pictures of two steps: a dry run")
    parser.add_argument("--targets", type=float, nargs=2, default=(1.6, 1.4), metavar="SECONDS")
    parser.add_argument("--starts", action="store_true", help="measure first pictures in place of later ones")
    arguments = parser.parse_args()
    tiny, (one, four) = arguments.tiny, arguments.targets
    os.environ.update(default_model=BASE)
    with serving(arguments.models.resolve(), min(8, os.cpu_count() or 1)) as server:
        if arguments.starts:
            print(json.dumps(first_pictures(server, tiny)))
            return
        first = drawn(server.ready(), next(requests(1, tiny)))
        show("the first, its checkpoint loaded for it", {"s": round(first, 2)})
        warm(server, tiny)
        figures = {
            "first": round(first, 3),
            "one": measured(server, 1, one, tiny),
            "four": measured(server, 4, four, tiny),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
