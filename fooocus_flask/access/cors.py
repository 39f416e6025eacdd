"""Which web pages may call: CORS as FooocusAPI's clients know it.

Flask-CORS cannot be told to send `*` together with credentials and to echo the origin only beside a cookie or on
a preflight, which is what those clients see, so the few headers are set here.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from fooocus_flask.environment import entries

METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
EXPOSED = (
    "X-Task-Id, X-Seed, X-Total-Count, X-Next-Cursor, X-Described-By, X-Notes, Idempotency-Replayed, Retry-After, "
    "X-Request-Id"
)
MAX_AGE = 600


def init_app(app: Flask) -> None:
    """Answer preflights, and mark every other answer to a page's request."""
    app.before_request(preflight)
    app.after_request(mark)


def is_preflight() -> bool:
    """Whether a browser asks for permission."""
    headers = request.headers
    return request.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers


def allows(origin: str) -> bool:
    """Whether a page of this origin may call."""
    return "*" in origins() or is_listed(origin)


def is_listed(origin: str) -> bool:
    """Whether CORS_ORIGINS names this origin itself."""
    return origin != "*" and origin in origins()


def origins() -> list[str]:
    """The entries of CORS_ORIGINS, which may be `*`, a list, or a text with commas."""
    return entries(current_app.config.get("CORS_ORIGINS", "*"))


def preflight() -> Response | None:
    """The answer to a preflight; None for any other request."""
    if not is_preflight():
        return None
    if not allows(request.headers["Origin"]):
        return Response("Disallowed CORS origin", 400, mimetype="text/plain")
    response = Response("OK", mimetype="text/plain")
    response.access_control_max_age = MAX_AGE
    response.headers["Access-Control-Allow-Methods"] = METHODS
    asked = request.headers.get("Access-Control-Request-Headers")
    if asked:
        response.headers["Access-Control-Allow-Headers"] = asked
    return response


def mark(response: Response) -> Response:
    """Add the headers that let the page read the answer; caches keep the answers to each origin apart."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is None or not allows(origin):
        return response
    configured = current_app.config.get("CORS_ORIGINS", "*")
    echoed = configured != "*" or "Cookie" in request.headers or is_preflight()
    response.headers["Access-Control-Allow-Origin"] = origin if echoed else "*"
    response.headers["Access-Control-Allow-Credentials"] = "true"
    if not is_preflight():
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
    return response
