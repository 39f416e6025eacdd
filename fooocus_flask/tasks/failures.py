"""Why tasks fail, and the HTTP status that says so."""

from __future__ import annotations

from fooocus_flask.errors import FooocusError

MEMORY, MISSING, DOWNLOAD, SPACE, STORAGE = "memory", "missing", "download", "space", "storage"
STATUSES = {MEMORY: 507, MISSING: 422, DOWNLOAD: 502, SPACE: 507, STORAGE: 502}


def status_of(failure: str | None) -> int:
    """The status of a task's `failure`; 500 where its cause has none of its own."""
    return STATUSES.get(failure or "", FooocusError.status)
