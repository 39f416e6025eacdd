"""Failures that every part of the engine may raise; their texts are for the client."""

from __future__ import annotations

import errno

MEMORY_WORDS = ("allocate memory", "can't start new thread")
"""What errors of no kind of their own say where there is too little memory."""
NO_PRIMITIVE = "could not create a primitive"
"""All that oneDNN says where there is none for the code that it makes; of what it cannot do, it says more."""


class TooLittleMemory(MemoryError):
    """A task that does not fit the memory there is; the text says what would."""


class NoSuchDevice(ValueError):
    """A device to draw on that this machine does not have; the text says which there are."""


class CheckpointError(ValueError):
    """A model file that cannot be used; the text says why and what would work."""


def is_memory_full(error: BaseException) -> bool:
    """Whether the machine's memory was too small: for data, for the stack of a thread, or for code made on the way."""
    told = str(error)
    return isinstance(error, MemoryError) or told == NO_PRIMITIVE or any(words in told for words in MEMORY_WORDS)


def is_disk_full(error: BaseException) -> bool:
    """Whether something could not be written because its disk, or its user's part of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
