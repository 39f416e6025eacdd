"""Bodies as they are read, by large pieces; in forms heads of parts are short, and others get their turn in between."""

from __future__ import annotations

import re
from typing import IO, Any

import flask
import gevent
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from fooocus_flask.errors import LONGEST_HEAD
from fooocus_flask.server.content_encoding import unpacked
from schemas.submission import MULTIPART

BLANK_LINE, BLANK = re.compile(rb"\r?\n\r?\n"), 4
"""What ends a head, and how many bytes that has at most."""
LARGE_PIECE = 1 << 20
"""Bytes of a body that are read at once."""


class FormParser(FormDataParser):
    """Werkzeug's, which takes a part's head of any length and a third of a second for a megabyte of it."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """The stream, the texts and the files of a form."""
        boundary = (options or {}).get("boundary", "")
        if mimetype == MULTIPART and boundary.isascii():
            stream = ShortHeads(stream, boundary.encode())  # type: ignore[assignment]
        return super().parse(stream, mimetype, content_length, options)


class Request(flask.Request):
    """A request whose body is unpacked, and whose forms are parsed by `FormParser`."""

    form_data_parser_class = FormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body as it was before a client packed it.

        Raises:
            UnsupportedCoding: nothing here unpacks it.
        """
        body, length = super().stream, self.content_length
        if length is not None:
            body = LargePieces(self.input_stream, length)  # type: ignore[assignment]
        return unpacked(body, self.headers.get("Content-Encoding", ""), self.max_content_length)


class LargePieces(LimitedStream):
    """The stream of a body of known length; by Werkzeug's pieces of 64 KiB it would take twice as long."""

    def readall(self) -> bytes:
        """All that is left.

        Raises:
            ClientDisconnected: the client is gone.
        """
        pieces = []
        while not self.is_exhausted:
            try:
                piece = self._stream.read(min(LARGE_PIECE, self.limit - self._pos))
            except (OSError, ValueError) as error:
                raise ClientDisconnected from error
            if not piece:
                raise ClientDisconnected
            self._pos += len(piece)
            pieces.append(piece)
        return b"".join(pieces)


class ShortHeads:
    """The stream of a form, as far as every part's head has at most LONGEST_HEAD bytes."""

    def __init__(self, stream: IO[bytes], boundary: bytes) -> None:
        self._stream, self._mark = stream, b"\n--" + boundary
        self._kept = max(len(self._mark), BLANK) - 1
        self._tail, self._offset = b"\n", 0
        """The end of what was read, in which a mark or a blank line may have begun, and its place in the stream."""
        self._head: int | None = None
        """Where the head began that is being read."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            RequestEntityTooLarge: a head is too long.
        """
        gevent.sleep(0)
        data = self._stream.read(size)
        self._measure(self._tail + data)
        return data

    def _measure(self, seen: bytes) -> None:
        place = 0
        while True:
            if self._head is None:
                found = seen.find(self._mark, place)
                if found < 0:
                    break
                place = found + len(self._mark)
                self._head = self._offset + place
            blank = BLANK_LINE.search(seen, place)
            end = blank.end() if blank else len(seen)
            if self._offset + end - self._head > LONGEST_HEAD:
                raise RequestEntityTooLarge
            if blank is None:
                break
            place, self._head = end, None
        start = max(place, len(seen) - self._kept)
        self._tail, self._offset = seen[start:], self._offset + start
