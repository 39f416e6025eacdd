"""Tokens in the URLs of pictures, where there are keys: whoever gets such a URL can load the picture without one.

They are signed with a secret of this installation's own, so that no change of a key breaks a URL. With FILE_URL_TTL
they expire.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from time import time

from flask import current_app

from fooocus_flask.access import callers
from fooocus_flask.access.kept_secrets import kept
from fooocus_flask.access.keys import READ
from fooocus_flask.errors import Forbidden
from fooocus_flask.extension import Extension

FILE = "file_secret"
STEPS = 10
"""A moment of expiry is rounded up to a tenth of the time a URL has: until then a picture's URL stays the same, and
what is cached stays good."""


def sign(path: str) -> str:
    """The token that opens this URL path (`/outputs/2024-07-04/cat.png`); empty where there are no keys."""
    if not callers.keys_on():
        return ""
    seconds = int(current_app.config["FILE_URL_TTL"])
    until = f"{expiry(seconds)}." if seconds else ""
    return until + digest(secret.current(), until + path)


def expiry(seconds: int) -> int:
    """When a URL handed out now expires, in Unix time: so many seconds from now, or up to a tenth more."""
    step = max(1, seconds // STEPS)
    return -(-(int(time()) + seconds) // step) * step


def check(path: str, token: str | None) -> None:
    """Let this file be loaded with its token or with a key that may read.

    Raises:
        Forbidden: there are keys, and the token is missing, wrong or expired.
    """
    caller = callers.current()
    if not callers.keys_on() or (caller is not None and caller.may(READ)):
        return
    if not token:
        lacks = f"; the key {caller.name} lacks the scope {READ}" if caller else ""
        raise Forbidden(f"This picture needs the token that its URL has in a task's record, or a key{lacks}")
    until, dot, _ = token.rpartition(".")
    if not right(path, token, until + dot):
        raise Forbidden("The token in this URL is wrong; a task's record has the right one")
    if is_over(int(until) if dot else None):
        raise Forbidden("The token in this URL has expired; the task's record, asked for again, has a new one")


def is_over(until: int | None) -> bool:
    """Whether a token is no longer good: its moment has passed, or it has more time than one would get now."""
    seconds = int(current_app.config["FILE_URL_TTL"])
    if until is None:
        return seconds > 0
    return until < time() or (seconds > 0 and until > expiry(seconds))


def right(path: str, token: str, until: str) -> bool:
    """Whether this server made the token for this path."""
    made = [until + digest(secret.current(), until + path)]
    if (key := callers.configured_key()) and not until:
        made.append(digest(hashlib.sha256(b"file token:" + key).digest(), path))  # as they were signed before
    return any(hmac.compare_digest(token.encode(), one.encode()) for one in made)


def digest(secret: bytes, text: str) -> str:
    """18 bytes that only who knows the secret can make of the text, in base64 for URLs."""
    return base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")[:18]).decode()


secret = Extension("fooocus-file-secret", lambda app: kept(Path(app.instance_path) / FILE).encode())
"""What this installation signs with; made when it is first needed."""
