"""The engine process: `python -m engine.process FD`. Its main thread reads commands, its GPU thread draws.

It speaks frames of `engine.process.wire` on the inherited socket FD and ends at once when the other side is gone.
Standard output and error are logs. gevent never enters this process.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, BinaryIO

from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.files.hashes import HashCache, hash_all
from engine.heartbeat import Signs, Stillness
from engine.interruption import Interruption
from engine.messages import Beat, Draw, Ended, Look, Message, Ready, Seen, Skip, Stop, from_wire
from engine.process import wire
from engine.process.log_context import Named

if TYPE_CHECKING:
    from engine.pipeline.pipeline import Pipeline

log = logging.getLogger(__name__)

Emit = Callable[[Message], None]


class Channel:
    """The socket to the web process; any thread may send."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self.stream: BinaryIO = self._socket.makefile("rb")
        self._sending = Lock()

    def send(self, message: Message) -> None:
        """Send one message whole."""
        frame = wire.pack(*message.to_wire())
        with self._sending:
            self._socket.sendall(frame)


class GpuThread(Thread):
    """Draws one task after another; every event goes to `emit`.

    Looks at pictures take their turn at once where nothing is drawn, else one after each sampling step: so a picture
    under way goes on, however many there are, and nothing else computes on the GPU or loads models meanwhile.
    """

    def __init__(self, make_pipeline: Callable[[], Pipeline], emit: Emit, signs: Signs, named: Named) -> None:
        super().__init__(name="gpu", daemon=True)
        self.make_pipeline, self.emit, self.signs, self.named = make_pipeline, emit, signs, named
        self.tasks: SimpleQueue[Draw | None] = SimpleQueue()
        self.looks: SimpleQueue[Look] = SimpleQueue()
        self.interruptions: dict[str, Interruption] = {}

    def submit(self, task: Draw) -> None:
        """Queue a task."""
        self.interruptions[task.task_id] = Interruption(self.look_once)
        self.tasks.put(task)

    def look(self, look: Look) -> None:
        """Have a look taken soon."""
        self.looks.put(look)
        self.tasks.put(None)  # wakes the thread where it waits

    def interruption(self, task_id: str) -> Interruption | None:
        """Where to ask for a task's end; None when it is over or unknown."""
        return self.interruptions.get(task_id)

    def run(self) -> None:
        """Start the pipeline, say so, and draw for ever; a process that cannot draw ends."""
        try:
            pipeline = self.make_pipeline()
            self.pipeline = pipeline
            self.emit(ready(pipeline))
            while True:
                task = self.tasks.get()
                if task is None:
                    pipeline.store.residency.begin()
                    self.look_once()
                else:
                    with self.named.after(task.request_id):
                        self.run_one(pipeline, task)
        except BaseException:
            log.exception("the engine ends")
            os._exit(1)

    def run_one(self, pipeline: Pipeline, task: Draw) -> None:
        """Draw one task and emit its end, whatever happens in between."""
        try:
            with self.signs.at("task"):
                ended = pipeline.draw(task, self.emit, self.interruptions[task.task_id])
        except Exception as error:  # this loop must outlive its work
            log.exception("task %s failed", task.task_id)
            ended = Ended(task.task_id, "failed", reason(error), notes=task.notes, cause=cause(error))
        if ended.cause == "memory":
            free_memory()  # not before the exception is gone, whose frames hold the task's tensors
        del self.interruptions[task.task_id]
        self.emit(ended)

    def look_once(self) -> None:
        """Take the next look, if one waits, and emit what was seen, whatever happens in between."""
        try:
            look = self.looks.get_nowait()
        except Empty:
            return
        with self.named.after(look.request_id):
            self.emit(self.seen(look))

    def seen(self, look: Look) -> Seen:
        """What there is to see, or why that failed."""
        from engine.vision.inspect import look_at

        try:
            with self.signs.at("look"):
                return look_at(self.pipeline.store, look)
        except Exception as error:  # neither the loop nor the task under way may end with it
            log.exception("looking at a picture failed")
            seen = Seen(look.look_id, error=reason(error), cause=cause(error))
        if seen.cause == "memory":
            free_memory()
        return seen


def reason(error: Exception) -> str:
    """Why a task failed, for the client to read."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "The GPU ran out of memory; a smaller picture or fewer other programs on this GPU would help"
    if cause(error) == "memory":
        return "The engine ran out of memory; a smaller picture would help"
    text = str(error) or repr(error)
    return text if isinstance(error, ValueError | ArithmeticError) else f"{type(error).__name__}: {text}"


def cause(error: Exception) -> str:
    """Of what kind a failure is, in the words of `Ended`."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        return "memory"
    return "missing" if isinstance(error, FileNotFoundError) else "engine"


def free_memory() -> None:
    """Give back what a task that ran out of memory held, so that the next one has it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Pulse(Thread):
    """Tells that this process lives, as long as it does, and whether its drawing gets on.

    A process that hangs as a whole falls silent; where only the drawing hangs, its signs stand still.
    """

    def __init__(self, emit: Emit, seconds: float, signs: Signs) -> None:
        super().__init__(name="pulse", daemon=True)
        self.emit, self.seconds, self.signs = emit, seconds, signs

    def run(self) -> None:
        """Beat until the other side is gone."""
        never, stillness = Event(), Stillness(self.signs, self.seconds)
        while not never.wait(self.seconds):
            try:
                self.emit(Beat(self.signs.stages(), stillness.look(), host_memory(), gpu_memory()))
            except OSError:
                return


def host_memory() -> int | None:
    """Bytes this process holds of the host's memory; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # other systems have no such file
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def gpu_memory() -> int | None:
    """Bytes this process has set aside of the GPU's memory; None where nothing computes on one."""
    cuda = sys.modules.get("torch.cuda")
    begun = getattr(cuda, "is_initialized", None)  # the drawing thread may be in the middle of importing it
    return cuda.memory_reserved() if cuda and begun and begun() else None


def ready(pipeline: Pipeline) -> Ready:
    """What this engine draws on."""
    import torch

    device = pipeline.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return Ready(name, torch.__version__)


def obey(stream: BinaryIO, gpu: GpuThread) -> None:
    """Hand on commands until the other side is gone."""
    while True:
        try:
            message = from_wire(*wire.read(stream))
        except (EOFError, OSError):
            return
        if isinstance(message, Draw):
            gpu.submit(message)
        elif isinstance(message, Look):
            gpu.look(message)
        elif isinstance(message, Stop | Skip):
            interruption = gpu.interruption(message.task_id)
            if interruption is None:
                log.info("%s came too late for task %s", type(message).__name__, message.task_id)
            elif isinstance(message, Stop):
                interruption.stop()
            else:
                interruption.skip()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def tune_process(kernels: Path | None) -> None:
    """Settings of the libraries under torch, before it is imported; compiled GPU kernels are kept in that folder.

    Those of the C libraries make drawing on a processor faster.

    OpenMP's threads spin a moment and then sleep: always asleep they start late (a UNet call of 48 ms takes 87), always
    spinning they make each other ten times slower when another program runs.
    glibc keeps the memory of large tensors: given back and asked for again it costs a third of a decode.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if kernels is not None:
        os.environ.setdefault("TRITON_CACHE_DIR", str(kernels))
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, 1 << 30)
            mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def pipeline_maker(arguments: argparse.Namespace, signs: Signs) -> Callable[[], Pipeline]:
    """How to start the pipeline: torch is imported there, in the thread that draws."""

    def make() -> Pipeline:
        tune_process(arguments.kernels)
        import torch

        from engine.pipeline.pipeline import Pipeline

        torch.set_num_threads(arguments.threads)
        device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
        hashes = HashCache(arguments.hashes) if arguments.hashes else None
        pipeline = Pipeline(device, arguments.folders, arguments.builtin, hashes, arguments.kernels, signs)
        if hashes and arguments.rehash:
            files, threads = files_to_hash(pipeline.catalogue), arguments.rehash
            Thread(target=hash_all, args=(hashes, files, threads), name="rehash", daemon=True).start()
        return pipeline

    return make


def files_to_hash(catalogue: Catalogue) -> list[Path]:
    """The files whose hashes pictures carry."""
    named = [(kind, name) for kind in ("checkpoints", "loras") for name in catalogue.names(kind)]
    return [path for kind, name in named if (path := catalogue.find(kind, name))]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="engine.process", description="The engine process of fooocus-flask.")
    parser.add_argument("fd", type=int, help="the inherited socket to the web process")
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads that draw; all cores")
    parser.add_argument("--beat", type=float, default=5.0, help="seconds between signs of life")
    parser.add_argument("--device", help="cuda, cpu, ...; CUDA if there is one")
    parser.add_argument("--folders", type=Folders.from_json, help="the folders of models and word lists, as JSON")
    parser.add_argument("--hashes", type=Path, help="where hashes of model files are kept; none: pictures carry none")
    parser.add_argument("--rehash", type=int, metavar="N", help="hash all checkpoints and LoRAs now, N at a time")
    parser.add_argument(
        "--kernels", type=Path, help="where compiled GPU kernels are kept; none: where Triton keeps them"
    )
    parser.add_argument("--builtin", type=Path, default=builtin_set.CHECKPOINT, help="file of the built-in model")
    return parser.parse_args(words)


def main() -> None:
    """Serve until the web process is gone."""
    arguments = parse()
    faulthandler.enable()  # a crash in a library of C would end the process without a word
    named = Named()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s engine %(levelname)s %(name)s [%(request)s]: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(named)
    for told in (signal.SIGINT, signal.SIGTERM):  # they are for the web process, which then closes the socket
        signal.signal(told, signal.SIG_IGN)
    channel, signs = Channel(arguments.fd), Signs()
    gpu = GpuThread(pipeline_maker(arguments, signs), channel.send, signs, named)
    gpu.start()
    Pulse(channel.send, arguments.beat, signs).start()
    obey(channel.stream, gpu)
    os._exit(0)


if __name__ == "__main__":
    main()
