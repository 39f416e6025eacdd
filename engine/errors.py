"""Failures that every part of the engine may raise; their texts are for the client."""

from __future__ import annotations


class TooLittleMemory(MemoryError):
    """A task that does not fit the memory there is; the text says what would."""


class CheckpointError(ValueError):
    """A model file that cannot be used; the text says why and what would work."""
