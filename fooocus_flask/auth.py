"""Who may ask: X-API-KEY or a bearer token, and signed tokens that let a receiver load a picture without it."""

from __future__ import annotations

import base64
import hashlib
import hmac

from flask import Flask, current_app, request

from fooocus_flask.cors import is_preflight
from fooocus_flask.errors import Forbidden

HEADER = "X-API-KEY"
OPEN_BLUEPRINTS = frozenset({"docs", "swagger_ui", "files", "health"})
"""Endpoint groups that never need the key; `files` checks tokens instead."""


def init_app(app: Flask) -> None:
    """Refuse requests without the key, before anything of their body is read."""
    app.before_request(require_key)


def require_key() -> None:
    """Raise `Forbidden` unless this request may go on."""
    known = request.endpoint is not None
    if known and request.blueprint not in OPEN_BLUEPRINTS and not is_preflight() and not has_key():
        raise Forbidden


def has_key() -> bool:
    """Whether the request carries the key, or none is configured."""
    key = configured_key()
    kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
    sent = request.headers.get(HEADER) or (bearer if kind.lower() == "bearer" else "")
    return not key or hmac.compare_digest(sent.encode("latin-1", "replace"), key)  # WSGI gives the bytes as latin-1


def sign(path: str) -> str:
    """The token that opens this URL path (`/outputs/2024-07-04/cat.png`); empty when no key is configured.

    The same path has the same token until the key changes, so that stored and cached URLs stay good.
    """
    key = configured_key()
    if not key:
        return ""
    digest = hmac.digest(hashlib.sha256(b"file token:" + key).digest(), path.encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:18]).decode()


def check(path: str, token: str | None) -> bool:
    """Whether this request may load the file: no key configured, a right token, or the key itself."""
    return hmac.compare_digest((token or "").encode(), sign(path).encode()) or has_key()


def configured_key() -> bytes:
    """The configured key; empty means that everything is open."""
    return str(current_app.config.get("API_KEY") or "").encode()
