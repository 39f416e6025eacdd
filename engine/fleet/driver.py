"""The driver of the fleet: between the frames of the web process and the actors of Ray.

It puts a card on each graphics card of each machine of the cluster, sees machines come and go, and hands on what the
web process asks of a card, and what the card tells.
"""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, sleep
from typing import Any

import ray
from ray._private.state import state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.files.catalogue import Catalogue
from engine.files.hashes import HashCache
from engine.fleet import frames
from engine.fleet.card import GROUPS, CardActor, CardStart
from engine.fleet.file_sender import FileSender
from engine.fleet.frames import BringFile, Follow, Replace
from engine.fleet.needed import HeadFiles
from engine.fleet.remote_card import RemoteCard
from engine.messages import Beat, Draw, Look, Message, Skip, Stop, Unload
from engine.process.channel import Channel

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds between two looks at which machines there are."""
CARD = "card"
"""The resource that a machine without graphics cards declares for each task that it draws at once."""


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster: its number there, its host's name, how many cards of which resource it has."""

    node_id: str
    host: str
    cards: int
    resource: str


@dataclass
class Present:
    """A machine that draws: its cards by name, and what comes to it."""

    machine: Machine
    sender: FileSender
    cards: dict[str, RemoteCard] = field(default_factory=dict)


class Driver:
    """The cards of the cluster that Ray is connected to, and the `channel` to the web process."""

    def __init__(self, channel: Channel, arguments: Namespace, words: Sequence[str]) -> None:
        self._channel, self._words, self._every = channel, words, arguments.beat
        self._environment: Mapping[str, str] = arguments.environment
        self._head = HeadFiles(Catalogue(arguments.folders), HashCache(arguments.hashes))
        self._present: dict[str, Present] = {}
        self._cards: dict[str, RemoteCard] = {}
        remote: Any = ray.remote  # whose hints know only its own options
        self._actor = remote(concurrency_groups=GROUPS)(CardActor)

    def send(self, card: str, message: Message) -> None:
        """Tell the web process something of a card; of the driver itself without a name."""
        self._channel.send_frame(frames.pack(card, message))

    def watch(self) -> None:
        """See machines come and go, and tell that all live, for ever."""
        looked = -LOOK_EVERY
        try:
            while True:
                if monotonic() - looked >= LOOK_EVERY:
                    looked = monotonic()
                    self._see(list(machines()), set(draining()))
                for card in list(self._cards.values()):
                    card.pulse()
                self.send("", Beat())
                sleep(min(self._every, LOOK_EVERY))
        except BaseException:
            log.exception("the fleet's driver ends")
            os._exit(1)

    def obey(self, card: str, message: Message) -> None:
        """Hand on what the web process asks of a card; one that is gone was told to be."""
        remote = self._cards.get(card)
        if remote is None:
            log.info("%s came too late for the card %s", type(message).__name__, card)
        elif isinstance(message, Draw):
            remote.take(message)
        elif isinstance(message, Stop):
            remote.stop(message.task_id)
        elif isinstance(message, Skip):
            remote.actor.skip.remote(message.task_id)
        elif isinstance(message, Follow):
            remote.follow(message.task_id, message.followed)
        elif isinstance(message, Look):
            remote.look(message)
        elif isinstance(message, Unload):
            remote.actor.unload.remote()
        elif isinstance(message, BringFile):
            remote.bring(message)
        elif isinstance(message, Replace):
            remote.replace()

    def _see(self, there: list[Machine], leaving: set[str]) -> None:
        """Take in the machines that came, let those go that left, and those leave that are to."""
        by_id = {machine.node_id: machine for machine in there}
        for node_id, present in list(self._present.items()):
            machine = present.machine
            if node_id not in by_id:
                log.warning("The machine %s is gone", machine.host)
                self._let_go(node_id, "its machine is gone", at_once=True)
            elif node_id in leaving and present.cards:
                log.info("The machine %s leaves", machine.host)
                self._let_go(node_id, "its machine left", at_once=False)
        for node_id in by_id.keys() - self._present.keys() - leaving:
            self._take_in(by_id[node_id])

    def _let_go(self, node_id: str, why: str, *, at_once: bool) -> None:
        present = self._present.pop(node_id) if at_once else self._present[node_id]
        for card in present.cards.values():
            card.leave(why, at_once=at_once)
        present.cards = {}

    def _take_in(self, machine: Machine) -> None:
        """Put a card on each of the machine's graphics cards."""
        present = self._present[machine.node_id] = Present(machine, FileSender(machine.host))
        for number in range(machine.cards):
            name = f"{machine.host}-{number}"
            if name in self._cards and self._cards[name].is_alive():  # machines of one name
                name = f"{machine.host}-{machine.node_id[:6]}-{number}"
            start = CardStart(name, self._words, self._environment, machine.cards)
            make_actor = partial(self._actor.options(**self._options(machine)).remote, start)
            card = RemoteCard(name, make_actor, self._head, present.sender, self.send)
            present.cards[name] = self._cards[name] = card
            card.start()
        log.info("The machine %s has %d cards", machine.host, machine.cards)

    def _options(self, machine: Machine) -> dict[str, Any]:
        wanted = {"num_gpus": 1} if machine.resource == "GPU" else {"resources": {machine.resource: 1}}
        place = NodeAffinitySchedulingStrategy(machine.node_id, soft=False)
        return {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": place, **wanted}


def machines() -> Iterator[Machine]:
    """The machines of the cluster that have cards."""
    for node in ray.nodes():
        resources = node["Resources"]
        resource = "GPU" if resources.get("GPU") else CARD
        if node["Alive"] and (cards := int(resources.get(resource, 0))):
            yield Machine(node["NodeID"], node["NodeManagerHostname"], cards, resource)


def draining() -> Iterator[str]:
    """The numbers of the machines that are to leave (`ray drain-node`)."""
    yield from state.get_draining_nodes()
