"""The runner: gives the tasks of the queue to lanes that draw them, and tells lanes what clients want of them.

This is the seam between the service and whatever draws: `start`, `stop`, `skip`, `inspect`, `close`, and the signals
that lanes send. A lane draws one task at a time; there is one, or as many as ENGINES says, or one for each card that
the fleet has just now. Only the runner claims tasks, one after another, however many lanes are free.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import gevent
from flask import Flask
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from engine import messages
from fooocus_flask import request_ids, signals
from fooocus_flask.environment import ONE_ENGINE
from fooocus_flask.extension import Extension
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.pictures import outputs, retention
from fooocus_flask.pictures.folder_storage import StorageFault
from fooocus_flask.pictures.storage import storage
from fooocus_flask.runner import engines, fleet
from fooocus_flask.runner.engines import EngineStart
from fooocus_flask.runner.fleet_lane import FleetLane
from fooocus_flask.runner.inspections import EngineAway
from fooocus_flask.runner.lane import (
    DATABASE_DELAY,
    FIRST_DELAY,
    LONGEST_DELAY,
    MOST_ATTEMPTS,
    Lane,
    too_often,
    until_stored,
)
from fooocus_flask.runner.uploads import uploads
from fooocus_flask.tables import FAILED, PENDING, STOPPED, Task
from fooocus_flask.tasks import live, queue

log = logging.getLogger(__name__)

UNREADABLE = "The task's parameters are of another version of this program and cannot be read; send the request again"


class Runner:
    """Draws the tasks of one application, as many at once as it has lanes."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.ready = Event()
        """Set while some lane takes tasks."""
        self.lanes: list[Lane] = []
        """None before the graphics cards are counted, where there may be several."""
        self.fleet = fleet.configured(app, self)
        """Its cards come and go, each with its lane."""
        if self.fleet is None and str(app.config["ENGINES"]) == ONE_ENGINE:
            self._make(engines.planned(app, cards=0))
        self.draining = False
        self._news = Event()
        self._claiming = BoundedSemaphore(1)
        self._head: int | None = None
        self._head_since = 0.0
        self._greenlet: gevent.Greenlet | None = None

    def _make(self, starts: list[EngineStart]) -> None:
        self.lanes = [
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
        return uploads.of(self.app).task_ids.union(*(lane.task_ids for lane in self.lanes))

    @property
    def state(self) -> str:
        """`ready` where some lane takes tasks; else why they wait: `starting`, `stuck` or `stopping`."""
        if self.draining:
            return "stopping"
        states = [lane.state for lane in self.lanes] or ["starting"]
        return next((state for state in ("ready", "starting") if state in states), "stuck")

    def drain(self, seconds: float) -> bool:
        """Begin nothing more, and wait this long for the tasks under way; whether they have ended."""
        self.draining = True
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
            lane.leave()
        with self.app.app_context():
            for task_id in left:
                queue.give_back(task_id)
        if self.fleet is not None:
            self.fleet.close()
        gevent.killall([lane.greenlet for lane in self.lanes if lane.greenlet])

    def card_joined(self, card: str, machine: str) -> None:
        """Have a lane for a card of the fleet."""
        assert self.fleet is not None
        lane = FleetLane(self.app, card, machine, fleet.link_maker(self.fleet, card), self._look_again)
        self.lanes.append(lane)
        lane.start()
        log.info("The card %s of the machine %s joined: %d lanes", card, machine, len(self.lanes))

    def card_left(self, card: str) -> None:
        """Have no lane for a card of the fleet, once its task is let go."""
        for lane in [lane for lane in self.lanes if lane.name == card and not lane.retired]:
            lane.retire(partial(self._forget, lane))

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
        self._tell(messages.Stop(task.task_id), task)
        return True

    def skip(self, task: Task) -> bool:
        """Drop the picture that is being drawn; whether this task is drawing one."""
        return self._tell(messages.Skip(task.task_id), task)

    def inspect(self, purpose: str, options: Mapping[str, Any], picture: bytes) -> messages.Seen:
        """Have an engine look at a picture's file, one that draws nothing if there is; see `messages.Look`.

        Raises:
            FooocusError: nothing came of it; the status tells why.
        """
        self.start()
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

    def _tell(self, message: messages.Message, task: Task) -> bool:
        """Tell the engine that draws a task something about it; whether one does."""
        with self._claiming:  # a task that is being claimed has its lane afterwards
            lane = next((lane for lane in self.lanes if task.task_id in lane.task_ids), None)
        return lane is not None and lane.tell(message)

    def _look_again(self) -> None:
        """See what a lane's change makes possible."""
        ready = sum(lane.ready.is_set() for lane in self.lanes)
        (self.ready.set if ready else self.ready.clear)()
        live.capacity.of(self.app).lanes = max(1, ready)
        self._news.set()

    def _work(self) -> None:
        """Have lanes, and give them tasks, for ever."""
        if self.fleet is not None:
            self.fleet.start()
        elif not self.lanes:
            self._make(engines.planned(self.app, self._counted_cards()))
            log.info("%d engines draw, lanes 0 to %d", len(self.lanes), len(self.lanes) - 1)
        for lane in self.lanes:
            lane.start()
        self._fetch_inputs()
        while True:
            self._news.wait()
            self._news.clear()
            try:
                until_stored(self.app, self._assign_all)
            except Exception:  # a folder that may not be read, a bug: this loop must outlive them
                log.exception("The queue is looked at again in %.1f s", DATABASE_DELAY)
                gevent.sleep(DATABASE_DELAY)
                self._news.set()

    def _fetch_inputs(self) -> None:
        """Have the inputs of the tasks that wait, before one is drawn; asked again until the bucket answers."""
        delay = FIRST_DELAY
        while True:
            try:
                until_stored(self.app, retention.fetch_needed)
                return
            except StorageFault as fault:
                log.error("The inputs of waiting tasks cannot be had: %s", fault.reason)
            gevent.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _counted_cards(self) -> int:
        """How many graphics cards there are; asked again until that is known."""
        delay = FIRST_DELAY
        while True:
            try:
                return engines.counted_cards(self.app)
            except engines.CardsUnknown as error:
                log.error("The graphics cards cannot be counted (%s); trying again in %.1f s", error, delay)
            gevent.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _free(self) -> list[Lane]:
        """The lanes that may be given a task."""
        return [] if self.draining else [lane for lane in self.lanes if lane.free]

    def _assign_all(self) -> None:
        """Give tasks to lanes as long as there are both."""
        while self._free() and self._assign():
            pass

    def _assign(self) -> bool:
        """Give the next task to a lane; whether there was one."""
        with self._claiming:
            task = self._claim()
            if task is None:
                return False
            tasks = [task, *self._others(task)]
            free = self._free()
            if not free:  # the last one's engine died meanwhile
                for each in tasks:
                    queue.give_back(each.task_id)
                return False
            lane = min(free, key=partial(aptness, task))
            draws = [replace(draw_message(self.app, each), together=len(tasks)) for each in tasks]
            if len(tasks) == 1:
                lane.give(task, draws[0])
            else:
                lane.give_together(tasks, draws)
        return True

    def _others(self, task: Task) -> list[Task]:
        """The tasks, now running too, that are drawn as one batch with this one: as many as BATCH_TASKS admits.

        None while another lane is free, and none with one that an engine did not survive, which its batch may have
        caused. The engines of a fleet, and Fooocus as an engine, draw one task at a time.
        """
        most = self.app.config["BATCH_TASKS"]
        alone = self.fleet is not None or checkout.of(self.app) is not None or len(self._free()) > 1
        if most < 2 or alone or task.attempts > 1:
            return []
        return queue.claim_alike(task, most - 1)

    def _claim(self) -> Task | None:
        """The next task that is to be drawn: one left in the middle, which no lane draws, else one that waits."""
        while (task := queue.reclaim(self.task_ids) or queue.claim(*self._preference())) is not None:
            if task.stop_asked:
                queue.end(task.task_id, STOPPED)
            elif task.files is None:
                queue.end(task.task_id, FAILED, error=UNREADABLE, failure="engine")
            elif task.attempts > MOST_ATTEMPTS:
                queue.end(task.task_id, FAILED, error=too_often("with its server"), failure="engine")
            else:
                break
        return task

    def _preference(self) -> tuple[frozenset[str | None], float]:
        """The checkpoints that free lanes hold, and how many seconds before its turn a task goes first that wants one.

        None once the first task in the queue has seen others go first for so long.
        """
        seconds = self.app.config["AFFINITY_SECONDS"]
        if len(self.lanes) == 1 or not seconds:
            return frozenset(), 0.0
        head = queue.head()
        if head != self._head:
            self._head, self._head_since = head, monotonic()
        if monotonic() - self._head_since >= seconds:
            return frozenset(), 0.0
        return frozenset(name for lane in self._free() for name in lane.checkpoints), seconds


def aptness(task: Task, lane: Lane) -> tuple[bool, bool, bool, float]:
    """What is least for the lane that a task should go to: it holds its checkpoint, or its machine has the file, or it
    holds nothing, or was long unused."""
    return task.checkpoint not in lane.checkpoints, not lane.has(task.checkpoint), bool(lane.checkpoints), lane.used


def draw_message(app: Flask, task: Task) -> messages.Draw:
    """What an engine is told to draw a task."""
    return messages.Draw(
        task.task_id,
        task.req_params,
        [str(outputs.folder() / path) for path in task.files or ()],
        task.checkpoint,
        task.notes,
        log=not app.config["DISABLE_IMAGE_LOG"] and not storage.of(app).remote,
        inputs=str(app.config["INPUT_PATH"]),
        request_id=task.request_id or request_ids.NONE,
    )


runner = Extension("fooocus-runner", Runner)
"""It starts when serving begins, or with the first task."""


@signals.task_submitted.connect
def wake(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    runner.of(app).wake()


@signals.queue_resumed.connect
@signals.files_arrived.connect
def go_on(app: Flask, **_: Any) -> None:
    """Have the runner look into the queue."""
    runner.of(app).wake()
