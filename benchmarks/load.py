"""Many clients at once while it draws: streams that want their end, clients that poll, `/ping`, and memory.

    python -m benchmarks.load                                200 streams, 50 polling clients, 2,000 tasks
    python -m benchmarks.load --tasks 100 --streams 20       a short one
    python -m benchmarks.load --database postgresql://…      on an empty database of PostgreSQL's

Pictures are of toy size, from a checkpoint of random weights: what is measured is the service, not the drawing. Every
figure has its limit; the exit status counts those that are missed.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import gevent
from gevent.pool import Group

from tests.serving import Server, engines, small

POLL_PAUSE = 1.0
PING_LIMIT = 100.0
"""Milliseconds: what 99 of 100 answers to `/ping` may take."""
GROWTH_LIMIT = 16.0
"""MiB that a process may grow by in the second half of the tasks."""
SAMPLES = 20
"""Looks at the memory."""
MIB = 1 << 20


@dataclass
class Load:
    """What the clients of one server meet."""

    server: Server
    tasks: int
    ended: int = 0
    broken: list[str] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    memory: list[tuple[float, ...]] = field(default_factory=list)
    """MiB of the server and of its engine, again and again."""

    def __post_init__(self) -> None:
        self._numbers = count()
        self.pids = (self.server.process.pid, *engines(self.server.process.pid))

    def follow(self) -> None:
        """One client: a task and its stream to the last event, then the next, until there are enough."""
        while next(self._numbers) < self.tasks:
            try:
                stream = self.server.follow_request(small(stream_output=True))
                self.known.append(stream.header("X-Task-Id"))
                last = stream.events()[-1]
                if last["message"] != "Finished" or len(last["images"]) != 1:
                    self.broken.append(f"a stream ended with {last}")
            except (AssertionError, OSError, IndexError) as error:
                self.broken.append(f"{type(error).__name__}: {error}")
            self.ended += 1
            if self.ended % max(1, self.tasks // SAMPLES) == 0:
                self.memory.append(tuple(map(resident, self.pids)))

    def poll(self, number: int) -> None:
        """One client that asks again and again for a task, or for those under way."""
        gevent.sleep(number % 50 / 50 * POLL_PAUSE)
        while self.ended < self.tasks:
            path = (
                f"/tasks/{self.known[-number % len(self.known)]}"
                if number % 2 and self.known
                else "/tasks?query=current"
            )
            begun = time.perf_counter()
            reply = self.server.get(path)
            self.polls.append((time.perf_counter() - begun) * 1e3)
            if reply.status != 200:
                self.broken.append(f"GET {path} was answered {reply.status}")
            gevent.sleep(POLL_PAUSE)

    def growth(self) -> tuple[float, ...]:
        """MiB by which each process is larger at the end than it was after half of the tasks."""
        half = self.memory[len(self.memory) // 2]
        return tuple(last - middle for last, middle in zip(self.memory[-1], half, strict=True))


def resident(pid: int) -> float:
    """MiB a process holds of the host's memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


@contextmanager
def pinging(port: int) -> Iterator[list[float]]:
    """Milliseconds that `/ping` takes inside the block, measured by a process of its own; there when it is left."""
    command = [sys.executable, "-m", "benchmarks.pinging", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    times: list[float] = []
    try:
        yield times
    finally:
        times += map(float, process.communicate()[0].split())


@contextmanager
def serving(database: str | None) -> Iterator[Server]:
    """A server with a ready engine and a toy checkpoint, in a folder of its own, or on the database at this address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "models" / "checkpoints" / "toy.safetensors"
        checkpoint.parent.mkdir(parents=True)
        make = [sys.executable, "-m", "benchmarks.make_checkpoint", str(checkpoint), "--tiny"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        settings = {"DATABASE_URL": database} if database else {}
        server = Server(folder / "instance", folder / "models", FOOOCUS_ENGINE_THREADS="1", **settings)
        try:
            server.ready().draw()
            yield server
        finally:
            server.stop()


def row(what: str, value: str, limit: str, good: bool) -> bool:
    """Print one figure; whether its limit is missed."""
    print(f"{what:44} {value:32} limit {limit:14} {'kept' if good else 'MISSED'}", flush=True)
    return not good


def told(values: list[float]) -> str:
    """Median and 99th percentile."""
    return f"p50 {statistics.median(values):.1f} ms, p99 {percentile(values):.1f} ms"


def percentile(values: list[float]) -> float:
    """What 99 of 100 do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def main() -> None:
    """Print the figures and exit with how many limits were missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000, help="tasks in all")
    parser.add_argument("--streams", type=int, default=200, help="streams open at the same time")
    parser.add_argument("--pollers", type=int, default=50, help="clients that poll, each once a second")
    parser.add_argument("--database", metavar="ADDRESS", help="an empty database of PostgreSQL's: postgresql://…")
    asked = parser.parse_args()
    with serving(asked.database) as server:
        load, begun, clients = Load(server, asked.tasks), time.perf_counter(), Group()
        with pinging(server.port) as pings:
            polling = [gevent.spawn(load.poll, number) for number in range(asked.pollers)]
            for _ in range(asked.streams):
                clients.spawn(load.follow)
            clients.join()
            gevent.joinall(polling)
        seconds = time.perf_counter() - begun
    raise SystemExit(report(load, pings, seconds, asked))


def report(load: Load, pings: list[float], seconds: float, asked: argparse.Namespace) -> int:
    """Print what was met; how many limits were missed."""
    busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{asked.streams} streams, {asked.pollers} polling clients, {load.tasks} tasks in {seconds:.0f} s; {busy}")
    whole = load.tasks - len(load.broken)
    missed = row("streams with their last event", f"{whole} of {load.tasks}", "all", not load.broken)
    print(*load.broken[:10], sep="\n", end="\n" if load.broken else "")
    missed += row("GET /ping", told(pings), f"p99 {PING_LIMIT:.0f} ms", percentile(pings) <= PING_LIMIT)
    if load.polls:
        print(f"{'GET /tasks/…':44} {told(load.polls)}")
    for number, name in enumerate(("server", "engine")):
        grown = load.growth()[number]
        course = " → ".join(f"{held[number]:.0f}" for held in load.memory[:: max(1, len(load.memory) // 4)])
        value = f"{course} MiB, {grown:+.1f}"
        missed += row(f"memory of the {name}, second half", value, f"{GROWTH_LIMIT:+.0f} MiB", grown <= GROWTH_LIMIT)
    return missed


if __name__ == "__main__":
    main()
