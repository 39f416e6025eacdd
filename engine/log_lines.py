"""Lines of the log: whatever texts of clients and files they hold, each message is one line of plain characters."""

from __future__ import annotations

import logging

PLAIN = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
PLAIN |= {number: f"\\u{number:04x}" for number in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""What stands for each character that would end a line, turn the text around or command a terminal."""


def plain(text: str) -> str:
    """The text with its control characters spelled out."""
    return text.translate(PLAIN)


class LineFormatter(logging.Formatter):
    """Formats records; the traceback of an exception follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of the message."""
        record.message = plain(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """The traceback, whose last line may have a client's text."""
        return "\n".join(map(plain, super().formatException(ei).splitlines()))  # type: ignore[arg-type]
