"""The names of this machine: what a Host header may say and be believed, unless TRUSTED_HOSTS says more.

A client can write any host into its request; in a webhook, that host would be believed for our signature.
"""

from __future__ import annotations

import ipaddress
import logging
from socket import AF_INET, AF_INET6, SOCK_DGRAM, gethostname, socket
from urllib.parse import urlsplit

from flask import Flask, current_app, request

from fooocus_flask.extension import Extension

log = logging.getLogger(__name__)

LOCAL = "localhost"
LONGEST_SHOWN = 100


def no_starts(app: Flask) -> set[str]:
    """The starts of URLs that were told in the log."""
    return set()


logged_starts = Extension("fooocus-server-address", no_starts)


def start_of_urls() -> str:
    """The start of URLs at this server for the request at hand: as its Host says if that can be believed, else ours."""
    if current_app.config.get("TRUSTED_HOSTS") or is_ours(request.host):
        return request.url_root.rstrip("/")
    name, port = socket_name()
    start = f"http://{f'[{name}]' if ':' in name else name}:{port}"
    if start not in logged_starts.current():
        logged_starts.current().add(start)
        log.warning(
            "URLs in webhooks begin with %s where clients ask for another host, such as %r: set BASE_URL or "
            "TRUSTED_HOSTS if receivers know this server by one",
            *(start, request.host[:LONGEST_SHOWN]),
        )
    return start


def is_ours(host: str) -> bool:
    """Whether a Host header names this machine, and the port of this server."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return False
    here, own_port = socket_name()
    if str(port) != own_port:
        return False
    return name in (LOCAL, gethostname().lower(), here.lower()) or is_address_here(name)


def is_address_here(name: str) -> bool:
    """Whether this is an IP address of this machine: others cannot be bound to."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_unspecified or address.is_multicast:
        return False
    with socket(AF_INET if address.version == 4 else AF_INET6, SOCK_DGRAM) as unused:
        try:
            unused.bind((name, 0))
        except OSError:
            return False
    return True


def socket_name() -> tuple[str, str]:
    """The name and the port at which this server listens, whatever a proxy says of the client's request."""
    environ = request.environ
    environ = environ | environ.get("werkzeug.proxy_fix.orig", {})
    name = environ["SERVER_NAME"]
    return (gethostname() if name in ("", "0.0.0.0", "::") else name), str(environ["SERVER_PORT"])
