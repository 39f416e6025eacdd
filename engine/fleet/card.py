"""A card of the fleet: the actor that Ray places on each graphics card, which draws as an engine process does.

What it is asked for runs in threads of the actor's concurrency groups; the drawing itself is the engine's GPU thread.
It draws one task at a time, whose events are a stream.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from engine.fleet.file_store import FileStore, FileView, FleetFile
from engine.fleet.outlet import Event, Outlet
from engine.fleet.versions import CardInfo
from engine.heartbeat import Heartbeat
from engine.images.picture_file import PictureFile
from engine.messages import Beat, Draw, Look, Message, Ready, Seen, Unusable
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import set_up_logging
from engine.process.pulse import Pulse
from engine.process.startup import parse, pipeline_maker

log = logging.getLogger(__name__)

MODELS = "FOOOCUS_MODELS_PATH"
"""The variable that says, on each machine, where its own model files lie."""
GROUPS = {"control": 4, "look": 16, "watch": 2, "files": 1}
"""The actor's concurrency groups, with their threads: one where the order counts. Tasks are drawn in the group without
a name, one at a time."""
READ_AT_ONCE = 3
"""Events that may be on their way to the driver before the next one waits, and newer progress takes its place."""


@dataclass(frozen=True)
class CardStart:
    """How a card's engine is started.

    `words` are the command line of an engine process, for the head; `environment` is what it has besides the
    machine's; the machine has so many `cards`, which share its cores; `name` is the card's.
    """

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    cards: int = 1


class CardActor:
    """The actor; its methods are called from afar."""

    def __init__(self, start: CardStart) -> None:
        os.environ.update(start.environment)
        models = os.environ.get(MODELS)
        self._files = FileStore(store_folder(models), Path(models) if models else None)
        self._view = FileView(self._files, self._files.root / "views" / start.name)
        self._outlets: dict[str, Outlet] = {}
        self._stopped_early: deque[str] = deque(maxlen=16)
        self._seen: dict[str, Future[Seen]] = {}
        self._ready: Future[Ready] = Future()
        self._beat = Beat()
        arguments = parse(["0", *start.words])
        arguments.folders, arguments.hashes = self._view.folders, self._files.hashes.path
        arguments.kernels, arguments.rehash = self._files.root / "kernels", 0
        if "--threads" not in start.words:
            arguments.threads = max(1, arguments.threads // start.cards)
        heartbeat = Heartbeat()
        make = pipeline_maker(arguments, heartbeat, self._put_file)
        self._gpu = GpuThread(make, self._emit, heartbeat, set_up_logging("card"))
        self._gpu.start()
        Pulse(self._emit, arguments.beat, heartbeat).start()

    # --- the group without a name

    @ray.method(num_returns="streaming")
    def draw(
        self, task: Draw, pictures: Mapping[str, bytes], files: Sequence[FleetFile], *, followed: bool = False
    ) -> Iterator[Event]:
        """Draw a task with these input pictures, by name, and these model files, the first its checkpoint's if it has
        one; the last event is its `Ended`."""
        outlet = self._outlets[task.task_id] = Outlet()
        outlet.followed = followed
        try:
            self._view.show(files)
            if task.checkpoint is not None:
                task = replace(task, checkpoint=str(self._view.path(*files[0].place)))
            with input_folder(pictures) as folder:
                self._gpu.submit(replace(task, inputs=folder))
                if outlet.dropped or task.task_id in self._stopped_early:
                    self._interrupt(task.task_id)
                yield from outlet
        finally:
            del self._outlets[task.task_id]

    # --- the group "control"

    @ray.method(concurrency_group="control")
    def stop(self, task_id: str) -> None:
        """End a task after its current step; one that comes later ends at once."""
        self._stop(task_id)

    @ray.method(concurrency_group="control")
    def skip(self, task_id: str) -> None:
        """Drop the task's picture under way."""
        if interruption := self._gpu.interruption(task_id):
            interruption.skip()

    @ray.method(concurrency_group="control")
    def follow(self, task_id: str, followed: bool) -> None:
        """Send a task's previews, or send none."""
        if outlet := self._outlets.get(task_id):
            outlet.followed = followed

    @ray.method(concurrency_group="control")
    def unload(self) -> None:
        """Drop all models, after the task under way."""
        self._gpu.submit_unload()

    @ray.method(concurrency_group="control")
    def drop(self) -> None:
        """End whatever is drawn, for nobody hears of it any more: the driver lost sight of this process for a while.

        The same task may come again.
        """
        for task_id, outlet in list(self._outlets.items()):
            outlet.dropped = True  # first, for the task may be submitted just now
            self._interrupt(task_id)

    # --- the group "look"

    @ray.method(concurrency_group="look")
    def look(self, look: Look, files: Sequence[FleetFile]) -> Seen:
        """What there is to see in a picture, with these model files."""
        with self._view.besides(files):
            seen = self._seen[look.look_id] = Future()
            self._gpu.submit_look(look)
            return seen.result()

    # --- the group "watch"

    @ray.method(concurrency_group="watch")
    def info(self) -> CardInfo:
        """What this card is, once it takes tasks."""
        machine = platform.node()
        return CardInfo(machine, platform.python_version(), ray.__version__, self._ready.result(), os.getpid())

    @ray.method(concurrency_group="watch")
    def beat(self) -> Beat:
        """The last sign of life of the threads that draw."""
        return self._beat

    # --- the group "files"

    @ray.method(concurrency_group="files")
    def missing(self, files: Sequence[FleetFile]) -> list[tuple[FleetFile, int]]:
        """Which of these files the machine lacks, each with how many of its bytes came already."""
        return [(file, self._files.received(file)) for file in files if self._files.find(file) is None]

    @ray.method(concurrency_group="files")
    def seem_here(self, files: Sequence[FleetFile]) -> list[str]:
        """The paths on the head of those of these files that the machine seems to have."""
        return [file.path for file in files if self._files.seems_here(file)]

    @ray.method(concurrency_group="look")
    def own_files(self) -> dict[str, dict[str, int]]:
        """The bytes of each model file in the machine's own folder, by kind and name."""
        return self._files.own_files()

    @ray.method(concurrency_group="look")
    def read(self, kind: str, name: str, offset: int, length: int) -> bytes:
        """A part of one of them.

        Raises:
            TransferError: it is gone.
        """
        with self._files.own_path(kind, name).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    @ray.method(concurrency_group="look")
    def own_hash(self, kind: str, name: str) -> str:
        """The hash of one of them."""
        return self._files.hashes.hash(self._files.own_path(kind, name))

    @ray.method(concurrency_group="files")
    def write(self, file: FleetFile, offset: int, data: bytes) -> None:
        """Take a part of a file."""
        self._files.write(file, offset, data)

    @ray.method(concurrency_group="files")
    def finish(self, file: FleetFile) -> None:
        """Take the file as it is, whole.

        Raises:
            TransferError: it is not what the head has.
        """
        self._files.finish(file)

    def _stop(self, task_id: str) -> None:
        self._stopped_early.append(task_id)  # first, for the task may be submitted just now
        self._interrupt(task_id)

    def _interrupt(self, task_id: str) -> None:
        if interruption := self._gpu.interruption(task_id):
            interruption.stop()

    # --- the engine's threads

    def _emit(self, message: Message) -> None:
        if isinstance(message, Beat):
            self._beat = message
        elif isinstance(message, Ready):
            self._ready.set_result(message)
        elif isinstance(message, Unusable):
            log.error("This card cannot be used: %s", message.reason)  # the process ends; the driver tries again
        elif isinstance(message, Seen):
            self._seen.pop(message.look_id).set_result(message)
        else:
            self._put(message)

    def _put_file(self, file: PictureFile) -> None:
        self._put(file)

    def _put(self, event: Any) -> None:
        if outlet := self._outlets.get(event.task_id):
            outlet.put(event)


def store_folder(models: str | None) -> Path:
    """Where this machine keeps copies: below its models folder, or where its user's caches lie."""
    if models and os.access(models, os.W_OK):
        return Path(models) / "fleet"
    return Path.home() / ".cache" / "fooocus-flask" / "fleet"


@contextmanager
def input_folder(pictures: Mapping[str, bytes]) -> Iterator[str]:
    """A folder that holds these pictures for a while."""
    folder = tempfile.mkdtemp(prefix="fooocus-inputs-")
    try:
        for name, data in pictures.items():
            (Path(folder) / name).write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
