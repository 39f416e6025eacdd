"""Requests as they come off the socket: what the server's own parser lets through and should not."""

from __future__ import annotations

import io
import logging
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.pywsgi import WSGIHandler

from fooocus_flask.following.departures import SOCKET

log = logging.getLogger(__name__)


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """gevent's, which also reads targets in absolute form, and answers 400 where a body has two lengths.

    A connection is closed on which for `idle` seconds no request comes whole but for its body, or nothing of a body;
    0: never.
    A client of HTTP/1.0 hears the end of an answer without a length by the connection's end.
    The environment has the connection, whose end tells that a client is gone.
    """

    path: str
    rfile: io.BufferedReader

    def __init__(self, sock: socket.socket, address: Any, server: Any, idle: float = 0.0) -> None:
        super().__init__(sock, address, server)
        self._idle_seconds = idle or None
        if idle:
            self.rfile = io.BufferedReader(TimedReads(self.rfile.detach(), sock, idle))

    def handle_one_request(self) -> Any:
        """Handle one; None ends the connection."""
        self._idle = gevent.Timeout.start_new(self._idle_seconds)
        try:
            return super().handle_one_request()
        except gevent.Timeout as passed:
            if passed is not self._idle:
                raise
            return None
        finally:
            self._idle.close()

    def read_request(self, raw_requestline: str) -> bool:
        """Parse a request's head; a ValueError is answered with 400, and the connection ends."""
        parsed: bool = super().read_request(raw_requestline)
        self._idle.cancel()
        if len(self.headers.get_all("content-length", ())) > 1:
            raise ValueError("a request has several Content-Length headers")
        if self.path[:7].lower() == "http://" or self.path[:8].lower() == "https://":
            target = urlsplit(self.path)
            self.path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        return parsed

    def get_environ(self) -> dict[str, Any]:
        """The environment of a request."""
        environ: dict[str, Any] = super().get_environ()
        environ[SOCKET] = self.socket
        return environ

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Take an answer's head."""
        if self.request_version == "HTTP/1.0" and not any(name.lower() == "content-length" for name, _ in headers):
            self.close_connection = True
            headers = [(name, value) for name, value in headers if name.lower() != "connection"]
        return super().start_response(status, headers, exc_info)

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes] | None:
        """The answer to what is no request; gevent's own would log all of it."""
        if isinstance(ex, OSError):  # the client went away, or says nothing more
            return None
        log.info("What came from %s is no HTTP request, and was answered 400", self.client_address[0])
        return "400", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TimedReads(io.RawIOBase):
    """Reads from a socket's file, each of which may take so many seconds; writes may take as long as they like."""

    def __init__(self, file: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._file, self._sock, self._seconds = file, sock, seconds

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or comes in time.

        Raises:
            TimeoutError: nothing comes.
        """
        self._sock.settimeout(self._seconds)
        try:
            return self._file.readinto(buffer)
        finally:
            self._sock.settimeout(None)

    def close(self) -> None:
        """Close the socket's file as well."""
        if not self.closed:
            super().close()
            self._file.close()
