"""What a server costs while it is attacked: its slowest `/ping`, and the memory of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tests.serving import ROOT, Server, engines


class Pings:
    """The slowest `/ping` since the last look, asked for by a process of its own."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-u", "-m", "benchmarks.pinging", str(port)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        self._lock, self._seen = threading.Condition(), [0.0]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._lock:
                self._seen.append(float(line))
                self._lock.notify_all()

    def worst(self) -> float:
        """Milliseconds of the slowest one since the last call, one that is under way included."""
        with self._lock:
            before = len(self._seen)
            self._lock.wait_for(lambda: len(self._seen) > before, 60)
            worst, self._seen = max(self._seen), [0.0]
        return worst

    def __enter__(self) -> Pings:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate("")
        self._reader.join()


class Memory:
    """The most memory that a process has had, above what it had when this was made; in MB."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # the peak begins at what is there now
        self._before = self._kilobytes("VmRSS")

    def grown(self) -> float:
        """How far it grew."""
        return max(0, self._kilobytes("VmHWM") - self._before) / 1000

    def _kilobytes(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


def memories(server: Server) -> tuple[Memory, Memory]:
    """Those of the web process and of its engine."""
    [engine] = engines(server.process.pid)
    return Memory(server.process.pid), Memory(engine)
