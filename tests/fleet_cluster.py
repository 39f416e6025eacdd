"""A Ray cluster on this machine: a head that draws nothing, and nodes whose cards are a declared resource."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.patience import children
from tests.serving import ROOT, Server

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # beside others that are not nice either
    "RAY_memory_monitor_refresh_ms": "0",  # a busy machine's memory is no reason to end cards
}
"""What the head, the nodes and the driver have in their environment, with a token that they share."""
STORE = 100 << 20
"""Bytes of each node's object store."""


class FleetServer(Server):
    """A server whose cards are no children of it, but of this process, with their cluster."""

    @property
    def working(self) -> None:
        return None


class FleetCluster:
    """The cluster; `address` is what FLEET is to be. Its head draws on as many graphics cards as are given."""

    def __init__(self, folder: Path, gpus: int = 0) -> None:
        from ray.cluster_utils import Cluster

        self._away = folder.joinpath(*["away"] * len(ROOT.parts))
        self._away.mkdir(parents=True)
        head = {"num_cpus": 0, "num_gpus": gpus, "include_dashboard": False, "object_store_memory": STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)

    def join(self, cards: int = 1, models: Path | None = None) -> Any:
        """A new node with so many cards; `models` is its machine's own models folder."""
        environment = {"FOOOCUS_MODELS_PATH": str(models)} if models else {}
        with chdir(self._away):  # see `out_of_sight`
            return self._cluster.add_node(
                wait=False, num_cpus=0, resources={"card": cards}, object_store_memory=STORE, env_vars=environment
            )

    def kill(self, node: Any) -> None:
        """Have a machine lose its power."""
        self._cluster.remove_node(node, allow_graceful=False)

    def tell_to_leave(self, node: Any) -> None:
        """Do what `ray start --block` does on SIGTERM, and return when the machine has left."""
        node._drain_node_before_shutdown()
        self._cluster.remove_node(node)

    def close(self) -> None:
        """End everything."""
        self._cluster.shutdown()


@contextmanager
def fleet_environment() -> Iterator[Mapping[str, str]]:
    """This process's environment is that of the fleet meanwhile, with a token of its own."""
    values = {**ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield values
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def cards(of: int) -> list[int]:
    """The processes of cards that this process started, at any depth; its cluster's nodes are its children."""
    return started(of, lambda command: command.startswith(b"ray::CardActor"))


def drivers(of: int) -> list[int]:
    """The processes of fleet drivers that this process started, at any depth."""
    return started(of, lambda command: b"engine.fleet" in command)


def started(of: int, wanted: Callable[[bytes], bool]) -> list[int]:
    """The processes that this one started, at any depth, whose command line is wanted."""
    found = []
    with suppress(OSError):
        for child in children(of):
            found += started(child, wanted)
            with suppress(OSError):
                if wanted(Path(f"/proc/{child}/cmdline").read_bytes()):
                    found.append(child)
    return found


def out_of_sight(folder: Path) -> Path:
    """The same folder by a path that servers can follow and cards cannot, as if it lay on another machine's disk.

    It begins at the working directory, which is another one, and deeper, where the nodes are started.
    """
    up = Path(*[".."] * (len(ROOT.parts) - 1))
    return Path("/proc/self/cwd") / up / folder.resolve().relative_to("/")
