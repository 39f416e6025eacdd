"""A server as a person starts it: a process of its own on a free port, read from over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import postgresql
from tests.patience import CEILING, TICK, Patience, children, eventually, exit_status, readable

ROOT = Path(__file__).parents[1]
GENERATE = "/v1/engine/generate/"
LASTING = {"overwrite_step": 200}
"""Members of a request whose picture takes the most steps there are: a second and more on a fast machine."""
LAUNCHER = [sys.executable, "wsgi.py"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", "127.0.0.1:0", "wsgi:app"]


@dataclass
class Reply:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Server:
    """A running server; `said` waits for a line in what it prints."""

    def __init__(self, instance: Path, models: Path, command: list[str] = LAUNCHER, **environment: str) -> None:
        self.command, self.instance, self.models, self.environment = command, instance, models, environment
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        """Start it, again if it was stopped, and wait until it listens."""
        set_here = {
            "FOOOCUS_INSTANCE": str(self.instance),
            "FOOOCUS_MODELS_PATH": str(self.models),
            "OMP_NUM_THREADS": "1",  # for `python -m tests.wire` and `tests.faults`, which no conftest prepares
            "FOOOCUS_ENGINE_THREADS": "1",  # toys are too small for two: they would wait for one another
            "API_PORT": "0",
        }
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, **set_here, **postgresql.environment(self.instance), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._news = threading.Condition()
        self._seen = len(self.lines)
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        self.port = int(self.said(r"http://127\.0\.0\.1:(\d+)").group(1))

    @property
    def working(self) -> int | None:
        """The process whose work, with all that it started, is a reason to wait on; None: all that this one started."""
        return self.process.pid

    def _read(self, output: Any) -> None:
        with output:
            for line in output:
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            self.lines.append("<end of output>")
            self._news.notify_all()

    def said(self, pattern: str, since: int = 0) -> re.Match[str]:
        """The first match in what was printed since the last start, and after so many lines; waits for it."""

        def found() -> re.Match[str] | None:
            lines = self.lines[max(since, self._seen) :]
            return next((match for line in lines if (match := re.search(pattern, line))), None)

        patience = Patience(self.working)
        with self._news:
            while not self._news.wait_for(lambda: found() or "<end of output>" in self.lines[self._seen :], TICK):
                if not patience.lasts():
                    raise TimeoutError(f"{pattern!r} not in {''.join(self.lines)}")
            match = found()
        assert match is not None, f"exit {exit_status(self.process)}: {''.join(self.lines)}"
        return match

    def ready(self) -> Server:
        """The same server, once its engine takes tasks."""
        self.said("engine is ready")
        return self

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request over a connection of its own; JSON unless `body` is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CEILING)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        try:
            connection.request(method, path, body, headers)
            readable(connection.sock, f"{method} {path} is not answered", self.working)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        """GET this path."""
        return self.ask("GET", path, **headers)

    def draw(self, body: dict[str, Any] | None = None, **headers: str) -> Reply:
        """Have a small picture drawn."""
        return self.ask("POST", GENERATE, small(**(body or {})), **headers)

    def submit(self, **members: Any) -> str:
        """The id of a task that is drawn later."""
        return self.draw({"async_process": True, **members}).json["task_id"]

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task's record, once the log says that it ended."""
        self.said(f"task={task_id} ")
        return self.get(f"/tasks/{task_id}").json

    def follow(self, **members: Any) -> Stream:
        """The stream of a small picture's task."""
        return self.follow_request(small(stream_output=True, **members))

    def follow_request(self, body: dict[str, Any]) -> Stream:
        """The stream that answers this request, at its first byte."""
        return Stream(self, GENERATE, body)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended and all that it said is read; its exit status."""
        status = exit_status(self.process)
        self._reader.join(CEILING)
        return status


class Stream:
    """A streamed answer as it comes off the socket: every read with its moment."""

    def __init__(self, server: Server, path: str, body: dict[str, Any] | None = None, **headers: str) -> None:
        port, self._pid = server.port, server.working
        data = b"" if body is None else json.dumps(body).encode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=CEILING)
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head += "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        self.socket.sendall(f"{head}\r\n".encode() + data)
        self.reads: list[tuple[float, bytes]] = []
        self._rest = b""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._receive()
        self.head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        self.reads.clear()

    def _receive(self) -> bytes:
        readable(self.socket, "nothing more comes in this stream", self._pid)
        data = self.socket.recv(1 << 20)
        self.reads.append((time.monotonic(), data))
        return data

    def header(self, name: str) -> str:
        """A header's value."""
        found = re.search(rf"^{name}: (.*?)\r?$", self.head.decode(), re.IGNORECASE | re.MULTILINE)
        assert found, self.head
        return found.group(1)

    def chunk(self) -> bytes:
        """The next chunk of the body; empty at its end."""
        while b"\r\n" not in self._rest:
            self._need()
        size, _, self._rest = self._rest.partition(b"\r\n")
        length = int(size, 16)
        while len(self._rest) < length + 2:
            self._need()
        data, self._rest = self._rest[:length], self._rest[length + 2 :]
        return data

    def _need(self) -> None:
        data = self._receive()
        assert data, "the stream broke off"
        self._rest += data

    def chunks(self) -> list[bytes]:
        """All chunks to the body's end, where the client leaves."""
        with self.socket:
            return list(iter(self.chunk, b""))

    def event(self) -> dict[str, Any]:
        """The next event; comments between are passed over."""
        chunk = self.chunk()
        while chunk.startswith(b": ping"):
            chunk = self.chunk()
        return event(chunk)

    def catch_up(self) -> None:
        """Pass over all that has come already."""
        while b"\r\n" in self._rest or select.select([self.socket], [], [], 0)[0]:
            self.chunk()

    def until(self, words: str) -> dict[str, Any]:
        """The next event whose message has these words."""
        while words not in (found := self.event())["message"]:
            pass
        return found

    def events(self) -> list[dict[str, Any]]:
        """All events to the end."""
        return [event(chunk) for chunk in self.chunks() if not chunk.startswith(b": ping")]

    def close(self) -> None:
        """Go away."""
        self.socket.close()


def event(chunk: bytes) -> dict[str, Any]:
    """What an event says."""
    assert chunk.startswith(b"data: {") and chunk.endswith(b"}\r\ndata: \r\n\r\n"), chunk
    return json.loads(chunk[len(b"data: ") : -len(b"\r\ndata: \r\n\r\n")])


def small(**members: Any) -> dict[str, Any]:
    """A request that is drawn in a tenth of a second."""
    toy = {"base_model_name": "toy.safetensors", "aspect_ratios_selection": "64*64", "overwrite_step": 2}
    return {"prompt": "a cat", "style_selections": [], "image_seed": 7, **toy, **members}


def engines(of: int) -> list[int]:
    """The engine processes that this server process started, at any depth."""
    found = []
    for child in children(of):
        found += engines(child)
        if b"engine.process" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(child)
    return found


@contextmanager
def halted(*pids: int) -> Iterator[None]:
    """Have these processes do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)


@contextmanager
def held(server: Server, number: int = 1, *cards: int, **members: Any) -> Iterator[list[Stream]]:
    """Streams of that many tasks; free engines of the server, or these cards, have them and stand still meanwhile."""

    def lanes(drawing: bool) -> bool:
        told = server.get("/ready").json["lanes"]
        return [lane["drawing"] for lane in told if lane["state"] == "ready"].count(drawing) >= number

    eventually(lambda: lanes(drawing=False), f"no {number} engines are free", server.working)
    stopped = cards or engines(server.process.pid)
    assert len(stopped) >= number
    with halted(*stopped):
        streams = [server.follow(**members) for _ in range(number)]
        eventually(lambda: lanes(drawing=True), f"{number} tasks are not begun", server.working)
        yield streams


def one_by_one(server: Server) -> bool:
    """Whether each event is read by itself, none with the headers; a client that is kept busy may read two at once."""
    with held(server, **LASTING) as (stream,):
        pass  # the headers are read, and nothing has happened
    chunks = [chunk for chunk in stream.chunks() if not chunk.startswith(b": ping")]
    reads = [data for _, data in stream.reads if b"data: {" in data]
    return len(chunks) > 3 and [data.count(b"data: {") for data in reads] == [1] * len(chunks)
