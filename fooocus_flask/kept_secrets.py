"""Secrets that are made when they are first needed, and kept in the instance folder."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

BYTES = 32


def kept(path: Path, prefix: str = "") -> str:
    """The secret in this file, the prefix and base64; it is made if it is not there, and only its owner may read it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(handle, "w", encoding="ascii") as file:
        secret = prefix + base64.b64encode(secrets.token_bytes(BYTES)).decode()
        file.write(secret + "\n")
    return secret
