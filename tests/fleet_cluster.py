"""A Ray cluster on this machine: a head that draws nothing, and nodes whose cards are a declared resource."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.patience import children
from tests.serving import ROOT, Server

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # beside others that are not nice either
    "RAY_memory_monitor_refresh_ms": "0",  # a busy machine's memory is no reason to end cards
    # As in deploy/fleet: four questions without an answer.
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
"""What the head, the nodes and the driver have in their environment, with a token that they share."""
ANSWER = "> "
"""How a line begins by which the cluster's process answers."""
STARTS = 5
"""How often a node is started that does not come, as systemd would."""
STORE = 100 << 20
"""Bytes of each node's object store."""


class FleetServer(Server):
    """A server whose cards are no children of it, but of this process, with their cluster."""

    @property
    def working(self) -> None:
        return None


class FleetCluster:
    """The cluster; `address` is what FLEET is to be. Its head draws on as many graphics cards as are given.

    It lives in a process of its own, for Ray reads its environment only when it is imported; nodes are numbers.
    """

    def __init__(self, folder: Path, gpus: int = 0) -> None:
        command = [sys.executable, "-m", "tests.fleet_cluster", str(folder), str(gpus)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = str(self._answer())

    def join(self, cards: int = 1, models: Path | None = None) -> int:
        """A new node with so many cards; `models` is its machine's own models folder."""
        return int(self._ask("join", cards, str(models) if models else ""))

    def kill(self, node: int) -> None:
        """Have a machine lose its power."""
        self._ask("kill", node)

    def freeze(self, node: int) -> None:
        """Have a machine answer nothing any more, though no connection to it ends, as without power; then `kill` it."""
        self._ask("freeze", node)

    def tell_to_leave(self, node: int) -> None:
        """Do what `ray start --block` does on SIGTERM, and return when the machine has left."""
        self._ask("tell_to_leave", node)

    def close(self) -> None:
        """End everything, and leave nothing behind."""
        self._ask("close")
        self._process.communicate()

    def _ask(self, *words: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # Ray prints there, too
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise OSError(f"the cluster's process ended with {self._process.wait()}")


class Nodes:
    """The cluster in its own process; its methods are what `FleetCluster` asks for."""

    def __init__(self, folder: Path, gpus: int) -> None:
        from ray.cluster_utils import Cluster

        self._away = folder.joinpath(*["away"] * len(ROOT.parts))
        self._away.mkdir(parents=True)
        head = {"num_cpus": 0, "num_gpus": gpus, "include_dashboard": False, "object_store_memory": STORE}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[int, Any] = {}
        self._frozen: list[int] = []
        self._count = 0

    def join(self, cards: int, models: str) -> int:
        environment = {"FOOOCUS_MODELS_PATH": models} if models else {}
        resources = {"num_cpus": 0, "resources": {"card": cards}, "object_store_memory": STORE}
        self._count += 1
        for left in reversed(range(STARTS)):
            try:
                with chdir(self._away):  # see `out_of_sight`
                    self._nodes[self._count] = self.cluster.add_node(wait=False, env_vars=environment, **resources)
                break
            except Exception:  # Ray gives a node 30 s to start, and a busy machine needs longer
                if not left:
                    raise
        return self._count

    def kill(self, node: int) -> None:
        self.cluster.remove_node(self._nodes.pop(node), allow_graceful=False)
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._frozen = []

    def freeze(self, node: int) -> None:
        (raylet,) = self._nodes[node].all_processes["raylet"]
        self._frozen = [raylet.process.pid, *started(raylet.process.pid, lambda command: True)]
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def tell_to_leave(self, node: int) -> None:
        self._nodes[node]._drain_node_before_shutdown()
        self.cluster.remove_node(self._nodes.pop(node))

    def close(self) -> None:
        session = self.cluster.head_node.get_session_dir_path()
        self.cluster.shutdown()
        shutil.rmtree(session, ignore_errors=True)


def serve(folder: Path, gpus: int) -> None:
    """Do what is asked for on standard input, until it ends."""
    nodes = Nodes(folder, gpus)
    print(ANSWER + json.dumps(str(nodes.cluster.address)), flush=True)
    for line in sys.stdin:
        what, *words = json.loads(line)
        print(ANSWER + json.dumps(getattr(nodes, what)(*words)), flush=True)


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


LISTENS, ESTABLISHED = "0A", "01"
PIDFD_GETFD = 438
"""The call of Linux that gives one of another process's sockets."""


def cut(caller: int, called: int) -> int:
    """Break the connections by which a process calls another one, as a network does; how many there were.

    Raises:
        PermissionError: the machine lets no process have another one's sockets.
    """
    ports = {local for _, local, _, state in connections(called) if state == LISTENS}
    broken = [file for file, _, far, state in connections(caller) if state == ESTABLISHED and far in ports]
    process = os.pidfd_open(caller)
    for file in broken:
        ours = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, file, 0)
        if ours < 0:
            raise PermissionError(ctypes.get_errno(), "a socket cannot be had")
        with socket.socket(fileno=ours) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    os.close(process)
    return len(broken)


def connections(pid: int) -> Iterator[tuple[int, int, int, str]]:
    """A process's TCP sockets: the file's number, the ports here and there, and the state."""
    files = {}
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            files[str(file.readlink())] = int(file.name)
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, here, there, state, *rest = line.split()
            if (file := files.get(f"socket:[{rest[5]}]")) is not None:
                yield file, int(here.rpartition(":")[2], 16), int(there.rpartition(":")[2], 16), state


def out_of_sight(folder: Path) -> Path:
    """The same folder by a path that servers can follow and cards cannot, as if it lay on another machine's disk.

    It begins at the working directory, which is another one, and deeper, where the nodes are started.
    """
    up = Path(*[".."] * (len(ROOT.parts) - 1))
    return Path("/proc/self/cwd") / up / folder.resolve().relative_to("/")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
