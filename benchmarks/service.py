"""What the service adds around the engine: time to the first picture, latency of answers, `/ping` while it draws.

    python -m benchmarks.service                                              with the built-in model
    python -m benchmarks.service --models PATH --model mini.safetensors       with another

Every figure is read by a client over real sockets, on the machine that also draws; medians unless said otherwise.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.choices import BUILTIN_CHECKPOINT
from tests.serving import GENERATE, Server

ANSWERS = 20
PINGS = 600
PING_PAUSE = 0.01


def request(model: str, size: str = "128*128", steps: int = 4, **members: object) -> dict[str, object]:
    """A request that is drawn quickly; `steps` below 1: as many as the performance mode has."""
    toy = {"base_model_name": model, "aspect_ratios_selection": size, "overwrite_step": steps}
    return {"prompt": "a red apple on a wooden table", "image_seed": 7, **toy, **members}


@contextmanager
def serving(models: Path, threads: int) -> Iterator[Server]:
    """A server in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"OMP_NUM_THREADS": str(threads), "FOOOCUS_ENGINE_THREADS": str(threads)}
        server = Server(Path(folder) / "instance", models, **environment)
        try:
            yield server
        finally:
            server.stop()


def first_picture(models: Path, model: str, threads: int) -> float:
    """Seconds from the start of `wsgi.py` to a 512×512 picture at the client."""
    begun = time.perf_counter()
    with serving(models, threads) as server:
        reply = server.ask("POST", GENERATE, request(model, "512*512", 0), Accept="image/png")
        assert reply.status == 200, reply.body
        return time.perf_counter() - begun


def after_the_file(server: Server, model: str) -> list[float]:
    """Milliseconds from the file's being written to the answer's being read."""
    waits = []
    for _ in range(ANSWERS):
        reply = server.ask("POST", GENERATE, request(model))
        read = time.time_ns()
        name = reply.json["result"][0].partition("/outputs/")[2]
        waits.append((read - (server.instance / "outputs" / name).stat().st_mtime_ns) / 1e6)
    return waits


def acknowledged(server: Server, model: str) -> list[float]:
    """Milliseconds an asynchronous request takes, while others are drawn."""
    return [timed(lambda: server.ask("POST", GENERATE, request(model, async_process=True))) for _ in range(ANSWERS)]


def pings(server: Server, model: str) -> list[float]:
    """Milliseconds a `/ping` takes over a kept connection while a large picture is sampled."""
    stream = server.follow_request(request(model, "1152*896", 200, stream_output=True))
    while "Sampling step" not in stream.event()["message"]:
        pass
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    times = []
    for _ in range(PINGS):
        times.append(timed(lambda: ping(connection)))
        time.sleep(PING_PAUSE)
    connection.close()
    assert server.get("/tasks?query=current").json["current"], "the picture was done before the last ping"
    server.ask("POST", "/v1/engine/control?action=stop")
    stream.chunks()
    return times


def ping(connection: http.client.HTTPConnection) -> None:
    """One `/ping`."""
    connection.request("GET", "/ping")
    connection.getresponse().read()


def timed(act: Callable[[], object]) -> float:
    """Milliseconds it takes."""
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1e3


def percentile(values: list[float], percent: int) -> float:
    """The value that this many percent of the others do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def row(what: str, values: list[float], target: str) -> None:
    """Print one figure."""
    middle, high = statistics.median(values), percentile(values, 99)
    print(f"{what:52} p50 {middle:7.1f} ms   p99 {high:7.1f} ms   target {target}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("instance/models"), help="folder of the models")
    parser.add_argument("--model", default=BUILTIN_CHECKPOINT, help="the checkpoint to draw with")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads the engine computes with")
    return parser.parse_args()


def main(args: argparse.Namespace | None = None) -> None:
    """Print the service's figures."""
    args = args or arguments()
    models = args.models.resolve()
    print(f"the service, {os.cpu_count()} cores, the engine on {args.threads} threads, {args.model}")
    print(f"{'cold start to a first picture of 512×512':52} {first_picture(models, args.model, args.threads):7.1f} s")
    with serving(models, args.threads) as server:
        server.ready().ask("POST", GENERATE, request(args.model))
        row("sync answer after the picture's file was written", after_the_file(server, args.model), "30 ms")
        row("async answer", acknowledged(server, args.model), "15 ms")
        row("GET /ping while drawing on all threads", pings(server, args.model), "p99 50 ms")


if __name__ == "__main__":
    main()
