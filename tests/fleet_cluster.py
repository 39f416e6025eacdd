"""A Ray cluster on this machine: a head that draws nothing, and nodes whose cards are a declared resource."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.serving import Server

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
    """The cluster; `address` is what FLEET is to be."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
        )
        self.address = str(self._cluster.address)

    def join(self, cards: int = 1, models: Path | None = None) -> Any:
        """A new node with so many cards; `models` is its machine's own models folder."""
        environment = {"FOOOCUS_MODELS_PATH": str(models)} if models else {}
        return self._cluster.add_node(
            wait=False, num_cpus=0, resources={"card": cards}, object_store_memory=STORE, env_vars=environment
        )

    def kill(self, node: Any) -> None:
        """Have a machine lose its power."""
        self._cluster.remove_node(node, allow_graceful=False)

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


def cards() -> list[int]:
    """The processes of all cards on this machine."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _is_card(path)]


def _is_card(path: Path) -> bool:
    try:
        return path.read_bytes().startswith(b"ray::Card")
    except OSError:
        return False
