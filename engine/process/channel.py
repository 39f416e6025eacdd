"""The engine's end of the socket to the web process."""

from __future__ import annotations

import socket
from threading import Lock
from typing import BinaryIO

from engine.messages import Message
from engine.process import wire


class Channel:
    """The socket to the web process; any thread may send."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self.stream: BinaryIO = self._socket.makefile("rb")
        self._sending = Lock()

    def send(self, message: Message) -> None:
        """Send one message whole."""
        self.send_frame(wire.pack(*message.to_wire()))

    def send_frame(self, frame: bytes) -> None:
        """Send one frame whole."""
        with self._sending:
            self._socket.sendall(frame)
