"""Failures that every part of the engine may raise; their texts are for the client."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A model file that cannot be used; the text says why and what would work."""
