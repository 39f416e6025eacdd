"""The absolute URLs that are handed out; what is stored is relative, so that a new host breaks no history."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, urlencode

from flask import current_app, request

from fooocus_flask.access import file_tokens
from fooocus_flask.pictures import server_address


def base() -> str:
    """Start of the URLs for this request's client: BASE_URL, else as the client spoke to us; without a last `/`."""
    configured = str(current_app.config["BASE_URL"]).strip().rstrip("/")
    if not configured:
        return request.url_root.rstrip("/")
    if "://" in configured:
        return configured
    return f"http://{_with_port(configured)}"


def webhook_base() -> str:
    """The same for what this request's task sends to webhooks, where no client's Host header is believed."""
    return base() if current_app.config["BASE_URL"] else server_address.start_of_urls()


def _with_port(host: str) -> str:
    """The host with this server's port, unless it names one."""
    _, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return host
    return f"{host}:{server_address.socket_name()[1]}"


def pictures(paths: Iterable[str] | None, base: str) -> list[str]:
    """The URLs of pictures below the outputs folder."""
    return [absolute(f"/outputs/{path}", base) for path in paths or ()]


def absolute(path: str, base: str) -> str:
    """The URL of this path, with the token that opens it where there are keys."""
    token = file_tokens.sign(path)
    return base + quote(path) + (f"?{urlencode({'token': token})}" if token else "")
