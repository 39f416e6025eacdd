"""Requests as they come off the socket: what the server's own parser lets through and should not."""

from __future__ import annotations

from urllib.parse import urlsplit

from gevent.pywsgi import WSGIHandler


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """gevent's, which also reads targets in absolute form, and answers 400 where a body has two lengths."""

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
