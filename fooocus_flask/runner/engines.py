"""How the engine processes are started: how many, on which graphics cards, with how many threads.

The cards are counted by a process that imports torch, once, and only where several engines may be wanted: `nvidia-smi`
may be missing, and knows nothing of what torch can use; the first engine could tell, but if it never got ready, the
others would never be started.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from flask import Flask
from gevent import subprocess

from engine import messages
from fooocus_flask.environment import ENGINES_AUTO
from fooocus_flask.errors import FooocusError
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.model_files.folders import folders
from fooocus_flask.runner import checkout_engine
from fooocus_flask.runner.process import ROOT, SILENT, EngineProcess
from fooocus_flask.submission.prepare import checked, merged

log = logging.getLogger(__name__)

HASHES = "hash_cache.txt"
"""Where, in the instance folder, hashes of model files are kept."""
KERNELS = "kernels"
"""Where, in the instance folder, compiled GPU kernels are kept."""
BEATS = 6
"""Signs of life in the time after which an engine counts as silent."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which cards a process sees; AMD's libraries heed it too."""


class CardsUnknown(Exception):
    """The graphics cards could not be counted."""


@dataclass(frozen=True)
class EngineStart:
    """How one of an application's engines is started: which it is, the threads it computes with (0: all cores), and
    what its environment has besides the server's."""

    number: int = 0
    threads: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


def counted_cards(app: Flask) -> int:
    """How many graphics cards the engines can use; takes seconds.

    Raises:
        CardsUnknown: they could not be counted.
    """
    environment = os.environ | SILENT | app.config["ENGINE_ENVIRONMENT"]
    fooocus = checkout.of(app)
    command = [sys.executable, "-m", "engine.process.cards"] if fooocus is None else checkout_engine.count(fooocus)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            check=True,
            timeout=app.config["ENGINE_START_TIMEOUT"],
        )
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise CardsUnknown(f"{type(error).__name__}: {error}") from error


def planned(app: Flask, cards: int) -> list[EngineStart]:
    """How as many engines as ENGINES asks for are started, one on each card; without cards they share the cores."""
    asked, environment = app.config["ENGINES"], app.config["ENGINE_ENVIRONMENT"]
    number = max(1, cards) if asked == ENGINES_AUTO else int(asked)
    if 0 < cards < number:
        log.warning("ENGINES is %d, and there is room for %d: one engine for each graphics card", number, cards)
        number = cards
    own = visible(os.environ | environment, cards)[:number] if number > 1 else []
    return [
        EngineStart(i, threads(app, number), {**environment, VISIBLE: own[i]} if own else environment)
        for i in range(number)
    ]


def visible(environment: Mapping[str, str], cards: int) -> list[str]:
    """What the cards are called by the variable that chooses among them."""
    named = [name for entry in environment.get(VISIBLE, "").split(",") if (name := entry.strip())]
    return (named if len(named) >= cards else [str(card) for card in range(cards)])[:cards]


def threads(app: Flask, engines: int) -> int:
    """Threads each engine computes with: as many as the setting says, or its part of the cores; 0: all cores."""
    asked = int(app.config["ENGINE_THREADS"])
    if asked or engines == 1:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // engines)


def starter(
    app: Flask, start: EngineStart, process: type[EngineProcess] = EngineProcess
) -> Callable[[Callable[[messages.Message | None], object]], EngineProcess]:
    """What starts this engine, as often as need be; the first time it preloads, lest one dies of that for ever."""
    fooocus, niceness = checkout.of(app), app.config["ENGINE_NICENESS"]
    if fooocus is not None:
        return partial(
            process,
            arguments=[*beat(app), *checkout_engine.arguments(app, start.number, start.threads)],
            environment={**start.environment, **checkout_engine.environment(app)},
            niceness=niceness,
            launch=checkout_engine.launch(fooocus),
        )
    common, starts = arguments(app, start), count()

    def started(hear: Callable[[messages.Message | None], object]) -> EngineProcess:
        """One more of its processes."""
        more = preload(app) if next(starts) == 0 else []
        return process(hear, [*common, *more], start.environment, niceness)

    return started


def preload(app: Flask) -> list[str]:
    """The part of a command line that has the default checkpoint loaded, where PRELOAD is on and its file is there."""
    if not app.config["PRELOAD"]:
        return []
    with app.app_context():
        try:
            task = checked(merged({"image_seed": 0}))
        except FooocusError as error:  # the first request will be told
            log.info("Nothing is preloaded, an empty request cannot be drawn: %s", error)
            return []
    if task.checkpoint is None or task.downloads:
        return []
    return ["--preload", json.dumps({"checkpoint": task.checkpoint, "params": task.params.to_dict()})]


def arguments(app: Flask, start: EngineStart) -> list[str]:
    """Our engine process's command line."""
    places = ["--folders", folders.of(app).to_json(), "--hashes", str(Path(app.instance_path) / HASHES)]
    places += ["--kernels", str(Path(app.instance_path) / KERNELS)]
    rehash = 0 if start.number else app.config["REBUILD_HASH_CACHE"]  # one of them is enough
    optional = {"--threads": start.threads, "--rehash": rehash, "--memory-plan": app.config["MEMORY_PLAN"]}
    for name in ("DEVICE", "UNET_STORAGE", "VAE_FORMAT", "TEXT_STORAGE", "ATTENTION", "UNET_ARITHMETIC"):
        optional[f"--{name.lower().replace('_', '-')}"] = app.config[name]
    return [*places, *beat(app), *(word for flag, value in optional.items() if value for word in (flag, str(value)))]


def beat(app: Flask) -> list[str]:
    """How often any engine process gives a sign of life."""
    shortest = min(app.config[name] for name in ("ENGINE_SILENCE", "ENGINE_STEP_PATIENCE", "ENGINE_LOAD_PATIENCE"))
    return ["--beat", str(shortest / BEATS)]
