"""Clients that go away while they wait for an answer: their connection ends, which the server would see much later."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from flask import Flask

SOCKET = "fooocus.socket"
SOCKETS = (SOCKET, "gunicorn.socket")
"""Where servers put a request's connection into its environment."""


class Departure:
    """Calls `left` once, in the application's context, if the client of a request goes away before `close`.

    One that closes only its own half of the connection counts as gone. Where the server does not show its connections
    nobody is seen to leave.
    """

    def __init__(self, app: Flask, environ: Mapping[str, Any], left: Callable[[], object]) -> None:
        self._app, self._left, self._has_left = app, left, False
        connection = next((environ[name] for name in SOCKETS if name in environ), None)
        self._greenlet = None if connection is None else gevent.spawn(self._watch, connection)

    def _watch(self, connection: socket.socket) -> None:
        try:
            if connection.recv(1, socket.MSG_PEEK):  # another request already, so nothing can be told
                return
        except ValueError:  # TLS, where nobody can look without taking
            return
        except OSError:
            pass
        self._has_left = True
        with self._app.app_context():
            self._left()

    def close(self) -> None:
        """Watch no longer; what `left` has begun is not broken off."""
        if self._greenlet is not None and not self._has_left:
            self._greenlet.kill()
