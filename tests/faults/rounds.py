"""Rounds of one fault each: a server is hurt at a chosen moment, and must keep what it promised."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.serving import Server, engines, gone

STATES = ("pending", "loading", "sampling", "saving")
VICTIMS = ("engine", "server")
WORDS = {"loading": "Loading", "sampling": "Sampling step", "saving": "Saving"}


class BrokenPromise(AssertionError):
    """A task was lost, stuck, or its picture is missing."""


@dataclass
class Round:
    """One server, what it accepted, and what became of it."""

    server: Server
    accepted: list[str] = field(default_factory=list)

    def hurt(self, victim: str, state: str) -> None:
        """Kill the engine or the server while a task is in this state; a dead server is started again."""
        reach(self.server, state, self.accepted)
        self.accepted.append(self.server.submit())
        found = engines(self.server.process.pid)
        if victim == "engine":
            for engine in found:
                os.kill(engine, signal.SIGKILL)
            return
        self.server.stop(signal.SIGKILL)
        if not all(map(gone, found)):
            raise BrokenPromise("an engine outlived its server")
        self.server.start()

    def check(self) -> None:
        """Every task that was acknowledged has ended, and every picture of a finished one is there.

        Raises:
            BrokenPromise: not so.
        """
        self.server.draw()  # comes last in the queue, so that all others have ended before
        for task_id in self.accepted:
            record = self.server.get(f"/tasks/{task_id}").json
            if record["task_status"] != "finished":
                raise BrokenPromise(f"{task_id} is {record['task_status']}: {record['error']}")
            for url in record["result"]:
                reply = self.server.get(url.split(str(self.server.port), 1)[1])
                if reply.status != 200 or not reply.body:
                    raise BrokenPromise(f"{task_id} is finished, its picture {url} answers {reply.status}")
        lists = self.server.get("/tasks").json
        if lists["current"] or lists["pending"]:
            raise BrokenPromise(f"rows are stuck: {lists['current']} {lists['pending']}")
        if left := list(leftovers(Path(self.server.instance) / "outputs")):
            raise BrokenPromise(f"half-written files are left: {left}")


def reach(server: Server, state: str, accepted: list[str]) -> None:
    """Return while a task is in this state; its id joins the accepted ones."""
    server.ready()
    if state == "pending":
        accepted += [server.submit() for _ in range(3)]
        return
    stream = server.follow(overwrite_step=40)
    accepted.append(stream.header("X-Task-Id"))
    while WORDS[state] not in (told := stream.event())["message"]:
        if told["message"] == "Finished":  # it was too quick to be seen in that state
            break
    stream.close()


def leftovers(outputs: Path) -> list[Path]:
    """Files under temporary names, which are no pictures."""
    kinds = {".png", ".jpg", ".jpeg", ".webp", ".html"}
    return [path for path in outputs.rglob("*") if path.is_file() and path.suffix not in kinds]


def play(make: Callable[[], Server], victim: str, state: str) -> None:
    """One round from start to end."""
    current = Round(make())
    try:
        current.hurt(victim, state)
        current.check()
    finally:
        if current.server.process.poll() is None:
            current.server.stop()
