"""The engine process as the web process sees it: started, spoken to over a socket pair, noticed when it is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
from gevent import socket, subprocess
from gevent.lock import BoundedSemaphore

import engine
from engine import messages
from engine.process import wire

log = logging.getLogger(__name__)

ROOT = Path(engine.__file__).parent.parent
BUFFER = 1 << 16
PATIENCE = 5.0
"""Seconds an engine whose socket is closed has to leave, and again when it is ended by force."""
SILENT = {"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""What keeps the engine's libraries from asking or telling anybody: onnxruntime reports its use otherwise."""


@dataclass(frozen=True)
class Launch:
    """How a process is started: its command, which the socket's number and the arguments follow, and where."""

    command: Sequence[str]
    folder: Path


def ours(module: str) -> Launch:
    """A module of this project, run by this Python."""
    return Launch((sys.executable, "-m", module), ROOT)


OUR_ENGINE = ours("engine.process")


class FrameProcess:
    """A running process started by `launch` with these arguments, which speaks frames over its end of a socket pair.

    `hear` gets what `unpack` makes of every frame, and None once when the process is gone; it must not wait for
    anything. The socket is its own, so whatever libraries print goes where the server's output goes.
    """

    def __init__(
        self,
        launch: Launch,
        hear: Callable[[Any], object],
        unpack: Callable[[dict[str, Any], bytes], object],
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
    ) -> None:
        self._unpack = unpack
        near, far = socket.socketpair()
        try:
            self.process = started(launch, far, arguments, environment or {})
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        self._socket = near
        self._sending = BoundedSemaphore(1)
        with contextlib.suppress(ProcessLookupError):  # told by the reader
            os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        self._reader = gevent.spawn(self._read, hear)

    @property
    def pid(self) -> int:
        """The process's number."""
        return int(self.process.pid)

    def send_frame(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            OSError: the process is gone.
        """
        with self._sending:
            self._socket.sendall(frame)

    def reason(self) -> str:
        """Why the process is gone, once it is."""
        return f"exit status {self.process.wait(PATIENCE)}"

    def kill(self) -> None:
        """End the process by force, for it may not hear."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> int | None:
        """End the process, by its closed socket or else by force; its exit status.

        None if it cannot be ended now: one that waits for a disk or a driver which does not answer ends after that.
        """
        self._reader.kill()
        with contextlib.suppress(OSError):  # the other side was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for end in (self.process.kill, lambda: log.error("The engine process %d cannot be ended", self.pid)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return int(self.process.wait(PATIENCE))
            end()
        return None

    def _read(self, hear: Callable[[Any], object]) -> None:
        with self._socket.makefile("rb", buffering=BUFFER) as stream:
            try:
                with contextlib.suppress(EOFError, OSError):
                    while True:
                        hear(self._unpack(*wire.read(stream)))
            finally:
                hear(None)


class EngineProcess(FrameProcess):
    """A running engine process: our own, or another that `launch` starts and that speaks its messages.

    `hear` gets every message it sends.
    """

    def __init__(
        self,
        hear: Callable[[messages.Message | None], object],
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
        launch: Launch = OUR_ENGINE,
    ) -> None:
        super().__init__(launch, hear, messages.from_wire, arguments, environment, niceness)

    def send(self, message: messages.Message) -> None:
        """Give the engine something to do.

        Raises:
            OSError: it is gone.
        """
        self.send_frame(wire.pack(*message.to_wire()))


def started(
    launch: Launch, far: socket.socket, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen:
    """The process, holding its end of the socket pair."""
    return subprocess.Popen(
        [*launch.command, str(far.fileno()), *arguments],
        pass_fds=[far.fileno()],
        stdin=subprocess.DEVNULL,
        env=os.environ | SILENT | dict(environment),
        cwd=launch.folder,
    )
