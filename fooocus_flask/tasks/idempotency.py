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
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.tables import RequestKey, Task
from schemas.faults import Fault
from schemas.submission import IDEMPOTENCY_HEADER, LONGEST_IDEMPOTENCY_KEY

KEPT = 24 * 3600 * 1000
"""Milliseconds for which a key is kept."""
LONG = 64 * 1024
"""Characters of a text of which a digest stands for it: of a picture, and of nothing else that requests hold."""


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
    return in_thread(_digest, [dict(sent), kind])


def _digest(asked: Any) -> str:
    """A digest of plain values; takes its time, most of which lets others go on."""
    text = json.dumps(_shortened(asked), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _shortened(value: Any) -> Any:
    """The same with a digest in the place of each long text: JSON of a picture in base64 would hold up everybody."""
    if isinstance(value, Mapping):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if isinstance(value, str) and len(value) > LONG:
        return f"{len(value)} {hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return value


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
