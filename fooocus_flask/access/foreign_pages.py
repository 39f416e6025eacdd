"""Pages of other sites: they change nothing here, unless CORS_ORIGINS names them or they show a key.

A browser sends what any page tells it to, and says with Sec-Fetch-Site whose page that was. It does so to https and to
its own machine; elsewhere the Origin tells, which comes with everything but a GET. Programs send neither.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import current_app, request

from fooocus_flask.access import callers, cors
from fooocus_flask.errors import Forbidden

LONGEST_SHOWN = 200


def require_allowed() -> None:
    """Go on with a change only for a program, a page of this site, or one that may.

    Under CORS_ORIGINS="*" that is a page that shows a key, for it was given one; a list names all that may.

    Raises:
        Forbidden: the request comes from another site's page.
    """
    if not is_foreign():
        return
    origin = request.headers.get("Origin", "")
    if cors.is_listed(origin) or (cors.allows(origin) and callers.shown() and callers.holder()):
        return
    raise Forbidden(
        f"A page of another site ({origin[:LONGEST_SHOWN] or 'it does not say which'}) asks for this, and such pages "
        "change nothing here: name its origin in CORS_ORIGINS, or set a key on the server and have the page send it"
    )


def is_foreign() -> bool:
    """Whether a browser sent the request for a page of another site."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None or origin is None:
        return site == "cross-site"
    ours = host_of(request.host_url), host_of(str(current_app.config.get("BASE_URL") or ""))
    return (host := host_of(origin)) is None or host not in ours


def host_of(url: str) -> str | None:
    """The host that a URL, or a host alone, names; None for none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname
    except ValueError:
        return None
