"""A receiver of webhooks on a real port."""

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.patience import taken


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what it is sent, and answers with these statuses, the last one for ever."""

    daemon_threads = True

    def __init__(self):
        self.got, self.answers, self.raw, self.headers = queue.Queue(), [200], [], {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.raw.append(body)
                self.got.put((handler.path, handler.headers, json.loads(body)))
                status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                handler.send_response(status)
                handler.send_header("Location", "/elsewhere")
                handler.send_header("Content-Length", "0")
                for name, value in self.headers.items():
                    handler.send_header(name, value)
                handler.end_headers()

            def log_message(handler, *_):
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"

    def take(self):
        """The next thing that was sent."""
        return taken(self.got, "nobody was told of anything more")

    def rest(self) -> list[tuple[str, Message, Any]]:
        """All that was sent and not taken yet."""
        return [self.got.get() for _ in range(self.got.qsize())]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver at work."""
    with Receiver() as receiver:
        thread = Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
