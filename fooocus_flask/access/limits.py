"""How often one may ask: so many requests a minute for each key, and for each address that comes without one.

They are counted in this process's memory: there is one worker, and a restart forgets them.
"""

from __future__ import annotations

import ipaddress
import math
from time import time

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter, RateLimitExceeded

from fooocus_flask import errors
from fooocus_flask.access import callers
from fooocus_flask.extension import Extension


def init_app(app: Flask) -> None:
    """Count requests, once it is known who sends them."""
    limiter.init_app(app)
    app.register_error_handler(RateLimitExceeded, send_rate_limit_error)


def rate() -> str:
    """The limit of the request at hand, as Flask-Limiter has it; empty: none."""
    if not callers.needs_key():
        return ""
    caller = callers.current()
    if caller is None or caller is callers.ANYONE:
        most = int(current_app.config["REQUESTS_PER_MINUTE"])
    else:
        most = caller.per_minute
    return f"{most} per minute" if most else ""


def whose() -> str:
    """Whom the request at hand is counted for."""
    caller = callers.current()
    return f"key {caller.name}" if caller and caller.name else f"address {place(request.remote_addr or '')}"


def place(address: str) -> str:
    """The address, or the network of an IPv6 address: whoever has one has all of its /64 to ask from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # a socket in a folder has none
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def send_rate_limit_error(error: RateLimitExceeded) -> Response:
    """The answer to one request too many."""
    most, current = error.limit.limit.amount, limiter.current().current_limit
    seconds = max(1, math.ceil(current.window.reset_time - time())) if current else 1
    times = "once" if most == 1 else f"{most} times"
    text = f"The {whose()} may ask {times} a minute, and did; try again in {seconds} s"
    return errors.reply(429, text, {"Retry-After": str(seconds)}, error)


def new_limiter(app: Flask) -> Limiter:
    """What counts the application's requests."""
    made = Limiter(whose, application_limits=[rate], storage_uri="memory://", strategy="fixed-window")
    made.init_app(app)
    return made


limiter = Extension("fooocus-limits", new_limiter)
