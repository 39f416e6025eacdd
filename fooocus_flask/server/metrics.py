"""What the service counts and measures, for Prometheus: each application has a registry of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

import gevent
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from fooocus_flask import signals
from fooocus_flask.database import db
from fooocus_flask.extension import Extension
from fooocus_flask.following import webhooks
from fooocus_flask.runner.lane import Lane
from fooocus_flask.runner.runner import runner
from fooocus_flask.server import descriptors
from fooocus_flask.tables import ENDED, PENDING, RUNNING, Task

LAG_EVERY = 1.0
"""Seconds between two looks at how late the hub is."""
STAGE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods counted by their names; clients may make up others, and each label is kept for ever."""
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """One application's counters; what the database knows is read when it is asked for."""

    def __init__(self, app: Flask) -> None:
        self.registry = CollectorRegistry()
        self.ended = Counter(
            "fooocus_tasks_ended", "Tasks that ended since the start.", ["status"], registry=self.registry
        )
        self.stages = Histogram(
            "fooocus_stage_seconds",
            "What a stage of a task took.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.deliveries = Counter(
            "fooocus_webhook_tries", "Webhooks sent, or not to be sent.", ["outcome"], registry=self.registry
        )
        self.requests = Histogram(
            "fooocus_http_request_seconds",
            "From a request to the head of its answer.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.lag = Histogram(
            "fooocus_hub_lag_seconds",
            "How much later than asked for the event loop runs.",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(Now(app))
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to measure how late the hub is."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._measure)

    def close(self) -> None:
        """Measure no more."""
        gevent.kill(self._greenlet) if self._greenlet else None
        self._greenlet = None

    def text(self) -> bytes:
        """Everything in Prometheus's format."""
        return generate_latest(self.registry)

    def _measure(self) -> None:
        while True:
            begun = perf_counter()
            gevent.sleep(LAG_EVERY)
            self.lag.observe(max(0.0, perf_counter() - begun - LAG_EVERY))


class Now(Collector):
    """How things stand: tasks by state, webhooks that are owed, the engine. Needs an application context."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def describe(self) -> list[Metric]:
        """Nothing: what there is depends on nothing that is known at the start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The values of this moment."""
        tasks = GaugeMetricFamily("fooocus_tasks", "Tasks in the database, by state.", labels=["status"])
        states = select(Task.task_status, func.count()).group_by(Task.task_status)
        counted: dict[str, int] = {row[0]: row[1] for row in db.session.execute(states)}
        for status in (PENDING, RUNNING, *ENDED):
            tasks.add_metric([status], counted.get(status, 0))
        yield tasks
        yield GaugeMetricFamily("fooocus_queue_depth", "Tasks that wait.", counted.get(PENDING, 0))
        yield GaugeMetricFamily("fooocus_webhooks_owed", "Webhooks still to be delivered.", webhooks.owed())
        files = GaugeMetricFamily("fooocus_file_descriptors", "Descriptors used, and the limit.", labels=["of"])
        for name, number in (("used", descriptors.count()), ("limit", descriptors.limit())):
            if number is not None:
                files.add_metric([name], number)
        yield files
        now = runner.of(self.app)
        yield GaugeMetricFamily("fooocus_engine_ready", "Whether an engine takes tasks.", int(now.ready.is_set()))
        yield from lane_metrics(now.lanes)


def lane_metrics(lanes: Iterable[Lane]) -> list[Metric]:
    """How each engine is."""
    ready = GaugeMetricFamily("fooocus_lane_ready", "Whether this engine takes tasks.", labels=["lane"])
    drawing = GaugeMetricFamily("fooocus_lane_drawing", "Whether this engine draws a task.", labels=["lane"])
    memory = GaugeMetricFamily(
        "fooocus_engine_memory_bytes", "What an engine holds of the host's and the GPU's memory.", labels=["lane", "of"]
    )
    still = GaugeMetricFamily(
        "fooocus_engine_still_seconds", "Since when an engine's work has not got on.", labels=["lane"]
    )
    info = GaugeMetricFamily(
        "fooocus_lane_info", "Which card an engine draws on, in which machine.", labels=["lane", "machine", "card"]
    )
    for lane in lanes:
        info.add_metric([lane.name, lane.machine, lane.supervisor.device], 1)
        ready.add_metric([lane.name], int(lane.ready.is_set()))
        drawing.add_metric([lane.name], int(lane.task_id is not None))
        if (beat := lane.supervisor.beat) is None:
            continue
        still.add_metric([lane.name], beat.still)
        for name, held in (("host", beat.resident), ("gpu", beat.gpu)):
            if held is not None:
                memory.add_metric([lane.name, name], held)
    return [info, ready, drawing, memory, still]


counters = Extension("fooocus-metrics", Metrics)


def init_app(app: Flask) -> None:
    """Give the application its metrics, and time its requests."""
    counters.init_app(app)
    app.before_request(begin)
    app.after_request(observe)


def begin() -> None:
    """Note when the request came."""
    g.begun = perf_counter()


def observe(response: Response) -> Response:
    """Note how long the head of the answer took, in words that no client can make up: the route is its pattern."""
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in METHODS else "other"
    labels = (method, route, str(response.status_code))
    if "begun" in g:
        counters.current().requests.labels(*labels).observe(perf_counter() - g.begun)
    return response


@signals.task_ended.connect
def count(app: Flask, task: Task, seconds: Mapping[str, float], **_: Any) -> None:
    """Count a task's end and what its stages took."""
    metrics = counters.of(app)
    metrics.ended.labels(task.task_status).inc()
    for stage, took in seconds.items():
        metrics.stages.labels(stage).observe(took)


@signals.delivery_tried.connect
def count_delivery(app: Flask, good: bool, **_: Any) -> None:
    """Count a webhook's try."""
    counters.of(app).deliveries.labels("delivered" if good else "failed").inc()
