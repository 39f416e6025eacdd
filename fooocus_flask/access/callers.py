"""Who asks: the holder of the configured key or of one in the database, or anyone where there are no keys."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from flask import current_app, g, request

from fooocus_flask.access import keys
from fooocus_flask.access.cors import is_preflight
from fooocus_flask.database import db

HEADER = "X-API-KEY"
AZURE_HEADER = "api-key"
"""How clients of OpenAI's API that were made for Azure send a key."""
OPEN_BLUEPRINTS = frozenset({"docs", "swagger_ui", "webui", "files", "health"})
"""Endpoint groups that never need a key; `files` takes tokens as well."""
BASIC_BLUEPRINTS = frozenset({"sdapi"})
"""Endpoint groups whose clients know HTTP Basic only: the password is the key, the user's name may be anything."""


@dataclass(frozen=True)
class Caller:
    """Somebody who may ask; `name` is the key's, `per_minute` and `queued` are limits, 0: none."""

    name: str | None
    scopes: frozenset[str]
    per_minute: int = 0
    queued: int = 0

    def may(self, scope: str) -> bool:
        """Whether this scope is among the caller's; admin holds all."""
        return not self.scopes.isdisjoint((scope, keys.ADMIN))


ANYONE = Caller(None, frozenset({keys.ADMIN}))
OPERATOR = Caller(keys.OPERATOR, frozenset({keys.ADMIN}))


def identify() -> None:
    """Find out who sends the request at hand; nothing of its body is read."""
    g.caller = None
    g.pop("keys_on", None)
    if needs_key() or request.blueprint == "files":
        g.caller = who(sent())


def current() -> Caller | None:
    """Who sends the request at hand; None: somebody without a key, where one is needed."""
    caller: Caller | None = g.get("caller")
    return caller


def holder() -> Caller | None:
    """Who sent a valid key with the request at hand; None: somebody without one, be it where none is needed."""
    caller = current()
    return None if caller is ANYONE else caller


def needs_key() -> bool:
    """Whether the request at hand is one that needs a key, where there are keys."""
    return request.endpoint is not None and request.blueprint not in OPEN_BLUEPRINTS and not is_preflight()


def who(sent: bytes) -> Caller | None:
    """Who holds this key; no connection is held afterwards, for the request may take its time."""
    configured = configured_key()
    if configured and hmac.compare_digest(sent, configured):
        return OPERATOR
    with db.engine.connect() as connection:
        if sent and (key := keys.holder(connection, sent)):
            g.keys_on = True
            return Caller(key.name, frozenset(key.scopes), key.per_minute, key.queued)
        g.keys_on = bool(configured) or keys.any_exist(connection)
    return None if g.keys_on else ANYONE


def sent() -> bytes:
    """The key that the request at hand carries; empty if none."""
    text = shown()
    if not text and request.blueprint in BASIC_BLUEPRINTS and request.authorization:
        return str(request.authorization.password or "").encode()
    return text.encode("latin-1", "replace")  # WSGI gives the bytes as latin-1


def shown() -> str:
    """The key in a header that who sends it wrote; that of HTTP Basic a browser sends by itself, whatever page asks."""
    kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
    named = request.headers.get(HEADER) or request.headers.get(AZURE_HEADER)
    return named or (bearer if kind.lower() == "bearer" else "")


def keys_on() -> bool:
    """Whether a key is needed: one is configured, or there are keys in the database."""
    if "keys_on" not in g:
        g.keys_on = bool(configured_key()) or keys.any_exist(db.session)
    return bool(g.keys_on)


def configured_key() -> bytes:
    """The configured key; empty: none is."""
    return str(current_app.config.get("API_KEY") or "").encode()
