"""The runner: the lanes that draw the queue's tasks, and what clients want of them.

This is the seam between the service and whatever draws: `start`, `stop`, `skip`, `inspect`, `close`, and the signals
that lanes send. There is one lane, or as many as ENGINES says, or one for each card that the fleet has just now.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

import gevent
from flask import Flask
from gevent.event import Event

from engine import messages
from engine.backoff import Backoff
from fooocus_flask import signals
from fooocus_flask.environment import ONE_ENGINE
from fooocus_flask.extension import Extension
from fooocus_flask.pictures import retention
from fooocus_flask.pictures.folder_storage import StorageFault
from fooocus_flask.runner import engines, fleet
from fooocus_flask.runner.database_retry import DATABASE_DELAY, until_stored
from fooocus_flask.runner.dispatcher import Dispatcher
from fooocus_flask.runner.engine_supervisor import FIRST_DELAY, LONGEST_DELAY, EngineUnusable
from fooocus_flask.runner.engines import EngineStart
from fooocus_flask.runner.fleet_lane import FleetLane
from fooocus_flask.runner.inspections import EngineAway, NoUsableEngine
from fooocus_flask.runner.lane import Lane
from fooocus_flask.runner.uploads import uploads
from fooocus_flask.tables import PENDING, STOPPED, Task
from fooocus_flask.tasks import live, queue

log = logging.getLogger(__name__)


class Runner:
    """Has the tasks of one application drawn, as many at once as there are lanes."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.ready = Event()
        """Set while some lane takes tasks."""
        self.lanes: list[Lane] = []
        """None before the graphics cards are counted, where there may be several; the dispatcher has the same list."""
        self.dispatcher = Dispatcher(app, self.lanes)
        self.fleet = fleet.configured(app, self)
        """Its cards come and go, each with its lane."""
        if self.fleet is None and str(app.config["ENGINES"]) == ONE_ENGINE:
            self._make(engines.planned(app, cards=0))
        self._news = Event()
        self._greenlet: gevent.Greenlet | None = None

    def _make(self, starts: list[EngineStart]) -> None:
        self.lanes[:] = [
            Lane(self.app, str(start.number), engines.starter(self.app, start), self._look_again) for start in starts
        ]

    def start(self) -> None:
        """Start the engine processes and go on with the queue; once is enough."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._work)
            atexit.register(self.close)

    @property
    def task_ids(self) -> frozenset[str]:
        """The tasks that are drawn now, or end once their pictures are in the bucket."""
        return self.dispatcher.task_ids

    @property
    def state(self) -> str:
        """`ready` where some lane takes tasks; else why they wait: `starting`, `stuck`, `unusable` or `stopping`."""
        if self.dispatcher.draining:
            return "stopping"
        states = [lane.state for lane in self.lanes] or ["starting"]
        return next(state for state in ("ready", "starting", "stuck", "unusable") if state in states)

    @property
    def problem(self) -> str:
        """Why no engine can draw as the settings have it, if that is so."""
        unusable = self.state == EngineUnusable.state
        return next((lane.supervisor.problem for lane in self.lanes), "") if unusable else ""

    def drain(self, seconds: float) -> bool:
        """Begin nothing more, and wait this long for the tasks under way; whether they have ended."""
        begun, self.dispatcher.draining = self.dispatcher.draining, True
        if self.task_ids and seconds > 0 and not begun:  # under gunicorn two ask for it
            log.info("Tasks under way may end before the server stops: %d, within %.0f s", len(self.task_ids), seconds)
        deadline = monotonic() + seconds
        idle = all(lane.idle.wait(max(0.0, deadline - monotonic())) for lane in [*self.lanes])
        return uploads.of(self.app).drain(max(0.0, deadline - monotonic())) and idle

    def close(self) -> None:
        """End the engine processes; their tasks will be drawn when a server starts again."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is None:
            return
        atexit.unregister(self.close)
        greenlet.kill()
        left = uploads.of(self.app).close()
        for lane in self.lanes:
            lane.tasks.give_back()
        with self.app.app_context():
            for task_id in left:
                queue.give_back(task_id)
        if self.fleet is not None:
            self.fleet.close()
        gevent.killall([lane.supervisor.greenlet for lane in self.lanes if lane.supervisor.greenlet])

    def card_joined(self, card: str, machine: str) -> None:
        """Have a lane for a card of the fleet."""
        assert self.fleet is not None
        lane = FleetLane(self.app, card, machine, fleet.link_maker(self.fleet, card), self._look_again)
        self.lanes.append(lane)
        lane.supervisor.start()
        log.info("The card %s of the machine %s joined: %d lanes", card, machine, len(self.lanes))

    def card_left(self, card: str) -> None:
        """Have no lane for a card of the fleet, once its task is let go."""
        for lane in [lane for lane in self.lanes if lane.name == card and not lane.supervisor.retired]:
            lane.supervisor.retire(partial(self._forget, lane))

    def _forget(self, lane: Lane) -> None:
        self.lanes.remove(lane)
        self._look_again()

    def wake(self) -> None:
        """Look into the queue."""
        self.start()
        self._news.set()

    def stop(self, task: Task) -> bool:
        """End a task that waits or runs; whether there was something to end."""
        if queue.end(task.task_id, STOPPED, only=PENDING) is not None:
            return True
        if not queue.ask_to_stop(task.task_id):
            return False
        self._send(messages.Stop(task.task_id), task)
        return True

    def skip(self, task: Task) -> bool:
        """Drop the picture that is being drawn; whether this task is drawing one."""
        return self._send(messages.Skip(task.task_id), task)

    def inspect(self, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have an engine look at a picture's file: one that draws nothing, if there is one.

        Raises:
            FooocusError: the engine saw nothing; the error's status says why.
        """
        self.start()
        if self.problem:
            raise NoUsableEngine(self.problem)
        self.ready.wait(self.app.config["ENGINE_START_TIMEOUT"])
        ready = [lane for lane in self.lanes if lane.ready.is_set()]
        if not ready:
            raise EngineAway("The engine is not ready")
        lane = min(ready, key=lambda lane: (not lane.free, lane.inspections.waiting))
        return lane.inspect(purpose, options, picture)

    def unload(self) -> None:
        """Have every engine drop its models, after the task under way."""
        for lane in self.lanes:
            lane.unload()

    def _send(self, message: messages.Message, task: Task) -> bool:
        """Send a message about a task to the engine that draws it; whether one does."""
        lane = self.dispatcher.lane_of(task.task_id)
        return lane is not None and lane.supervisor.send(message)

    def _look_again(self) -> None:
        """Count the lanes that take tasks, and look into the queue, for a lane has changed."""
        ready = sum(lane.ready.is_set() for lane in self.lanes)
        (self.ready.set if ready else self.ready.clear)()
        live.capacity.of(self.app).lanes = max(1, ready)
        self._news.set()

    def _work(self) -> None:
        """Start the lanes, and have tasks given to them, for ever."""
        if self.fleet is not None:
            self.fleet.start()
        elif not self.lanes:
            self._make(engines.planned(self.app, self._counted_cards()))
            log.info("%d engines draw, lanes 0 to %d", len(self.lanes), len(self.lanes) - 1)
        for lane in self.lanes:
            lane.supervisor.start()
        self._fetch_inputs()
        while True:
            self._news.wait()
            self._news.clear()
            try:
                until_stored(self.app, self.dispatcher.assign_all)
            except Exception:  # a folder that may not be read, a bug: this loop must outlive them
                log.exception("The queue is looked at again in %.1f s", DATABASE_DELAY)
                gevent.sleep(DATABASE_DELAY)
                self._news.set()

    def _fetch_inputs(self) -> None:
        """Have the inputs of the tasks that wait, before one is drawn; asked again until the bucket answers."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                until_stored(self.app, retention.fetch_needed)
                return
            except StorageFault as fault:
                log.error("The inputs of waiting tasks cannot be had: %s", fault.reason)
            gevent.sleep(backoff.next())

    def _counted_cards(self) -> int:
        """How many graphics cards there are; asked again until that is known."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                return engines.counted_cards(self.app)
            except engines.CardsUnknown as error:
                log.error("The graphics cards cannot be counted (%s); trying again in %.1f s", error, backoff.seconds)
            gevent.sleep(backoff.next())


runner = Extension("fooocus-runner", Runner)
"""It starts when serving begins, or with the first task."""


@signals.task_submitted.connect
@signals.queue_resumed.connect
@signals.files_arrived.connect
def wake(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    runner.of(app).wake()
