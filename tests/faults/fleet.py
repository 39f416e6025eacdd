"""A fleet that is hurt at work: cards, machines and the driver are killed, and every task ends once, with its bytes.

Each machine is a Ray node on this one, with one card and an empty models folder of its own; it cannot see the server's.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.faults.rounds import BrokenPromise
from tests.fleet_cluster import FleetCluster, FleetServer, cards, drivers, fleet_environment, out_of_sight
from tests.patience import patiently
from tests.serving import Server
from tests.toy import toy_checkpoint

CHECKPOINTS = ("toy.safetensors", "toy2.safetensors")
SEEDS = 20
"""Tasks of one checkpoint that differ; more of them are the same once more, and must give the same bytes."""
AFFINITY = 2.0
SETTINGS = {"FOOOCUS_ENGINE_THREADS": "1", "FOOOCUS_AFFINITY_SECONDS": str(AFFINITY), "FOOOCUS_QUEUE_LIMIT": "0"}
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
LATE_STEPS = 2
"""Steps that may be told after a stop was answered: the one under way, and one on its way to the client."""


class HurtFleet:
    """Three cards, the server that draws with them, and what it accepted."""

    def __init__(self, folder: Path, cluster: FleetCluster, number: int) -> None:
        self.folder, self.cluster = folder, cluster
        self.machines: list[tuple[int, Path]] = []
        self.accepted: dict[str, tuple[str, int]] = {}
        for _ in range(number):
            self.join()
        place = out_of_sight(folder / "models")
        self.server = FleetServer(folder / "fleet", place, FOOOCUS_FLEET=cluster.address, **SETTINGS)

    def join(self) -> None:
        """Have another machine, whose models folder is empty."""
        models = Path(tempfile.mkdtemp(prefix="machine-", dir=self.folder))
        self.machines.append((self.cluster.join(1, models), models))

    def submit(self, number: int) -> None:
        """Have so many tasks wait."""
        for count in range(number):
            checkpoint, seed = CHECKPOINTS[count % 2], 1 + count // 2 % SEEDS
            task_id = self.server.submit(base_model_name=checkpoint, image_seed=seed, overwrite_step=6)
            self.accepted[task_id] = (checkpoint, seed)

    def left(self) -> int:
        """Tasks that have not ended."""
        lists = self.server.get("/tasks").json
        return len(lists["pending"]) + len(lists["current"])

    def all_ready(self, number: int) -> None:
        """Return when so many cards take tasks."""

        def attempt(seconds: float) -> bool:
            lanes = self.server.get("/ready").json["lanes"]
            if sum(lane["state"] == "ready" for lane in lanes) == number == len(lanes):
                return True
            sleep(seconds)
            return False

        patiently(attempt, f"there are not {number} cards that are ready: {self.server.get('/ready').json}")

    def hurt(self, victim: str) -> None:
        """Kill a card's process, a machine, or the driver; for a machine another one comes."""
        if victim == "machine":
            node, _ = self.machines.pop(random.randrange(len(self.machines)))
            self.cluster.kill(node)
            self.join()
            return
        found = cards(os.getpid()) if victim == "card" else drivers(self.server.process.pid)
        if found:  # else it is being started just now
            os.kill(random.choice(found), signal.SIGKILL)

    def check(self, expected: dict[tuple[str, int], str]) -> None:
        """Every task is finished, ended once, and has the bytes that one card gives.

        Raises:
            BrokenPromise: not so.
        """
        ends = Counter(re.findall(r"task=(\w+) status=", "".join(self.server.lines)))
        for task_id, what in self.accepted.items():
            record = self.server.get(f"/tasks/{task_id}").json
            if record["task_status"] != "finished":
                raise BrokenPromise(f"{task_id} is {record['task_status']}: {record['error']}")
            if ends[task_id] != 1:
                raise BrokenPromise(f"{task_id} ended {ends[task_id]} times")
            if digest(self.server, record) != expected[what]:
                raise BrokenPromise(f"{task_id} has other bytes than a single card gives")
        lists = self.server.get("/tasks").json
        if lists["current"] or lists["pending"]:
            raise BrokenPromise(f"rows are stuck: {lists['current']} {lists['pending']}")


def digest(server: Server, record: dict[str, Any]) -> str:
    """The hash of a task's picture."""
    (url,) = record["result"]
    return hashlib.sha256(server.get("/outputs/" + url.partition("/outputs/")[2]).body).hexdigest()


def play(tasks: int, every: float, seed: int) -> int:
    """Print a line for each promise; the number of those that were broken."""
    random.seed(seed)
    broken = 0
    with fleet_environment(), tempfile.TemporaryDirectory() as name, cluster(Path(name)) as now:
        folder = Path(name)
        (folder / "models" / "checkpoints").mkdir(parents=True)
        for number, checkpoint in enumerate(CHECKPOINTS):
            toy_checkpoint(folder / "models" / "checkpoints" / checkpoint, number)
        expected = drawn_by_one(folder)
        fleet = HurtFleet(folder, now, 3)
        try:
            for promise in (joins_empty, stops, skips, keeps_order, tells_soon):
                broken += told(promise.__doc__ or "", lambda kept=promise: kept(fleet))
            broken += told("all ends once with the same bytes", lambda: survives(fleet, expected, tasks, every))
        finally:
            if broken:
                print("".join(fleet.server.lines[-300:]))
            fleet.server.stop()
    return broken


@contextmanager
def cluster(folder: Path) -> Iterator[FleetCluster]:
    """A cluster that is ended at the end."""
    now = FleetCluster(folder)
    try:
        yield now
    finally:
        now.close()


def told(promise: str, keep: Any) -> int:
    """Print whether a promise was kept, and by what figures; 1 if it was broken."""
    begun = monotonic()
    try:
        figures, kept = keep(), "kept"
    except (AssertionError, OSError, TimeoutError) as error:  # whatever a client may meet
        figures, kept = f"{type(error).__name__}: {error}", "BROKEN"
    print(f"{promise.splitlines()[0].rstrip('.'):60} {kept}, {monotonic() - begun:.0f} s: {figures}", flush=True)
    return int(kept != "kept")


def drawn_by_one(folder: Path) -> dict[tuple[str, int], str]:
    """The hash of every picture, as one engine of this machine gives it."""
    server = Server(folder / "one", folder / "models", **SETTINGS)
    try:
        wanted = [(checkpoint, seed) for checkpoint in CHECKPOINTS for seed in range(1, SEEDS + 1)]
        return {
            (checkpoint, seed): digest(
                server, server.draw({"base_model_name": checkpoint, "image_seed": seed, "overwrite_step": 6}).json
            )
            for checkpoint, seed in wanted
        }
    finally:
        server.stop()


def joins_empty(fleet: HurtFleet) -> str:
    """A machine that joins empty gets the model from the head"""
    fleet.all_ready(3)
    fleet.submit(6)
    patiently(lambda seconds: not fleet.left() or sleep(seconds), "the first tasks do not end")
    copies = [len(list((models / "fleet" / "files").glob("*"))) for _, models in fleet.machines]
    if not any(copies):
        raise BrokenPromise("no machine got a model file")
    return f"model files on the machines: {copies}"


def stops(fleet: HurtFleet) -> str:
    """A stop ends a task within a step, on any card"""
    return f"steps told after it: {interrupted(fleet, 'stop', 'stop')}"


def skips(fleet: HurtFleet) -> str:
    """A skip drops the picture within a step, on any card"""
    return f"steps told after it: {interrupted(fleet, 'skip', 'finished')}"


def interrupted(fleet: HurtFleet, action: str, status: str) -> list[int]:
    """How many steps of the interrupted picture are told after the answer; on each card once, all at work at once."""
    server = fleet.server
    streams = [
        server.follow(
            overwrite_step=200, aspect_ratios_selection="1024*1024", image_number=2 if action == "skip" else 1
        )
        for _ in fleet.machines
    ]
    late = []
    for stream in streams:
        stream.until("Sampling step")
        stream.catch_up()
        server.ask("POST", "/v1/engine/control", {"action": action, "task_id": stream.header("X-Task-Id")})
        after = 0
        while "Sampling step" in (message := stream.event()["message"]) and "image 2/2" not in message:
            after += 1
        late.append(after)
        if action == "skip":
            server.ask("POST", "/v1/engine/control", {"action": "stop", "task_id": stream.header("X-Task-Id")})
        stream.events()
        record = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
        if after > LATE_STEPS or record["task_status"] not in (status, "stop"):
            raise BrokenPromise(f"{after} steps were told after the {action}, then {record['task_status']}")
    return late


def keeps_order(fleet: HurtFleet) -> str:
    """Tasks begin by rank, but for those within AFFINITY_SECONDS"""
    known = set(fleet.accepted)
    fleet.submit(40)
    patiently(lambda seconds: not fleet.left() or sleep(seconds), "the tasks do not end")
    records = [fleet.server.get(f"/tasks/{task_id}").json for task_id in fleet.accepted if task_id not in known]
    worst = 0
    for record in records:
        before = (other for other in records if other["start_mills"] < record["start_mills"])
        worst = max([worst, *(other["in_queue_mills"] - record["in_queue_mills"] for other in before)])
    if worst > AFFINITY * 1000:
        raise BrokenPromise(f"a task was overtaken by one that came {worst} ms later")
    return f"nothing was overtaken by what came more than {worst} ms later"


def tells_soon(fleet: HurtFleet) -> str:
    """What a card tells is in the database within 50 ms, in the middle"""
    lines = "".join(fleet.server.lines)
    ended = re.findall(rf"({TIME}) INFO fooocus_flask.task \[\w+\]: task=(\w+) status=finished", lines)
    at = {task_id: moment for moment, task_id in re.findall(rf"({TIME}) card INFO \S+ \[\w+\]: task (\w+) fin", lines)}
    waits = [mills(moment) - mills(at[task_id]) for moment, task_id in ended if task_id in at]
    middle = statistics.median(waits)
    if middle >= 50:
        raise BrokenPromise(f"p50 is {middle:.0f} ms of {len(waits)} tasks")
    return f"p50 {middle:.0f} ms, largest {max(waits):.0f} ms of {len(waits)} tasks"


def mills(text: str) -> float:
    """The moment of a line of the log."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").timestamp() * 1000


def survives(fleet: HurtFleet, expected: dict[tuple[str, int], str], tasks: int, every: float) -> str:
    """Kill something every so many seconds until all tasks have ended."""
    hurts: Counter[str] = Counter()
    fleet.submit(tasks)
    begun = monotonic()
    while fleet.left():
        sleep(every)
        victim = "driver" if sum(hurts.values()) == 5 else random.choice(("card", "card", "machine"))
        hurts[victim] += 1
        fleet.hurt(victim)
        if monotonic() - begun > 3600:
            raise BrokenPromise(f"{fleet.left()} tasks have not ended after an hour")
    fleet.check(expected)
    told = ", ".join(f"{number} × {victim}" for victim, number in hurts.items())
    return f"{len(fleet.accepted)} tasks, killed: {told}"
