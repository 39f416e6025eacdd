"""`python -m tests.bounds`: prints what each kind of attack cost, and exits with the number of bounds that broke."""

from __future__ import annotations

import argparse
import http.client
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.bounds.attacks import Attack, attacks, beginnings
from tests.bounds.watch import Pings, memories
from tests.serving import GENERATE, Server
from tests.toy import toy_checkpoint

BROKEN_OFF = "broken off"


@dataclass
class Cost:
    """What the attacks of one kind on one route cost."""

    pings: list[float] = field(default_factory=list)
    web: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        """A row of the table."""
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"| {name} | {max(self.pings):.0f} ms | {max(self.web):.0f} MB | {max(self.engine):.0f} MB | {statuses} |"
        )


def main() -> None:
    """Attack a server of toy size."""
    parser = argparse.ArgumentParser(prog="tests.bounds", description=__doc__)
    parser.add_argument("--ping", type=float, default=100, help="milliseconds that /ping may take")
    parser.add_argument("--memory", type=float, default=200, help="MB that a process may grow by at one attack")
    parser.add_argument("--only", default="", help="attacks whose kind or route has this text")
    asked, begun = parser.parse_args(), monotonic()
    chosen = (attack for attack in attacks() if asked.only in f"{attack.what} {attack.path}")
    with tempfile.TemporaryDirectory() as name:
        models = Path(name) / "models"
        (models / "checkpoints").mkdir(parents=True)
        toy_checkpoint(models / "checkpoints" / "toy.safetensors")
        server = Server(Path(name) / "instance", models, FOOOCUS_QUEUE_LIMIT="0").ready()
        try:
            for first in beginnings():  # what loads a model is no attack
                server.ask(first.method, first.path, first.body)
            costs = attacked(server, chosen)
        finally:
            server.stop()
    broken = report(costs, asked.ping, asked.memory)
    count = sum(len(cost.pings) for cost in costs.values())
    print(f"{count} attacks in {monotonic() - begun:.0f} s, {broken} bounds broken")
    raise SystemExit(broken)


def attacked(server: Server, chosen: Iterable[Attack]) -> dict[str, Cost]:
    """What each kind of attack cost."""
    costs: defaultdict[str, Cost] = defaultdict(Cost)
    with Pings(server.port) as pings, ThreadPoolExecutor(24) as pool:
        for attack in chosen:
            cost = costs[f"{attack.what} to {attack.path.split('?')[0][:30]}"]
            web, engine = memories(server)
            statuses = list(pool.map(lambda _, sent=attack: status(server, sent), range(attack.at_once)))
            if attack.path == GENERATE and "200" in statuses:
                server.draw()  # comes last in the queue, so that whatever was taken is drawn
            cost.statuses.update(statuses)
            cost.pings.append(pings.worst())
            cost.web.append(web.grown())
            cost.engine.append(engine.grown())
    return costs


def status(server: Server, attack: Attack) -> str:
    """The status of the answer."""
    try:
        headers = {"Content-Type": attack.kind}
        return str(server.ask(attack.method, attack.path, attack.body or None, **headers).status)
    except (http.client.HTTPException, OSError):  # a server may close while more is sent
        return BROKEN_OFF


def report(costs: dict[str, Cost], most_ms: float, most_mb: float) -> int:
    """Print a table, and tell how many bounds broke."""
    every = list(costs.values())
    print("| attack | slowest ping | web process | engine | answers |", "| --- | --- | --- | --- | --- |", sep="\n")
    print(*(cost.line(name) for name, cost in costs.items()), sep="\n")
    total = Cost(*([figure for cost in every for figure in getattr(cost, name)] for name in ("pings", "web", "engine")))
    for cost in every:
        total.statuses += cost.statuses
    print(total.line("all"))
    slow = sum(max(cost.pings) > most_ms for cost in every)
    large = sum(max(*cost.web, *cost.engine) > most_mb for cost in every)
    return slow + large + sum(count for status, count in total.statuses.items() if status.startswith("5"))


main()
