"""Why the program failed, in words for the client, and of what kind that is."""

from __future__ import annotations

from engine.checkout.pictures import UnusablePicture
from engine.checkout.program import MissingModelFile, WorkerEnded
from engine.errors import is_disk_full, is_memory_full

LONGEST = 200
TOLD = (NotImplementedError, ValueError, AssertionError)
"""Failures whose texts the program writes for people; others are those of libraries."""


def reason(error: BaseException) -> str:
    """Why a task failed, for the client to read."""
    kind = cause(error)
    if kind == "memory":
        return "Fooocus ran out of memory; a smaller picture or fewer other programs on this GPU would help"
    if kind == "space":
        return "The disk is full: free some space, for instance by deleting old tasks, then send the request again"
    if isinstance(error, (MissingModelFile, UnusablePicture)):
        return str(error)
    if isinstance(error, WorkerEnded) and error.__cause__ is not None:
        return reason(error.__cause__)
    text = str(error)
    if isinstance(error, TOLD) and text and len(text) < LONGEST and not {"/", "\\", "\n"} & set(text):
        return f"Fooocus failed: {text}"
    return f"Fooocus failed ({type(error).__name__}); the server's log says more"


def cause(error: BaseException) -> str:
    """Of what kind a failure is, in the words of `Ended`."""
    if is_memory_full(error) or "out of memory" in str(error).casefold():
        return "memory"
    if is_disk_full(error):
        return "space"
    if isinstance(error, WorkerEnded) and error.__cause__ is not None:
        return cause(error.__cause__)
    return "missing" if isinstance(error, FileNotFoundError) else "engine"
