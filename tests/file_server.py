"""A server of model files on a real port, which breaks off, halts, redirects and refuses as it is told."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from tests.patience import CEILING


class FileServer(ThreadingHTTPServer):
    """Serves `files` by the last part of their path, any other name as `body`; `asked` has each Range it got.

    It breaks after `break_at` bytes as often as `breaks` says, answers `statuses` first, and halts at `halt_at` bytes
    until `go_on` is set; `halted` is set once it stands there.
    """

    daemon_threads = True

    def __init__(self, body: bytes, port: int = 0):
        self.body, self.etag, self.ranges, self.statuses, self.files = body, '"one"', True, [], {}
        self.breaks, self.break_at, self.asked, self.extra = 0, len(body) // 2, [], {}
        self.paths, self.linked, self.halt_at = [], "", None
        self.halted, self.go_on = Event(), Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                with contextlib.suppress(ConnectionError):  # whoever asked may be gone
                    self.answer(handler)

            def log_message(handler, *_):
                """Nothing."""

        super().__init__(("127.0.0.1", port), Handler)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.base}/model.safetensors"

    def answer(self, handler):
        """One answer; the connection ends with it."""
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        self.paths.append(handler.path)
        if handler.path == "/moved":
            return self.head(handler, 302, {"Location": self.url, "X-Linked-Etag": self.linked, "Content-Length": "0"})
        if self.statuses:
            return self.head(handler, self.statuses.pop(0), {"Content-Length": "0"})
        start, body = 0, self.files.get(handler.path.partition("?")[0].rpartition("/")[2], self.body)
        same = handler.headers.get("If-Range") == self.etag
        if wanted and self.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        headers = {"Content-Length": str(len(body) - start), **({"ETag": self.etag} if self.etag else {})}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.head(handler, 206 if start else 200, headers | self.extra)
        end = len(body)
        if self.breaks:
            self.breaks, end = self.breaks - 1, max(start, self.break_at)
        if self.halt_at is not None:
            handler.wfile.write(body[start : max(start, self.halt_at)])
            start = max(start, self.halt_at)
            self.halted.set()
            self.go_on.wait(CEILING)
        handler.wfile.write(body[start:end])
        return None

    def head(self, handler, status, headers):
        """The answer's first lines."""
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()


@contextmanager
def serving(body: bytes, port: int = 0) -> Iterator[FileServer]:
    """A running file server."""
    with FileServer(body, port) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
