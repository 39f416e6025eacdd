"""Rounds of one fault each: a server is hurt at a chosen moment, and must keep what it promised."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import eventually, gone
from tests.receiving import Receiver
from tests.serving import Server, engines

STATES = ("pending", "loading", "sampling", "saving", "webhook due")
VICTIMS = ("engine", "server")
"""Whom a round kills: with several engines all of them, or the server; and `ONE_OF_SEVERAL`."""
ONE_OF_SEVERAL = "one engine"
WORDS = {"loading": "Loading", "sampling": "Sampling step", "saving": "Saving"}
SETTINGS = {"FOOOCUS_ALLOW_PRIVATE_ADDRESSES": "true", "FOOOCUS_WEBHOOK_DELAYS": str([1] * 600)}
"""What a server of these rounds has: webhooks go to this machine, and are tried again as long as a round may last."""


class BrokenPromise(AssertionError):
    """A task was lost, stuck, or its picture is missing."""


@dataclass
class Round:
    """One server, the receiver of its webhooks, what it accepted in this round, and what became of it."""

    server: Server
    receiver: Receiver
    accepted: list[str] = field(default_factory=list)
    owed: set[str] = field(default_factory=set)

    def hurt(self, victim: str, state: str) -> None:
        """Kill the engine or the server while a task is in this state; a dead server is started again."""
        if state == "webhook due":
            self.owe()
        else:
            self.reach(state)
        self.accepted.append(self.server.submit())
        found = engines(self.server.process.pid)
        if victim in ("engine", ONE_OF_SEVERAL):
            for engine in found if victim == "engine" else [random.choice(found)]:
                os.kill(engine, signal.SIGKILL)
            return
        self.server.stop(signal.SIGKILL)
        if not all(map(gone, found)):
            raise BrokenPromise("an engine outlived its server")
        self.server.start()

    def reach(self, state: str) -> None:
        """Return while a task is in this state."""
        self.server.ready()
        if state == "pending":
            self.wait()
            return
        stream = self.server.follow(overwrite_step=40)
        self.accepted.append(stream.header("X-Task-Id"))
        while WORDS[state] not in (told := stream.event())["message"]:
            if told["message"] == "Finished":  # it was too quick to be seen in that state
                break
        stream.close()

    def owe(self) -> None:
        """Return when a task has ended whose receiver could not be bothered yet, and others wait."""
        self.receiver.answers = [503]
        task_id = self.server.ready().submit(webhook_url=self.receiver.url)
        self.accepted.append(task_id)
        self.owed.add(task_id)
        while self.receiver.take()[2]["task_id"] != task_id:
            pass  # told twice of what ended in an earlier round
        self.wait()

    def wait(self) -> None:
        """Have tasks wait."""
        self.accepted += [self.server.submit() for _ in range(3)]

    def check(self) -> None:
        """Every task that was acknowledged has ended, and every picture of a finished one is there.

        Raises:
            BrokenPromise: not so.
        """
        self.server.draw()  # comes last in the queue: with one engine, all others have ended before
        for task_id in self.accepted:
            record = self.outcome(task_id)
            if record["task_status"] != "finished":
                raise BrokenPromise(f"{task_id} is {record['task_status']}: {record['error']}")
            for url in record["result"]:
                reply = self.server.get(url.split(str(self.server.port), 1)[1])
                if reply.status != 200 or not reply.body:
                    raise BrokenPromise(f"{task_id} is finished, its picture {url} answers {reply.status}")
        lists = self.server.get("/tasks").json
        if lists["current"] or lists["pending"]:
            raise BrokenPromise(f"rows are stuck: {lists['current']} {lists['pending']}")
        self.check_webhooks()
        if left := list(leftovers(Path(self.server.instance) / "outputs")):
            raise BrokenPromise(f"half-written files are left: {left}")

    def outcome(self, task_id: str) -> dict[str, Any]:
        """The task's record once it has ended, or when nothing works any more."""

        def ended() -> dict[str, Any] | None:
            record: dict[str, Any] = self.server.get(f"/tasks/{task_id}").json
            return record if record["task_status"] not in ("pending", "running") else None

        return eventually(ended, f"{task_id} does not end", self.server.process.pid)

    def check_webhooks(self) -> None:
        """Whatever is owed is delivered to a receiver that is well again.

        Raises:
            BrokenPromise: not so.
        """
        self.receiver.answers = [200]
        for task_id in self.owed:
            try:
                delivered(self.server, task_id)
            except TimeoutError as error:
                raise BrokenPromise(str(error)) from None
        finished = {body["task_id"] for _, _, body in self.receiver.rest() if body["task_status"] == "finished"}
        if not self.owed <= finished:
            raise BrokenPromise(f"nobody was told of the end of {self.owed - finished}")


def delivered(server: Server, task_id: str) -> None:
    """Return when the record says that the receiver took what it is owed of this task."""

    def moment() -> int | None:
        (told,) = server.get(f"/tasks/{task_id}/deliveries").json
        return told["delivered_mills"]

    eventually(moment, f"nobody was told of {task_id}", server.process.pid)


def leftovers(outputs: Path) -> list[Path]:
    """Files under temporary names, which are no pictures."""
    kinds = {".png", ".jpg", ".jpeg", ".webp", ".html"}
    return [path for path in outputs.rglob("*") if path.is_file() and path.suffix not in kinds]


def play(server: Server, receiver: Receiver, victim: str, state: str, kind: type[Round] = Round) -> None:
    """One round.

    Raises:
        BrokenPromise: the server did not keep what it promised.
    """
    current = kind(server, receiver)
    current.hurt(victim, state)
    current.check()
