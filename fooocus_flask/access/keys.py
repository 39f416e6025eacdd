"""The keys in the database: made, shown once, looked up by their hash, taken back.

A key is 32 random bytes, so a plain hash of it tells nobody anything; a slow one is for words that people choose.
Every function needs an application context and is one transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import scoped_session

from fooocus_flask.clock import mills
from fooocus_flask.database import commit, db
from fooocus_flask.tables import Key, KeyOptions

log = logging.getLogger(__name__)

READ, DRAW, ADMIN = "read", "draw", "admin"
SCOPES = (READ, DRAW, ADMIN)
OPERATOR = "API_KEY"
"""What the configured key is called; no other may be."""

PREFIX = "fk_"
"""Programs that look for leaked secrets know a key by it."""
BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
USED_EVERY = 60_000
"""Milliseconds for which a key's last use is not recorded again: not every request has to write."""


TABLE = Key.__table__
ANY = select(TABLE.c.id).limit(1)
IN_FORCE = select(TABLE).where(TABLE.c.hash == bindparam("digest"), TABLE.c.revoked_mills.is_(None))
"""What each request asks: bare statements, for rows without objects come in a third of the time."""

Database = Connection | scoped_session[Any]


class KeyFault(Exception):
    """This cannot be done to this key; the text says why and what would work."""


def add(name: str, scopes: Iterable[str], per_minute: int = 0, queued: int = 0) -> str:
    """Make a key; the key itself, which is kept nowhere. 0 is no limit.

    Raises:
        KeyFault: the name is none, or taken.
    """
    if not NAME.fullmatch(name) or name == OPERATOR:
        raise KeyFault(
            f"{name!r} cannot be a key's name; take up to 64 letters, digits and . _ -, beginning with a letter or "
            f"digit, and not {OPERATOR}"
        )
    if (there := _find(name)) is not None:
        way = "remove it first" if there.revoked_mills else "rotate gives it a new key"
        raise KeyFault(f"There is a key {name!r} already{', revoked' * bool(there.revoked_mills)}; {way}")
    secret = _new()
    chosen = [scope for scope in SCOPES if scope in set(scopes)]
    db.session.add(
        Key(
            name=name,
            hash=hashed(secret.encode()),
            scopes=chosen,
            per_minute=per_minute,
            queued=queued,
            made_mills=mills(),
        )
    )
    commit()
    return secret


def rotate(name: str) -> str:
    """Give this key another secret, which is returned; the one it had opens nothing any more.

    Raises:
        KeyFault: there is no such key, or it is revoked.
    """
    key = _there(name)
    if key.revoked_mills:
        raise KeyFault(f"The key {name!r} is revoked, and stays so; remove it, then add it anew")
    secret = _new()
    key.hash = hashed(secret.encode())
    commit()
    return secret


def revoke(name: str) -> None:
    """Take this key back: it opens nothing any more, and its row stays.

    Raises:
        KeyFault: there is no such key, or it is revoked already.
    """
    key = _there(name)
    if key.revoked_mills:
        raise KeyFault(f"The key {name!r} is revoked already")
    key.revoked_mills = mills()
    commit()


def remove(name: str) -> None:
    """Forget a revoked key, and what its holder chose.

    Raises:
        KeyFault: there is no such key, or it is in force.
    """
    if not _there(name).revoked_mills:
        raise KeyFault(f"The key {name!r} is in force; revoke it first")
    db.session.execute(delete(Key).where(Key.name == name))
    db.session.execute(delete(KeyOptions).where(KeyOptions.key_name == name))
    commit()


def all_keys() -> Sequence[Key]:
    """All keys, by name."""
    return db.session.scalars(select(Key).order_by(Key.name)).all()


def any_exist(database: Database) -> bool:
    """Whether there are keys. Revoked ones count: taking back the last one must not open the server."""
    return database.execute(ANY).first() is not None


def holder(database: Connection, sent: bytes) -> Row[Any] | None:
    """The key that was sent, if it is one that is in force; its use is noted."""
    digest = hashed(sent)
    key = database.execute(IN_FORCE, {"digest": digest}).first()
    if key is None or not hmac.compare_digest(key.hash, digest):
        return None
    _note_use(database, key)
    return key


def hashed(secret: bytes) -> str:
    """What is kept of a key: 64 hexadecimal digits."""
    return hashlib.sha256(secret).hexdigest()


def _note_use(database: Connection, key: Row[Any]) -> None:
    """Keep when the key was last used, to the minute; a request does not fail for it."""
    now = mills()
    if key.used_mills is not None and now - key.used_mills < USED_EVERY:
        return
    database.rollback()  # SQLite makes no writer of a reader that others have overtaken
    try:
        noted = update(TABLE).where(TABLE.c.id == key.id).values(used_mills=now)
        database.execute(noted.execution_options(patience=0))
        database.commit()
    except OperationalError as error:
        log.warning("The last use of the key %s could not be noted: %s", key.name, error.orig)


def _new() -> str:
    return PREFIX + secrets.token_urlsafe(BYTES)


def _find(name: str) -> Key | None:
    return db.session.scalar(select(Key).where(Key.name == name))


def _there(name: str) -> Key:
    key = _find(name)
    if key is None:
        known = ", ".join(row.name for row in all_keys()) or "none at all"
        raise KeyFault(f"There is no key {name!r}; there are: {known}")
    return key
