"""Why a task failed on a card, whatever Ray wraps around it: for the client, and for the log."""

from __future__ import annotations

from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from engine.errors import is_disk_full
from engine.fleet.file_store import TransferError


def reason(error: Exception) -> str:
    """Why a task did not come to a card, or its pictures not back, for the client to read."""
    error = origin(error)
    if isinstance(error, TransferError):
        return str(error)
    if isinstance(error, GetTimeoutError):
        return "A machine of the fleet did not answer in time; send the request again"
    if is_disk_full(error):
        return "A disk of the fleet is full: free some space, then send the request again"
    if isinstance(error, OSError) and error.strerror:
        return f"The fleet could not read or write a file: {error.strerror}"
    return f"The fleet failed in a way that nobody foresaw ({type(error).__name__}); the server's log says more"


def cause(error: Exception) -> str:
    """Of what kind a failure is, in the words of `Ended`."""
    error = origin(error)
    if is_disk_full(error):
        return "space"
    return "missing" if isinstance(error, FileNotFoundError) else "engine"


def first_line(error: RayError) -> str:
    """What Ray says, without the details that follow."""
    return str(error).strip().partition("\n")[0]


def origin(error: Exception) -> Exception:
    """What failed on a card: Ray's wrapping of it is of its class, but has none of its values."""
    found = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    return found if isinstance(found, Exception) else error
