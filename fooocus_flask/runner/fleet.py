"""The fleet as the web process sees it: the driver's process, kept running, and the cards that it offers.

The driver speaks for all cards over one socket; every frame names its card. Ray is imported there, never here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from time import monotonic
from typing import Protocol

import gevent
from flask import Flask
from gevent.event import Event

from engine import messages
from engine.backoff import Backoff
from engine.fleet import frames
from engine.fleet.frames import CardJoined, CardLeft, CardLost, FileBrought, Replace
from fooocus_flask.environment import ONE_ENGINE
from fooocus_flask.errors import StartError
from fooocus_flask.model_files.fleet_files import fleet_files
from fooocus_flask.runner import engines
from fooocus_flask.runner.coming_files import ComingFiles
from fooocus_flask.runner.downloader import downloader
from fooocus_flask.runner.engines import VISIBLE, EngineStart
from fooocus_flask.runner.process import SILENT, FrameProcess, ours

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a driver that is gone is started again; doubled while it offers no card."""

ADDRESS = re.compile(r"[^\s/]+:[0-9]{1,5}")
"""What FLEET may be."""
PLAIN_LOGS = {"RAY_COLOR_PREFIX": "0", "RAY_DEDUP_LOGS": "0"}
"""What has Ray write the cards' lines into the server's log as they are."""

Hear = Callable[[messages.Message | None], object]


class FleetWatcher(Protocol):
    """Who has a lane for each card."""

    def card_joined(self, card: str, machine: str) -> None:
        """A card takes tasks."""

    def card_left(self, card: str) -> None:
        """A card is gone for good; it was heard of before."""


class CardLink:
    """What a lane speaks to: a card, until its process or the driver is gone, or the lane has had enough of it."""

    def __init__(self, fleet: Fleet, card: str, hear: Hear) -> None:
        self._fleet, self._card, self.hear = fleet, card, hear
        self._reason = "the fleet's driver ended"
        self._open = True
        fleet.attach(card, self)

    def send(self, message: messages.Message) -> None:
        """Give the card something to do.

        Raises:
            OSError: it is gone.
        """
        if not self._open:
            raise ConnectionError(self._reason)
        self._fleet.send(self._card, message)

    def kill(self) -> None:
        """Have the card's process replaced, for it may not hear."""
        self.close()

    def lose(self, reason: str) -> None:
        """Hear that the card is gone."""
        self._open, self._reason = False, reason
        self.hear(None)

    def close(self) -> None:
        """Have nothing more to do with the card's process: one that still runs is replaced."""
        if self._open:
            self._open = False
            self._fleet.replace(self._card)

    def reason(self) -> str:
        """Why the card is gone."""
        return self._reason


class Fleet:
    """The driver of one application's fleet; `watcher` hears of the cards."""

    def __init__(self, app: Flask, watcher: FleetWatcher) -> None:
        self.app, self._watcher = app, watcher
        self._driver: FrameProcess | None = None
        self._machines: dict[str, str] = {}
        self._links: dict[str, CardLink] = {}
        self._ready: dict[str, messages.Ready] = {}
        """What each card said that takes tasks now."""
        self._told: dict[str, messages.Message] = {}
        """What each card's machine has, as it was told last."""
        self._coming = ComingFiles(app, self.send)
        self._gone = Event()
        self._heard, self._backoff = 0.0, Backoff(FIRST_DELAY, LONGEST_DELAY)
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Start the driver, and keep one running."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._supervise)

    def close(self) -> None:
        """End the driver, and so its cards."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()

    def attach(self, card: str, link: CardLink) -> None:
        """Have a card heard by this link from now on."""
        self._links[card] = link
        if card in self._told:
            link.hear(self._told[card])
        if card in self._ready:
            link.hear(self._ready[card])

    def send(self, card: str, message: messages.Message) -> None:
        """Give a card something to do.

        Raises:
            OSError: the driver is gone.
        """
        if self._driver is None:
            raise ConnectionError("the fleet's driver ended")
        self._driver.send_frame(frames.pack(card, message))

    def replace(self, card: str) -> None:
        """Have a card's process replaced by another one, which will say that it is ready."""
        if self._ready.pop(card, None) is not None and self._driver is not None:
            gevent.spawn(self._send_replace, card)

    def _send_replace(self, card: str) -> None:
        try:
            self.send(card, Replace())
        except OSError:  # the driver is gone, and the card with it
            log.info("The card %s went with its driver", card)

    def _supervise(self) -> None:
        """Keep a driver running, whatever happens to it."""
        while True:
            self._gone.clear()
            self._heard = monotonic()
            try:
                self._driver = self._started()
                self._attend(self._driver)
            except OSError as error:
                log.error("The fleet's driver cannot be started: %s", error)
            except Exception:  # a setting that no process can have, a bug: this loop must outlive them
                log.exception("The fleet's driver cannot be started")
            finally:
                driver, self._driver = self._driver, None
                self._lose_all()
                if driver is not None:
                    driver.close()
            log.error("The fleet's driver is gone; starting another in %.1f s", self._backoff.seconds)
            gevent.sleep(self._backoff.next())

    def _started(self) -> FrameProcess:
        config = self.app.config
        environment = SILENT | {name: value for name, value in config["ENGINE_ENVIRONMENT"].items() if name != VISIBLE}
        own = ["--address", config["FLEET"], "--environment", json.dumps(environment)]
        arguments = [*own, *engines.arguments(self.app, EngineStart(threads=config["ENGINE_THREADS"]))]
        return FrameProcess(ours("engine.fleet"), self._hear, frames.unpack, arguments, environment | PLAIN_LOGS)

    def _attend(self, driver: FrameProcess) -> None:
        """Wait until the driver is gone; one that is silent for too long is ended."""
        patience = self.app.config["ENGINE_START_TIMEOUT"]
        while not self._gone.wait(max(0.0, self._heard + patience - monotonic())):
            if monotonic() - self._heard >= patience:
                log.error("The fleet's driver was silent for %.0f s", patience)
                driver.kill()
                return
            patience = self.app.config["ENGINE_SILENCE"]

    def _hear(self, told: tuple[str, messages.Message] | None) -> None:
        """Take a frame of the driver's; it must not wait for anything."""
        self._heard = monotonic()
        if told is None:
            self._gone.set()
            return
        card, message = told
        if isinstance(message, CardJoined):
            self._backoff.reset()
            self._machines[card] = message.machine
            self._watcher.card_joined(card, message.machine)
        elif isinstance(message, CardLeft):
            self._lose(card, message.reason)
        elif isinstance(message, CardLost):
            link = self._links.get(card)  # none before its lane begins to listen
            self._coming.lose(card)
            if self._ready.pop(card, None) is not None and link is not None:
                link.lose(message.reason)
        elif isinstance(message, FileBrought):
            self._coming.hear(message)
        elif card in self._machines:  # what comes late of a card that left would be kept for ever
            self._note(card, message)
            if link := self._links.get(card):
                link.hear(message)

    def _note(self, card: str, message: messages.Message) -> None:
        """Keep what a lane must know that begins to listen later."""
        if isinstance(message, messages.Ready):
            self._ready[card] = message
        elif isinstance(message, frames.CardFiles):
            self._told[card] = message
            fleet_files.of(self.app).tell(card, message.own)
            if not downloader.of(self.app).idle:
                downloader.of(self.app).wake()  # somebody may wait for a model file that can come now

    def _lose(self, card: str, reason: str) -> None:
        """Have a card's lane know that it is gone for good."""
        log.warning("The card %s is gone: %s", card, reason)
        for kept in (self._machines, self._ready, self._told):
            kept.pop(card, None)
        self._coming.lose(card)
        self._watcher.card_left(card)
        if link := self._links.pop(card, None):
            link.lose(reason)

    def _lose_all(self) -> None:
        for card in list(self._machines):
            self._lose(card, "the fleet's driver ended")


def link_maker(fleet: Fleet, card: str) -> Callable[[Hear], CardLink]:
    """What gives the lane of a card its link, as often as need be."""
    return partial(CardLink, fleet, card)


def configured(app: Flask, watcher: FleetWatcher) -> Fleet | None:
    """The fleet that FLEET says, if it says any.

    Raises:
        StartError: it is no address, engines of this machine or a Fooocus are asked for beside it, or one of its cards,
            or Ray is not installed.
    """
    address = app.config["FLEET"]
    if address == "":
        return None
    if not isinstance(address, str) or not ADDRESS.fullmatch(address):
        raise StartError(f"FLEET is {address!r}; give the host and port of Ray's head, such as head:6379, or nothing")
    if app.config["PATH"]:
        asked = f"FLEET is {address!r} and FOOOCUS_PATH is {app.config['PATH']!r}"
        raise StartError(f"{asked}: the cards of a fleet draw with our engine, not with a Fooocus; give one of them")
    if ":" in app.config["DEVICE"]:
        asked = f"FLEET is {address!r} and DEVICE is {app.config['DEVICE']!r}"
        raise StartError(f"{asked}, one card of a machine: Ray gives each its card; give cuda, xpu, mps or cpu")
    if str(app.config["ENGINES"]) != ONE_ENGINE:
        asked = f"FLEET is {address!r} and ENGINES is {app.config['ENGINES']!r}"
        raise StartError(f"{asked}: the fleet draws on all of its cards; have this machine join it, and drop ENGINES")
    if find_spec("ray") is None:
        raise StartError("FLEET needs Ray: install fooocus-flask with its extra ray, or leave FLEET empty")
    return Fleet(app, watcher)
