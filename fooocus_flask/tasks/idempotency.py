"""Requests that carry an Idempotency-Key: the same request again is answered with the same task, for a day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flask import request
from sqlalchemy import delete, select

from fooocus_flask.access import callers
from fooocus_flask.clock import mills
from fooocus_flask.database import commit, db
from fooocus_flask.errors import FooocusError, InvalidRequest
from fooocus_flask.tables import RequestKey, Task
from schemas.faults import Fault
from schemas.submission import IDEMPOTENCY_HEADER, LONGEST_IDEMPOTENCY_KEY

KEPT = 24 * 3600 * 1000
"""Milliseconds for which a key is kept."""


def key() -> str | None:
    """The key of the request at hand, if it has one, as it is kept: clients with keys do not meet in their words.

    Raises:
        InvalidRequest: it is empty, too long or not printable.
    """
    sent = request.headers.get(IDEMPOTENCY_HEADER)
    if sent is None:
        return None
    if not 1 <= len(sent) <= LONGEST_IDEMPOTENCY_KEY or not sent.isprintable():
        text = f"Input should be 1 to {LONGEST_IDEMPOTENCY_KEY} printable characters"
        raise InvalidRequest([Fault("string_pattern_mismatch", text, sent, loc=("header", IDEMPOTENCY_HEADER))])
    caller = callers.current()
    if caller is None or caller.name is None:
        return sent
    return hashlib.sha256(f"{caller.name} {sent}".encode()).hexdigest()


def fingerprint(sent: Mapping[str, Any], kind: str | None) -> str:
    """What a request asks for: its members and the kind of its answer, in 64 hexadecimal digits."""
    text = json.dumps([dict(sent), kind], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def earlier(key: str, asked: str) -> Task | None:
    """The task that a request with this key became before.

    Raises:
        FooocusError: that request asked for something else.
    """
    db.session.execute(delete(RequestKey).where(RequestKey.made_mills < mills() - KEPT))
    commit()
    found = db.session.get(RequestKey, key)
    if found is None:
        return None
    if found.fingerprint != asked:
        used = f"The {IDEMPOTENCY_HEADER} {request.headers[IDEMPOTENCY_HEADER]!r} was used for another request"
        raise FooocusError(f"{used}; take a new one", status=422)
    return db.session.scalar(select(Task).where(Task.id == found.record_id))
