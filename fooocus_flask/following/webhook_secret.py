"""The secret that webhooks are signed with: the operator's, or one made at the first start and kept."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from flask import Flask
from standardwebhooks import Webhook

from fooocus_flask.access.kept_secrets import SecretError, kept

FILE = "webhook_secret"
PREFIX = "whsec_"


def signer(app: Flask) -> Webhook:
    """What signs this application's webhooks.

    Raises:
        SecretError: WEBHOOK_SECRET is not whsec_ and base64, or the file of the one that was made is broken.
    """
    secret = app.config["WEBHOOK_SECRET"] or kept(Path(app.instance_path) / FILE, PREFIX)
    try:
        base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise SecretError(
            f"WEBHOOK_SECRET must be {PREFIX} and base64, as `openssl rand -base64 32` gives it"
        ) from None
    return Webhook(secret)
