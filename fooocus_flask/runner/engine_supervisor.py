"""The supervisor of an engine: it starts the process, hears it, and replaces one that died, is silent or is stuck."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import gevent
from flask import Flask
from gevent.event import Event
from gevent.queue import Empty, Queue

from engine import messages
from engine.backoff import Backoff
from fooocus_flask import request_ids
from fooocus_flask.runner.link import EngineLink

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a dead engine is started again; doubled while it dies without having drawn anything."""

StartEngine = Callable[[Callable[[messages.Message | None], object]], EngineLink]
"""Starts one engine process, which calls its argument with each of its messages, and with None once it is gone."""


class EngineGone(Exception):
    """The engine process ended, or never got ready."""

    state = "starting"
    """The supervisor's state until another process is ready."""


class EngineStuck(EngineGone):
    """The engine process lives, and its work does not move."""

    state = "stuck"


class EngineUnusable(EngineGone):
    """No engine can draw as the settings have it; the text says which setting, and what would work."""

    state = "unusable"


@dataclass(frozen=True)
class Command:
    """A message to the engine, which waits for its turn."""

    message: messages.Message


Mail = messages.Message | Command | None
"""What the supervisor handles in order: a message of the engine's, one to the engine, or that the engine is gone."""


class EngineListener(Protocol):
    """The user of a supervised engine: a lane."""

    @property
    def request_id(self) -> str | None:
        """The request that the engine works for now, which the log names."""

    def take(self, message: messages.Message) -> None:
        """Act on a message of the engine's that is about its work."""

    def engine_ready(self) -> None:
        """The engine takes tasks from now on."""

    def engine_gone(self) -> None:
        """The engine takes nothing any more; its process may still run."""

    def engine_ended(self, reason: str) -> None:
        """The engine's process has ended, so that its tasks can be drawn by another one."""


class EngineSupervisor:
    """Keeps one engine process running, whatever happens to it.

    `start_engine` starts each process; `name` is the lane's, for the log.
    """

    def __init__(self, app: Flask, name: str, start_engine: StartEngine, listener: EngineListener) -> None:
        self.app, self.name = app, name
        self.ready = Event()
        """Set while the engine takes tasks."""
        self.engine: EngineLink | None = None
        """The process that runs now."""
        self.beat: messages.Beat | None = None
        """Its last sign of life."""
        self.device = ""
        """The name of the card or processor that it computes on, once that is known."""
        self.problem = ""
        """Why no engine can draw as the settings have it, if that is so."""
        self.greenlet: gevent.Greenlet | None = None
        self._start_engine, self._listener = start_engine, listener
        self._mail: Queue[Mail] = Queue()
        self._heard = 0.0
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        self._awaited = EngineGone.state
        self._retired = Event()

    def start(self) -> None:
        """Start the engine process, and keep one running."""
        self.greenlet = gevent.spawn(self._supervise)

    def retire(self, ended: Callable[[], object]) -> None:
        """Start no other engine process; `ended` is called once the present one has ended and its tasks are let go."""
        self._retired.set()
        self._mail.put(None)
        if self.greenlet is not None:
            self.greenlet.link(lambda _: ended())

    @property
    def retired(self) -> bool:
        """Whether no other engine process will be started."""
        return bool(self._retired.is_set())

    @property
    def state(self) -> str:
        """`ready` where the engine takes tasks; else why it does not: `starting`, `stuck` or `unusable`."""
        return "ready" if self.ready.is_set() else self._awaited

    def send(self, message: messages.Message) -> bool:
        """Send the engine a message, after those that were sent before; whether there is an engine."""
        if self.engine is None:
            return False
        self._mail.put(Command(message))
        return True

    def _supervise(self) -> None:
        while not self._retired.is_set():
            self._mail, self._heard = Queue(), monotonic()
            try:
                self.engine = self._start_engine(self._mail.put)
                self._attend(self.engine)
            except EngineUnusable as error:
                reason, self._awaited, self._backoff.seconds = str(error), error.state, LONGEST_DELAY
                if reason != self.problem:
                    log.error(
                        "The lane %s cannot draw: %s. It is tried again every %.0f s", self.name, reason, LONGEST_DELAY
                    )
                self.problem = reason
            except (EngineGone, OSError) as error:
                with request_ids.after(self._listener.request_id):
                    log.error(
                        "The engine process is gone (%s); starting another in %.1f s", error, self._backoff.seconds
                    )
                reason, self._awaited = str(error), getattr(error, "state", EngineGone.state)
            except Exception as error:
                log.exception("The engine process is started again in %.1f s", self._backoff.seconds)
                reason, self._awaited = f"{type(error).__name__}: {error}", EngineGone.state
            finally:
                self._close()
            self._listener.engine_ended(reason)
            self._retired.wait(self._backoff.next())

    def _close(self) -> None:
        """End the engine process, which may take seconds; the listener hears of it before."""
        self.ready.clear()
        engine, self.engine, self.beat = self.engine, None, None
        self._listener.engine_gone()
        if engine is not None:  # there may have been no room for another process
            engine.close()

    def _attend(self, engine: EngineLink) -> None:
        """Handle the engine's messages, and the commands to it, for ever.

        Raises:
            EngineGone: the engine ended, is stuck, or cannot draw as the settings have it.
        """
        while True:
            mail = self._next_mail()
            if mail is None:
                raise EngineGone(engine.reason())
            if isinstance(mail, messages.Unusable):
                raise EngineUnusable(mail.reason)
            if isinstance(mail, Command):
                self._send(engine, mail.message)
            else:
                self._take(mail)

    def _next_mail(self) -> Mail:
        """Wait for the next mail.

        Raises:
            EngineGone: the engine was silent for too long.
        """
        ready = self.ready.is_set()
        patience = self.app.config["ENGINE_SILENCE" if ready else "ENGINE_START_TIMEOUT"]
        try:
            mail: Mail = self._mail.get(timeout=max(0.0, self._heard + patience - monotonic()))
        except Empty:
            self._kill()
            raise EngineGone(f"{'silent for' if ready else 'not ready after'} {patience:.0f} s") from None
        # Before it is ready, signs of life don't count: it must get ready in time.
        if (ready and not isinstance(mail, Command)) or isinstance(mail, messages.Ready):
            self._heard = monotonic()
        return mail

    def _send(self, engine: EngineLink, message: messages.Message) -> None:
        """Send the engine a message now.

        Raises:
            EngineGone: the engine takes nothing for too long.
        """
        patience = self.app.config["ENGINE_SILENCE"]
        with gevent.Timeout(patience, EngineGone(f"took nothing for {patience:.0f} s")):
            engine.send(message)

    def _take(self, message: messages.Message) -> None:
        """Act on a message of the engine's: the supervisor on those about the engine, the listener on all others."""
        if isinstance(message, messages.Ready):
            log.info("The engine is ready: %s, torch %s (lane %s)", message.device, message.torch, self.name)
            self.device, self.problem = message.device, ""
            self.ready.set()
            self._listener.engine_ready()
        elif isinstance(message, messages.Beat):
            self.beat = message
            self._judge(message)
        else:
            self._listener.take(message)
            if isinstance(message, messages.Ended):
                self._backoff.reset()

    def _judge(self, beat: messages.Beat) -> None:
        """End an engine whose work has not moved for too long.

        Raises:
            EngineStuck: it has not.
        """
        config = self.app.config
        allowed = [config["ENGINE_LOAD_PATIENCE" if at == "load" else "ENGINE_STEP_PATIENCE"] for at in beat.stages]
        if self.ready.is_set() and allowed and beat.still >= max(allowed):
            self._kill()
            raise EngineStuck(f"stuck for {beat.still:.0f} s at: {', '.join(beat.stages)}")

    def _kill(self) -> None:
        if self.engine is not None:
            self.engine.kill()
