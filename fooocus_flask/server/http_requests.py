"""Requests as they come off the socket: what the server's own parser lets through and should not."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gevent.pywsgi import WSGIHandler


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """gevent's, which also reads targets in absolute form, and answers 400 where a body has two lengths.

    A client of HTTP/1.0 hears the end of an answer without a length by the connection's end.
    """

    path: str

    def read_request(self, raw_requestline: str) -> bool:
        """Parse a request's head; a ValueError is answered with 400, and the connection ends."""
        parsed: bool = super().read_request(raw_requestline)
        if len(self.headers.get_all("content-length", ())) > 1:
            raise ValueError("a request has several Content-Length headers")
        if self.path[:7].lower() == "http://" or self.path[:8].lower() == "https://":
            target = urlsplit(self.path)
            self.path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return parsed

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Take an answer's head."""
        if self.request_version == "HTTP/1.0" and not any(name.lower() == "content-length" for name, _ in headers):
            self.close_connection = True
        return super().start_response(status, headers, exc_info)
