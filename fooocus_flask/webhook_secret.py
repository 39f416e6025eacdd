"""The secret that webhooks are signed with: the operator's, or one made at the first start and kept."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from flask import Flask
from standardwebhooks import Webhook

FILE = "webhook_secret"
PREFIX = "whsec_"
BYTES = 32


class SecretError(ValueError):
    """The operator's secret is none."""


def signer(app: Flask) -> Webhook:
    """What signs this application's webhooks.

    Raises:
        SecretError: WEBHOOK_SECRET is not whsec_ and base64.
    """
    secret = app.config["WEBHOOK_SECRET"] or kept(Path(app.instance_path) / FILE)
    try:
        base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise SecretError(
            f"WEBHOOK_SECRET must be {PREFIX} and base64, as `openssl rand -base64 32` gives it"
        ) from None
    return Webhook(secret)


def kept(path: Path) -> str:
    """The secret in this file, which is made if it is not there; only its owner may read it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(handle, "w", encoding="ascii") as file:
        secret = PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()
        file.write(secret + "\n")
    return secret
