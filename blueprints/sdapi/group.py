"""The group of AUTOMATIC1111's routes, and what it answers where there is none, or no key."""

from __future__ import annotations

import flask
from flask import Response, current_app, request
from werkzeug.exceptions import MethodNotAllowed

from fooocus_flask import errors
from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.errors import Forbidden, NotFound
from fooocus_flask.submission.parsing import Blueprint

PREFIX = "/sdapi"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHALLENGE = {"WWW-Authenticate": 'Basic realm="fooocus-flask"'}

blueprint = Blueprint(
    "sdapi",
    __name__,
    url_prefix=f"{PREFIX}/v1",
    description="AUTOMATIC1111's API: each request becomes a task like any other.",
)


@blueprint.errorhandler(Forbidden)
def challenge(error: Forbidden) -> Response:
    """Ask a caller without a key for one, in the way that these clients know."""
    if callers.current() is not None:
        return errors.send_error(error)
    text = "These routes need a key: send it as the password of HTTP Basic, with any user name"
    return errors.reply(401, text, CHALLENGE)


@scopes.needs(READ, DRAW)
def elsewhere(rest: str) -> Response:
    """Refuse a route of AUTOMATIC1111's that is not served here.

    Raises:
        NotFound: naming those that are.
        MethodNotAllowed: the route is served, with another method.
    """
    there = routes()
    path = request.path.rstrip("/")
    if path in there:
        raise MethodNotAllowed(there[path])
    listed = ", ".join(f"{method} {path}" for path, methods in there.items() for method in methods)
    raise NotFound(f"AUTOMATIC1111's {path} is not served here. Served are: {listed}")


def routes() -> dict[str, list[str]]:
    """The routes that are served, with their methods."""
    rules = (rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(f"{blueprint.name}."))
    own = [(rule.rule, method) for rule in rules for method in sorted((rule.methods or set()) & set(METHODS))]
    found: dict[str, list[str]] = {}
    for path, method in sorted(own):
        if "<" not in path:
            found.setdefault(path, []).append(method)
    return found


# Flask's own rule, not flask-smorest's: what is not there is not described.
flask.Blueprint.add_url_rule(blueprint, "/<path:rest>", view_func=elsewhere, methods=METHODS)
