"""Failures that every part of the engine may raise; their texts are for the client."""

from __future__ import annotations

import errno


class TooLittleMemory(MemoryError):
    """A task that does not fit the memory there is; the text says what would."""


class NoSuchDevice(ValueError):
    """A device to draw on that this machine does not have; the text says which there are."""


class CheckpointError(ValueError):
    """A model file that cannot be used; the text says why and what would work."""


def is_disk_full(error: BaseException) -> bool:
    """Whether something could not be written because its disk, or its user's part of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
