"""Frames on the socket between the web process and the engine process: two lengths, JSON, bytes."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

HEAD = struct.Struct("!II")


def pack(values: dict[str, Any], blob: bytes = b"") -> bytes:
    """One frame."""
    body = json.dumps(values).encode()
    return HEAD.pack(len(body), len(blob)) + body + blob


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The next frame of a blocking stream.

    Raises:
        EOFError: the other side is gone.
    """
    body_length, blob_length = HEAD.unpack(_exactly(stream, HEAD.size))
    body = _exactly(stream, body_length)
    return json.loads(body), _exactly(stream, blob_length)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError("the other side closed the socket")
    return data
